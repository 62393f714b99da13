// A job file, pasted, dropped or written: checked while one types, planned, submitted.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { get, post } from "./api.js";
import { Notice, useAct } from "./parts.js";

const CHECK_MS = 400;
const YAML = "application/yaml";
const FILE = "job.yaml";
// Prints a line, by WASI's fd_write: it runs on every node, and needs nothing to be fetched.
const HELLO = "AGFzbQEAAAABDAJgBH9/f38Bf2AAAAIjARZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxCGZkX3dyaXRlAAADAgEBBQMBAAEHEwIGbWVtb3J5" +
  "AgAGX3N0YXJ0AAEKDwENAEEBQQBBAUEgEAAaCwsgAQBBAAsaCAAAABIAAABoZWxsbyBmcm9tIGEgcGVlcgo=";
const EXAMPLES = {
  WASM: `Name: hello
Type: batch
Count: 1
Tasks:
  - Name: main
    Engine:
      Type: wasm
      Params:
        EntryModule: /hello.wasm
    InputSources:
      - Target: /hello.wasm
        Source:
          Type: inline
          Params:
            URL: "data:application/wasm;base64,${HELLO}"
`,
  container: `Name: hello
Type: batch
Count: 1
Tasks:
  - Name: main
    Engine:
      Type: docker
      Params:
        Image: busybox
        Parameters: [echo, hello from a peer]
`,
};

// "job.yaml:3:5: error: ..." as its line and text.
const PROBLEM = /^[^:]*:(\d+):(\d+): (error|warning): (.*)$/s;

function parsed(problem) {
  const found = PROBLEM.exec(problem);
  return found ? { line: Number(found[1]), kind: found[3], text: found[4] } : { line: 0, kind: "error", text: problem };
}

export function Submit({ from }) {
  const [text, setText] = useState(EXAMPLES.WASM);
  const [problems, setProblems] = useState([]);
  const [plan, setPlan] = useState(null);
  const [asNew, setAsNew] = useState(false);
  const { act, error, busy } = useAct();
  const area = useRef(null);
  useEffect(() => {
    if (!from) return;
    get(`/api/v1/jobs/${from}`)
      .then((job) => get(`/api/v1/jobs/${job.id}/versions/${job.version}`))
      .then((version) => setText(version.text), () => {});
  }, [from]);
  useEffect(() => {
    setPlan(null);
    const timer = setTimeout(async () => {
      try {
        setProblems((await post(`/api/v1/validate?name=${FILE}`, text, YAML)).warnings.map(parsed));
      } catch (failed) {
        setProblems(failed.problems?.length ? failed.problems.map(parsed) : [{ line: 0, kind: "error", text: failed.message }]);
      }
    }, CHECK_MS);
    return () => clearTimeout(timer);
  }, [text]);
  const errors = problems.filter((one) => one.kind === "error");
  const submit = () => act(async () => {
    const done = await post(`/api/v1/jobs?name=${FILE}&new=${asNew}`, text, YAML);
    location.hash = `#/job/${done.id}`;
  });
  const drop = async (event) => {
    event.preventDefault();
    const file = event.dataTransfer?.files?.[0] || event.target.files?.[0];
    if (file) setText(await file.text());
  };
  // Anywhere: a file that misses the editor would replace the page.
  useEffect(() => {
    const over = (event) => event.preventDefault();
    addEventListener("dragover", over);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("drop", drop);
    };
  }, []);
  const toLine = (line) => {
    const start = text.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    area.current.focus();
    area.current.setSelectionRange(start, start + (text.split("\n")[line - 1] || "").length);
  };
  return html`<h1>Submit a job</h1>
    <p>Paste a job file, drop one here, or <label class="pick">choose one <input type="file" accept=".yaml,.yml,.json" onChange=${drop} /></label>.
      Bacalhau's files are taken as they are. Examples: ${Object.entries(EXAMPLES).map(([name, example]) =>
        html`<button type="button" class="small" onClick=${() => setText(example)}>${name}</button> `)}</p>
    <div class="editor">
      <${Gutter} text=${text} problems=${problems} area=${area} />
      <textarea ref=${area} aria-label="Job file" spellcheck="false" wrap="off" value=${text}
        onInput=${(event) => setText(event.target.value)}></textarea></div>
    <div aria-live="polite">${problems.length
      ? html`<ul class="problems">${problems.map((one) => html`<li class=${one.kind}>
          ${one.line ? html`<button type="button" class="small" onClick=${() => toLine(one.line)}>line ${one.line}</button> ` : ""}
          ${one.kind}: ${one.text}</li>`)}</ul>`
      : html`<p class="fine">This can be submitted.</p>`}</div>
    <div class="actions">
      <button type="button" onClick=${() => act(async () => setPlan(await post(`/api/v1/plan?name=${FILE}`, text, YAML)))} disabled=${busy || errors.length}>Plan</button>
      <button type="button" class="main" onClick=${submit} disabled=${busy || errors.length}>Submit</button>
      <label><input type="checkbox" checked=${asNew} onChange=${(event) => setAsNew(event.target.checked)} />
        a new job, also where one of its name runs</label></div>
    <${Notice} error=${error} /><${Plan} plan=${plan} />`;
}

function Gutter({ text, problems, area }) {
  const [top, setTop] = useState(0);
  useEffect(() => {
    const scrolled = () => setTop(area.current.scrollTop);
    area.current.addEventListener("scroll", scrolled);
    return () => area.current?.removeEventListener("scroll", scrolled);
  }, []);
  const kinds = new Map(problems.map((one) => [one.line, one.kind]));
  return html`<div class="gutter" aria-hidden="true"><div style=${{ transform: `translateY(${-top}px)` }}>
    ${text.split("\n").map((_, at) => html`<span class=${kinds.get(at + 1) || ""}>${at + 1}</span>`)}</div></div>`;
}

function Plan({ plan }) {
  if (!plan) return null;
  const reasons = (title, list) => list.length > 0 && html`<h3>${title}</h3>
    <ul>${list.map((one) => html`<li>${one.peers} × ${one.reason}</li>`)}</ul>`;
  return html`<section class="card" aria-live="polite"><h2>Plan</h2>
    <p>${plan.needed} to place; ${plan.would_bid} of ${plan.known} known nodes would bid. Nothing was asked or run.</p>
    ${plan.asked.length > 0 && html`<h3>Asked, the best first</h3><ol>${plan.asked.map((one) => html`<li>${one.name || one.peer}</li>`)}</ol>`}
    ${plan.looked_up.length > 0 && html`<p>Looked up only when asked: ${plan.looked_up.join(", ")}.</p>`}
    ${reasons("Busy now", plan.busy)}${reasons("Not suitable", plan.unsuitable)}</section>`;
}
