// The jobs that are here, narrowed by filters that live in the address.
import { html, useEffect, useState } from "./vendor/preact.js";
import { get, useFresh } from "./api.js";
import { Ago, Notice, State, Table, shortId } from "./parts.js";

const STATES = ["Pending", "Queued", "Running", "Completed", "Failed", "Stopped"];
const TYPES = ["batch", "ops", "service", "daemon"];
const PAGE_ROWS = 50;
const TYPED_MS = 300;

export function Jobs({ query }) {
  const asked = new URLSearchParams(query);
  asked.set("limit", PAGE_ROWS);
  const { data, error } = useFresh(`/api/v1/jobs?${asked}`);
  const [more, setMore] = useState({ of: "", jobs: [], next: null });
  const of = asked.toString();
  const older = more.of === of ? more : { jobs: [], next: undefined };
  const next = older.next === undefined ? data?.next : older.next;
  const fetchMore = async () => {
    const page = await get(`/api/v1/jobs?${asked}&after=${encodeURIComponent(next)}`);
    setMore({ of, jobs: [...older.jobs, ...page.jobs], next: page.next });
  };
  const first = data?.jobs || [];
  const known = new Set(first.map((one) => one.id));
  const jobs = [...first, ...older.jobs.filter((one) => !known.has(one.id))];
  return html`<h1>Jobs</h1><${Filters} query=${query} /><${Notice} error=${error} />
    ${data && html`<${Table} caption="Jobs of this node, newest first" columns=${["Job", "State", "Type", "Executions", "Created", "Reason"]}
      empty=${query.toString() ? "No job is like that." : html`No job yet. <a href="#/submit">Submit one.</a>`}
      rows=${jobs.map((one) => ({ key: one.id, cells: row(one) }))} />`}
    ${next && html`<button type="button" onClick=${fetchMore}>Older ones</button>`}`;
}

function row(job) {
  const states = {};
  for (const one of job.executions) if (one.current) states[one.state] = (states[one.state] || 0) + 1;
  return [
    html`<a href=${`#/job/${job.id}`}><b>${job.name}</b></a><br /><code title=${job.id}>${shortId(job.id)}</code>
      ${job.namespace !== "default" && html` <small>in ${job.namespace}</small>`}`,
    html`<${State} of=${job.state} />`,
    job.type,
    Object.entries(states).map(([state, count]) => `${count} ${state}`).join(", "),
    html`<${Ago} at=${job.created} />`,
    job.reason && html`<span class="reason">${job.reason}</span>`,
  ];
}

function Filters({ query }) {
  const [text, setText] = useState(query.get("text") || "");
  const [label, setLabel] = useState(query.get("label") || "");
  const go = (name, value) => {
    const next = new URLSearchParams(query);
    if (value) next.set(name, value);
    else next.delete(name);
    const rest = next.toString();
    history.replaceState(null, "", rest ? `#/jobs?${rest}` : "#/jobs");
    dispatchEvent(new HashChangeEvent("hashchange"));
  };
  useTyped(text, query.get("text") || "", (value) => go("text", value));
  useTyped(label, query.get("label") || "", (value) => go("label", value));
  const select = (name, title, values) => html`<label>${title}
    <select value=${query.get(name) || ""} onChange=${(event) => go(name, event.target.value)}>
      <option value="">all</option>${values.map((one) => html`<option value=${one}>${one}</option>`)}</select></label>`;
  return html`<form class="filters" role="search" aria-label="Jobs" onSubmit=${(event) => event.preventDefault()}>
    <label>Text <input type="search" placeholder="name, id or reason" value=${text} onInput=${(e) => setText(e.target.value)} /></label>
    ${select("state", "State", STATES)}${select("type", "Type", TYPES)}
    <label>Label <input type="search" placeholder="key=value" value=${label} onInput=${(e) => setLabel(e.target.value)} /></label>
  </form>`;
}

// What is typed goes into the address after a moment without more.
function useTyped(typed, there, go) {
  useEffect(() => {
    if (typed === there) return undefined;
    const timer = setTimeout(() => go(typed), TYPED_MS);
    return () => clearTimeout(timer);
  }, [typed]);
}
