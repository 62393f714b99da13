// Small parts that all views are made of: values for people, states, bars, tables, buttons that ask twice.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";

const CONFIRM_MS = 4000;
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

export function size(bytes) {
  if (bytes === null || bytes === undefined) return "";
  let power = 0;
  let value = bytes;
  while (value >= 1000 && power < UNITS.length - 1) {
    value /= 1000;
    power += 1;
  }
  return `${value >= 100 || power === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[power]}`;
}

export const cores = (millis) => `${(millis / 1000).toFixed(millis % 1000 ? 1 : 0)}`;

export function duration(seconds) {
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

export const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });

export function Ago({ at }) {
  const when = new Date(at * 1000);
  return html`<time datetime=${when.toISOString()} title=${when.toLocaleString()}>
    ${duration(Date.now() / 1000 - at)} ago</time>`;
}

export const shortId = (id) => (id || "").slice(0, 10);

const KINDS = {
  Completed: "good", Running: "live", Publishing: "live", Preparing: "live", Awarded: "live",
  Failed: "bad", Lost: "bad", Stopped: "off", Cancelled: "off", Pending: "wait", Queued: "wait",
  running: "live", publishing: "live", preparing: "live", bid: "wait", waiting: "wait", ending: "off", ended: "off",
  schedulable: "good", cordoned: "wait", draining: "wait",
};

export const State = ({ of }) => html`<span class=${`state ${KINDS[of] || "off"}`}>${of}</span>`;

export function Bar({ label, shown = label, used, total, text }) {
  const share = total ? Math.min(1, Math.max(0, used / total)) : 0;
  return html`<div class="bar" role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${Math.round(share * 100)} aria-valuetext=${text}>
    <span class=${share > 0.9 ? "fill full" : "fill"} style=${{ width: `${share * 100}%` }}></span>
    <span class="bartext">${shown && html`<b>${shown}</b> `}${text}</span></div>`;
}

export function Notice({ error, kind = "bad", children }) {
  if (!error && !children) return null;
  return html`<div class=${`notice ${kind}`} role=${kind === "bad" ? "alert" : "status"}>
    ${error ? error.message : children}
    ${error && error.problems?.length ? html`<ul>${error.problems.map((one) => html`<li><code>${one}</code></li>`)}</ul>` : ""}
  </div>`;
}

// A table that a phone shows as cards: each cell tells its column.
export function Table({ caption, columns, rows, empty }) {
  if (!rows.length) return html`<p class="empty">${empty}</p>`;
  return html`<div class="tablebox" tabindex="0" role="region" aria-label=${caption}><table>
    <caption>${caption}</caption>
    <thead><tr>${columns.map((one) => html`<th scope="col">${one}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${row.key} id=${row.id}>
      ${row.cells.map((cell, at) => html`<td data-column=${columns[at]}>${cell}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

// A button for what cannot be taken back: it asks, and does it at the second press.
export function Twice({ children, ask, act, kind = "danger" }) {
  const [asked, setAsked] = useState(false);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const press = () => {
    clearTimeout(timer.current);
    if (asked) act();
    else timer.current = setTimeout(() => setAsked(false), CONFIRM_MS);
    setAsked(!asked);
  };
  return html`<button type="button" class=${asked ? kind : ""} onClick=${press}>${asked ? ask : children}</button>`;
}

// A command to the node, its failure shown beside the button.
export function useAct(done) {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const act = async (call) => {
    setBusy(true);
    setError(null);
    try {
      const answer = await call();
      done?.(answer);
    } catch (failed) {
      setError(failed);
    }
    setBusy(false);
  };
  return { act, error, busy };
}

export function Copy({ text, label = "Copy" }) {
  const [done, setDone] = useState(false);
  const copy = () => navigator.clipboard.writeText(text).then(() => setDone(true));
  return html`<button type="button" class="small" onClick=${copy}>${done ? "Copied" : label}</button>`;
}
