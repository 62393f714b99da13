// One job: how it stands, the timeline of its executions, its history, its output, its results, its versions.
import { html, useEffect, useState } from "./vendor/preact.js";
import { post, stream, useFresh } from "./api.js";
import { Logs } from "./logs.js";
import { Ago, Copy, Notice, State, Table, Twice, clock, duration, shortId, useAct } from "./parts.js";
import { Results } from "./results.js";
import { Versions } from "./versions.js";

const TABS = [["overview", "Overview"], ["history", "History"], ["logs", "Logs"], ["results", "Results"], ["file", "File"]];
const LONG_RUNNING = new Set(["service", "daemon"]);

export function Job({ id, tab }) {
  const { data: job, error, refresh } = useFresh(`/api/v1/jobs/${encodeURIComponent(id)}`);
  const { act, error: failed, busy } = useAct(refresh);
  if (!job) return html`<h1>Job</h1><${Notice} error=${error} />`;
  const over = job.outcome !== null;
  return html`<h1>${job.name} <${State} of=${job.state} /></h1><${Notice} error=${error} />
    <p class="under"><code>${job.id}</code> <${Copy} text=${job.id} /></p>
    <div class="actions">
      ${!over && html`<${Twice} ask="Stop it now?" act=${() => act(() => post(`/api/v1/jobs/${job.id}/stop`, { reason: "stopped on the page" }))}>Stop<//>`}
      <${Twice} ask="Run it again?" kind="main" act=${() => act(() => post(`/api/v1/jobs/${job.id}/rerun`, {}))}>Rerun<//>
      <a class="button" href=${`#/submit?from=${job.id}`}>Use its file</a>${busy && html`<span>…</span>`}</div>
    <${Notice} error=${failed} />
    <nav class="tabs" aria-label="Parts of the job">${TABS.map(([name, title]) => html`<a href=${`#/job/${job.id}/${name}`}
      aria-current=${tab === name ? "page" : undefined}>${title}</a>`)}</nav>
    ${tab === "overview" && html`<${Overview} job=${job} />`}
    ${tab === "history" && html`<${History} key=${job.run} job=${job} />`}
    ${tab === "logs" && html`<${Logs} key=${job.run} job=${job} />`}
    ${tab === "results" && html`<${Results} job=${job} />`}
    ${tab === "file" && html`<${Versions} job=${job} />`}`;
}

function Overview({ job }) {
  const facts = [
    ["Type", `${job.type}${LONG_RUNNING.has(job.type) ? ", runs until stopped" : ""}`],
    ["Reason", job.reason],
    ["First failure", job.first_failure],
    ["Namespace", job.namespace],
    ["Priority", job.priority],
    ["Count", ["ops", "daemon"].includes(job.type) ? "" : job.count],
    ["Created", html`<${Ago} at=${job.created} />`],
    ["Changed", html`<${Ago} at=${job.modified} />`],
    ["Version, run", `${job.version}, ${job.run}`],
    ["Looked after by", job.owner_name || job.owner],
    ["Members", job.members.map((one) => one.name || `…${one.peer.slice(-8)}`).join(", ")],
  ];
  return html`<dl class="facts">${facts.filter(([, value]) => value !== "" && value !== null).map(([name, value]) =>
      html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    <${Timeline} job=${job} />
    <${Table} caption="Executions" empty="Nothing was awarded to a peer yet." columns=${["Execution", "Node", "State", "Replica", "Exit", "Reason"]}
      rows=${job.executions.map((one) => ({ key: one.id, cells: [
        html`<code title=${one.id}>${shortId(one.id)}</code>`, one.peer_name || `…${one.peer.slice(-8)}`, html`<${State} of=${one.state} />`,
        one.replica, one.exit_code, html`<span class="reason">${one.reason}</span>`] }))} />`;
}

function Timeline({ job }) {
  if (!job.executions.length) return null;
  const begin = Math.min(job.created, ...job.executions.map((one) => one.created));
  const end = Math.max(job.outcome === null ? Date.now() / 1000 : job.modified, ...job.executions.map((one) => one.modified), begin + 0.1);
  const share = (at) => `${((100 * (at - begin)) / (end - begin)).toFixed(2)}%`;
  const over = new Set(["Completed", "Failed", "Cancelled", "Lost"]);
  return html`<figure class="timeline"><figcaption>Executions over ${duration(end - begin)}, from ${clock(begin)}</figcaption>
    ${job.executions.map((one) => {
      const last = over.has(one.state) ? one.modified : end;
      return html`<div class="span"><span class="spanname">${one.peer_name || one.peer.slice(-8)} #${one.replica}</span>
        <span class="track"><span class=${`run ${one.state}`} style=${{ left: share(one.created), width: share(begin + Math.max(last - one.created, (end - begin) / 200)) }}
          title=${`${one.state}: ${clock(one.created)}, ${duration(last - one.created)}`}></span></span>
        <span>${duration(last - one.created)}</span></div>`;
    })}</figure>`;
}

function History({ job }) {
  const [events, setEvents] = useState([]);
  const [error, setError] = useState("");
  useEffect(() => {
    const known = new Set();
    return stream(
      `/api/v1/jobs/${job.id}/events?follow=true`,
      (event) => {
        // A connection that was opened again begins anew.
        if (known.has(event.number)) return;
        known.add(event.number);
        setEvents((before) => [...before, event]);
      },
      setError,
    );
  }, [job.id]);
  return html`<${Notice} error=${error && new Error(error)} />
    <ol class="history" aria-live="polite">${events.map((one) => html`<li key=${one.number}>
      <time datetime=${new Date(one.at * 1000).toISOString()} title=${new Date(one.at * 1000).toLocaleString()}>${clock(one.at)}</time>
      <span class="topic">${one.topic}</span><span>${one.message}
      ${one.execution && html` <code title=${one.execution}>${shortId(one.execution)}</code>`}</span></li>`)}</ol>`;
}
