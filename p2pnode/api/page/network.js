// The network as this node knows it: its peers, what they have free, who is connected, what runs where.
import { html } from "./vendor/preact.js";
import { useFresh } from "./api.js";
import { Bar, Notice, State, Table, cores, shortId, size } from "./parts.js";

// More would not be told apart in the map; the table has them all.
const MAPPED_MAX = 48;
// Labels that every node has; what they tell stands below its name.
const BUILT_IN = new Set(["Architecture", "Operating-System", "name", "os_arch", "os_type"]);
const LIVE = new Set(["Awarded", "Preparing", "Running", "Publishing"]);

export function Network() {
  const { data, error } = useFresh("/api/v1/nodes");
  const running = useFresh("/api/v1/jobs?state=Running&state=Pending&limit=200");
  if (!data) return html`<h1>Network</h1><${Notice} error=${error} />`;
  const runs = byPeer(running.data?.jobs || []);
  const nodes = data.nodes;
  const sum = (kind, field) => nodes.reduce((total, one) => total + one[kind][field], 0);
  const busy = (field, text) => `${text(sum("total", field) - sum("free", field))} of ${text(sum("total", field))} in use`;
  return html`<h1>Network</h1><${Notice} error=${error} />
    <section class="cards" aria-label="All nodes together">
      <div class="card"><b class="big">${nodes.length}</b> nodes known${data.next ? " and more" : ""},
        ${" "}${nodes.filter((one) => one.connected || one.self).length} of them connected</div>
      <div class="card"><${Bar} label="CPU" used=${sum("total", "cpu_millis") - sum("free", "cpu_millis")}
        total=${sum("total", "cpu_millis")} text=${busy("cpu_millis", cores)} />
        <${Bar} label="Memory" used=${sum("total", "memory_bytes") - sum("free", "memory_bytes")}
        total=${sum("total", "memory_bytes")} text=${busy("memory_bytes", size)} /></div>
      <div class="card"><b class="big">${[...runs.values()].flat().length}</b> executions of jobs known here run now</div>
    </section>
    ${data.unreached.length > 0 && html`<${Notice}>Not reached: ${data.unreached.map((one) =>
      html`<div><code>${one.addresses.join(", ")}</code> ${one.reason}</div>`)}<//>`}
    <${NodeMap} nodes=${nodes} />
    <${Table} caption="Nodes" empty="No node is known." columns=${["Node", "State", "CPU", "Memory", "GPUs", "Engines", "Labels", "Runs"]}
      rows=${nodes.map((one) => ({ key: one.peer, id: one.peer, cells: row(one, runs.get(one.peer) || []) }))} />`;
}

function byPeer(jobs) {
  const found = new Map();
  for (const job of jobs) {
    for (const one of job.executions) {
      if (LIVE.has(one.state)) found.set(one.peer, [...(found.get(one.peer) || []), { job, one }]);
    }
  }
  return found;
}

const CONNECTIONS = { relay: "connected by a relay" };
const REACHED = { relay: "reached by relays", none: "nobody can dial it" };

function stateOf(node) {
  const state = node.self ? "this node" : node.connected ? CONNECTIONS[node.connection] || "connected" : "heard of";
  return [state, node.role, REACHED[node.reach]].filter(Boolean).join(", ");
}

function row(node, runs) {
  const bar = (label, field, text) => html`<${Bar} label=${`${label} of ${node.name}`} shown="" used=${node.total[field] - node.free[field]}
    total=${node.total[field]} text=${`${text(node.free[field])} of ${text(node.total[field])} free`} />`;
  return [
    html`<b>${node.name || "unnamed"}</b><br /><code title=${node.peer}>…${node.peer.slice(-8)}</code>
      <br /><small>${[node.labels.os_type, node.labels.os_arch].filter(Boolean).join("/")}</small>`,
    html`<${State} of=${node.scheduling} /><br /><small>${stateOf(node)}</small>
      ${node.problem && html`<br /><small class="bad">${node.problem}</small>`}`,
    bar("CPU", "cpu_millis", cores),
    bar("Memory", "memory_bytes", size),
    node.total.gpus ? `${node.free.gpus} of ${node.total.gpus} free` : "",
    node.engines.join(", "),
    Object.entries(node.labels).filter(([key]) => !BUILT_IN.has(key)).sort().map(([key, value]) => html`<span class="label">${key}=${value}</span> `),
    runs.map(({ job, one }) => html`<div><a href=${`#/job/${job.id}`}>${job.name || shortId(job.id)}</a> <small>${one.state}</small></div>`),
  ];
}

function NodeMap({ nodes }) {
  const others = nodes.filter((one) => !one.self).slice(0, MAPPED_MAX);
  const me = nodes.find((one) => one.self);
  const [width, height] = [720, others.length > 16 ? 420 : 260];
  const at = (number) => {
    // Two stand beside this node, more around it from the top.
    const turn = (2 * Math.PI * number) / Math.max(1, others.length) - (others.length < 3 ? 0 : Math.PI / 2);
    return [width / 2 + Math.cos(turn) * (width / 2 - 90), height / 2 + Math.sin(turn) * (height / 2 - 34)];
  };
  const words = `${me?.name || "This node"} is connected to ${others.filter((one) => one.connected).length} of ${others.length} others`;
  return html`<figure class="map"><svg viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${words}>
    ${others.map((one, number) => {
      const [x, y] = at(number);
      return html`<line class=${one.connected ? "line" : "line heard"} x1=${width / 2} y1=${height / 2} x2=${x} y2=${y} />`;
    })}
    ${others.map((one, number) => {
      const [x, y] = at(number);
      const kind = one.scheduling === "schedulable" ? "dot" : "dot away";
      return html`<g><circle class=${one.connected ? kind : `${kind} heard`} cx=${x} cy=${y} r="9"><title>${one.name} ${one.peer}</title></circle>
        <text x=${x} y=${y + 23}>${(one.name || one.peer.slice(-8)).slice(0, 16)}</text></g>`;
    })}
    <circle class="dot me" cx=${width / 2} cy=${height / 2} r="13" />
    <text x=${width / 2} y=${height / 2 + 29}>${(me?.name || "").slice(0, 16)}</text></svg>
    <figcaption>${words}; a dashed line is a node that was heard of only. Each node keeps links to some of the others.</figcaption></figure>`;
}
