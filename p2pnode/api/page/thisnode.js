// This node: what it lends, whether it takes work, what has failed on it, its figures.
import { html } from "./vendor/preact.js";
import { call, post, useFresh } from "./api.js";
import { Ago, Bar, Copy, Notice, State, Table, Twice, cores, shortId, size, useAct } from "./parts.js";

export function ThisNode({ identity }) {
  const nodes = useFresh("/api/v1/nodes");
  const me = nodes.data?.nodes.find((one) => one.self);
  return html`<h1>This node</h1><${Notice} error=${nodes.error} />
    ${identity && html`<dl class="facts">
      <div><dt>Name</dt><dd>${identity.name}</dd></div>
      <div><dt>Peer</dt><dd><code class="cid">${identity.peer}</code> <${Copy} text=${identity.peer} /></dd></div>
      <div><dt>Version</dt><dd>${identity.version}</dd></div>
      <div><dt>Network</dt><dd>${identity.network ? `${identity.network.name} (private), as ${identity.network.role}` : "the open one"}</dd></div>
      <div><dt>Engines</dt><dd>${identity.engines.join(", ") || "none: it runs nothing for others"}</dd></div>
      ${identity.docker && html`<div><dt>Docker</dt><dd>${identity.docker.address}, by ${identity.docker.chosen_by}
        ${identity.docker.problem && html`<span class="bad"> ${identity.docker.problem}</span>`}</dd></div>`}
      <div><dt>Addresses</dt><dd>${identity.addresses.map((one) => html`<div><code class="cid">${one}</code></div>`)}</dd></div>
      <div><dt>Data directory</dt><dd><code>${identity.data_dir}</code></dd></div></dl>`}
    ${me && html`<section class="card" aria-label="What it lends"><h2>Lends</h2>
      <${Bar} label="CPU" used=${me.total.cpu_millis - me.free.cpu_millis} total=${me.total.cpu_millis}
        text=${`${cores(me.free.cpu_millis)} of ${cores(me.total.cpu_millis)} free`} />
      <${Bar} label="Memory" used=${me.total.memory_bytes - me.free.memory_bytes} total=${me.total.memory_bytes}
        text=${`${size(me.free.memory_bytes)} of ${size(me.total.memory_bytes)} free`} />
      <${Bar} label="Disk" used=${me.total.disk_bytes - me.free.disk_bytes} total=${me.total.disk_bytes}
        text=${`${size(me.free.disk_bytes)} of ${size(me.total.disk_bytes)} free`} />
      ${me.total.gpus > 0 && html`<p>${me.free.gpus} of ${me.total.gpus} GPUs free</p>`}</section>`}
    <${Scheduling} /><${Hosted} /><${Problems} /><${Settings} /><${Figures} />`;
}

function Scheduling() {
  const { data, error, refresh } = useFresh("/api/v1/scheduling");
  const { act, error: failed } = useAct(refresh);
  const set = (scheduling) => act(() => post("/api/v1/scheduling", { scheduling }));
  if (!data) return html`<${Notice} error=${error} />`;
  return html`<section class="card"><h2>Work <${State} of=${data.scheduling} /></h2>
    <p>${data.held === 1 ? "1 execution holds" : `${data.held} executions hold`} resources here.</p>
    <div class="actions">
      ${data.scheduling !== "schedulable" && html`<button type="button" class="main" onClick=${() => set("schedulable")}>Take work again</button>`}
      ${data.scheduling === "schedulable" && html`<button type="button" onClick=${() => set("cordoned")}>Cordon</button>`}
      ${data.scheduling !== "draining" && html`<${Twice} ask="Move all away?" act=${() => set("draining")}>Drain<//>`}</div>
    <p><small>Cordoned, it takes nothing new; draining, what runs moves to other nodes.</small></p><${Notice} error=${failed} /></section>`;
}

function Hosted() {
  const { data, error } = useFresh("/api/v1/executions");
  if (!data) return html`<${Notice} error=${error} />`;
  return html`<section><h2>What runs here</h2><${Table} caption="What runs on this node, and for whom"
    empty="Nothing runs here, and nothing waits to." columns=${["Execution", "Job", "State", "Engine", "CPU", "Memory", "For", "Since"]}
    rows=${data.executions.map((one) => ({ key: one.id, cells: [html`<code>${shortId(one.id)}</code>`, one.name || shortId(one.job),
      html`<${State} of=${one.state} />`, one.engine, cores(one.resources.cpu_millis), size(one.resources.memory_bytes),
      one.owner_name || one.owner.slice(-8), html`<${Ago} at=${one.created} />`] }))} /></section>`;
}

function Problems() {
  const { data, error, refresh } = useFresh("/api/v1/problems");
  const { act, error: failed } = useAct(refresh);
  return html`<section><h2>Problems</h2><${Notice} error=${error || failed} />
    ${data && html`<${Table} caption="What has failed on this node" empty="Nothing has failed." columns=${["What", "Reason", "Times", "Last", ""]}
      rows=${data.problems.map((one) => ({ key: one.number, cells: [
        html`${one.kind} <code>${one.subject}</code>${one.aside && html`<br /><small class="bad">set aside</small>`}`,
        html`<span class="reason">${one.reason}</span>`, one.count, html`<${Ago} at=${one.last_at} />`,
        html`<div class="actions">${one.aside && html`<button type="button" class="small" onClick=${() => act(() => post(`/api/v1/problems/${one.number}/retry`))}>Retry</button>`}
          <${Twice} ask="Forget it?" act=${() => act(() => call("DELETE", `/api/v1/problems/${one.number}`))}>Drop<//></div>`] }))} />`}</section>`;
}

function Settings() {
  const { data } = useFresh("/api/v1/settings", 0);
  if (!data) return null;
  return html`<details><summary>Settings</summary><${Table} caption="Settings, and where each came from" empty="" columns=${["Name", "Value", "From", "Where"]}
    rows=${data.settings.map((one) => ({ key: one.name, cells: [one.name, one.value === null ? "" : JSON.stringify(one.value), one.origin, one.where] }))} />
    <p><small><code>p2pnode config explain NAME</code> says what one means; <code>config set</code> changes it.</small></p></details>`;
}

function Figures() {
  const { data } = useFresh("/api/v1/metrics");
  if (!data) return null;
  return html`<details><summary>Figures</summary><dl class="facts">${Object.entries(data).map(([name, value]) =>
    html`<div><dt>${name}</dt><dd>${typeof value === "object" ? JSON.stringify(value) : String(value)}</dd></div>`)}</dl></details>`;
}
