// What a job's programs write, as it comes, with a search; bytes are told as Latin-1 and are UTF-8 as a rule.
import { html, useEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { stream } from "./api.js";
import { Notice, shortId } from "./parts.js";

// More is read with `p2pnode job logs`; the newest lines stay.
const LINES_MAX = 5000;
const SHOW_MS = 100;
// Colours and cursor moves of terminals.
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)/g;
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f]/g;

class Lines {
  constructor() {
    this.decoders = new Map();
    this.lines = [];
    this.open = new Map();
    this.dropped = 0;
  }

  add({ execution, stream: source, data }) {
    const key = `${execution} ${source}`;
    if (!this.decoders.has(key)) this.decoders.set(key, new TextDecoder());
    const text = this.decoders.get(key).decode(Uint8Array.from(data, (one) => one.charCodeAt(0)), { stream: true });
    const parts = text.replace(/\r\n?/g, "\n").split("\n");
    parts.forEach((part, at) => {
      const open = this.open.get(key);
      if (open) open.text += part;
      else if (part || at < parts.length - 1) {
        const line = { number: this.dropped + this.lines.length, execution, source, text: part };
        this.lines.push(line);
        this.open.set(key, line);
      }
      if (at < parts.length - 1) this.open.delete(key);
    });
    if (this.lines.length > LINES_MAX) {
      this.dropped += this.lines.length - LINES_MAX;
      this.lines = this.lines.slice(-LINES_MAX);
    }
  }
}

const shown = (text) => text.replace(ESCAPES, "").replace(CONTROLS, "�");

export function Logs({ job }) {
  const [version, setVersion] = useState(0);
  const [ended, setEnded] = useState(null);
  const [search, setSearch] = useState("");
  const [execution, setExecution] = useState("");
  const [follow, setFollow] = useState(true);
  const box = useRef(null);
  const kept = useRef(new Lines());
  useEffect(() => {
    kept.current = new Lines();
    setEnded(null);
    let timer = 0;
    const later = () => {
      timer = timer || setTimeout(() => {
        timer = 0;
        setVersion((before) => before + 1);
      }, SHOW_MS);
    };
    const query = new URLSearchParams({ follow: "true", ...(execution ? { execution } : {}) });
    const close = stream(`/api/v1/jobs/${job.id}/logs?${query}`, (chunk) => {
      kept.current.add(chunk);
      later();
    }, (reason) => {
      later();
      setEnded(reason);
    }, () => {
      kept.current = new Lines();
    });
    return () => {
      clearTimeout(timer);
      close();
    };
  }, [job.id, execution]);
  const wanted = search.toLowerCase();
  const lines = useMemo(
    () => kept.current.lines.map((one) => ({ ...one, text: shown(one.text) })).filter((one) => one.text.toLowerCase().includes(wanted)),
    [version, wanted],
  );
  useEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines, follow]);
  const several = job.executions.length > 1;
  return html`<form class="filters" onSubmit=${(event) => event.preventDefault()}>
      <label>Search <input type="search" value=${search} onInput=${(event) => setSearch(event.target.value)} /></label>
      ${several && html`<label>Execution <select value=${execution} onChange=${(event) => setExecution(event.target.value)}>
        <option value="">all</option>${job.executions.map((one) => html`<option value=${one.id}>${shortId(one.id)} ${one.peer_name}</option>`)}</select></label>`}
      <label><input type="checkbox" checked=${follow} onChange=${(event) => setFollow(event.target.checked)} /> follow</label>
      <span role="status">${lines.length} lines${ended === null ? ", live" : ""}</span></form>
    <${Notice} error=${ended && new Error(ended)} />
    ${kept.current.dropped > 0 && html`<p>The first ${kept.current.dropped} lines are not shown; <code>p2pnode job logs ${shortId(job.id)}</code> has them.</p>`}
    <div class="log" ref=${box} tabindex="0" role="log" aria-label="Output">${lines.map((one) => html`<div key=${one.number} class=${one.source}>
      ${several && html`<span class="from">${shortId(one.execution)}</span>`}${one.text || " "}</div>`)}
      ${!lines.length && ended !== null && html`<p class="empty">${search ? "No line has that." : "Nothing was written."}</p>`}</div>`;
}
