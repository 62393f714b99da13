// The results of a job's executions: folders to walk, files to see or download. Nothing in them is run.
import { html, useEffect, useState } from "./vendor/preact.js";
import { bytes, get } from "./api.js";
import { Copy, Notice, Table, shortId, size } from "./parts.js";

const SHOWN_BYTES_MAX = 1024 * 1024;
const ROWS_MAX = 500;
// A folder may have 100,000; a browser that shows them all stands still.
const ENTRIES_MAX = 1000;
const PICTURES = /^image\/(png|jpeg|gif|webp|avif|bmp)$/;

export function Results({ job }) {
  const having = job.executions.filter((one) => one.result_cid);
  const [chosen, setChosen] = useState("");
  const one = having.find((each) => each.id === chosen) || having[having.length - 1];
  if (!one) return html`<p class="empty">${job.outcome === null ? "There are no results yet." : "No execution left a result."}</p>`;
  return html`${having.length > 1 && html`<form class="filters"><label>Execution
      <select value=${one.id} onChange=${(event) => setChosen(event.target.value)}>${having.map((each) =>
        html`<option value=${each.id}>${shortId(each.id)} ${each.peer_name} #${each.replica} ${each.state}</option>`)}</select></label></form>`}
    <p><code class="cid">${one.result_cid}</code> <${Copy} text=${one.result_cid} label="Copy CID" /></p>
    <${Browser} key=${one.id} cid=${one.result_cid} peer=${one.peer} />`;
}

const join = (cid, names) => [cid, ...names].map(encodeURIComponent).join("/");

function Browser({ cid, peer }) {
  const [names, setNames] = useState([]);
  const [state, setState] = useState({ entries: null, file: null, error: null });
  const path = join(cid, names);
  const hint = `peer=${encodeURIComponent(peer)}`;
  useEffect(() => {
    let gone = false;
    const put = (next) => gone || setState({ entries: null, file: null, error: null, ...next });
    setState({ entries: null, file: null, error: null });
    get(`/api/v1/ipfs/ls/${path}?${hint}`).then(
      ({ entries }) => put({ entries }),
      // No folder: a file, or nothing to be had, which the file then says.
      (error) => bytes(`/ipfs/${path}?${hint}`, SHOWN_BYTES_MAX).then((file) => put({ file }), () => put({ error })),
    );
    return () => { gone = true; };
  }, [path]);
  const crumbs = html`<nav class="crumbs" aria-label="Folder"><button type="button" class="small" onClick=${() => setNames([])}>result</button>
    ${names.map((name, at) => html` / <button type="button" class="small" onClick=${() => setNames(names.slice(0, at + 1))}>${name}</button>`)}</nav>`;
  const { entries, file, error } = state;
  return html`${crumbs}<${Notice} error=${error} />
    ${!entries && !file && !error && html`<p>Fetching…</p>`}
    ${entries && html`<${Table} caption="Files" empty="The folder is empty." columns=${["Name", "Size", "CID"]}
      rows=${entries.slice(0, ENTRIES_MAX).map((one) => ({ key: one.name, cells: [
        html`<button type="button" class="link" onClick=${() => setNames([...names, one.name])}>${one.name}</button>`,
        size(one.size_bytes), html`<code class="cid" title=${one.cid}>…${one.cid.slice(-10)}</code>`] }))} />
      ${entries.length > ENTRIES_MAX && html`<p>The first ${ENTRIES_MAX} of ${entries.length}; <code>p2pnode ipfs ls</code> has all.</p>`}`}
    ${file && html`<${File} key=${path} name=${names[names.length - 1] || cid} href=${`/ipfs/${path}?${hint}`} blob=${file.blob} whole=${file.whole} />`}`;
}

function File({ name, href, blob, whole }) {
  const [view, setView] = useState(null);
  useEffect(() => {
    let address = "";
    if (whole && PICTURES.test(blob.type)) {
      address = URL.createObjectURL(blob);
      setView({ kind: "picture", address });
    } else {
      blob.arrayBuffer().then((data) => setView(asText(name, data, whole)));
    }
    return () => address && URL.revokeObjectURL(address);
  }, [blob]);
  return html`<p>${size(blob.size)}${whole ? "" : " of it are shown"} <a href=${href} download=${name}>Download</a>
      ${" "}<a href=${href} target="_blank" rel="noopener noreferrer">Open</a></p>
    ${view?.kind === "picture" && html`<img class="picture" src=${view.address} alt=${name} />`}
    ${view?.kind === "text" && html`<pre class="file" tabindex="0">${view.text || "(empty)"}</pre>`}
    ${view?.kind === "rows" && html`<${Table} caption=${name} empty="" columns=${view.rows[0]}
      rows=${view.rows.slice(1, ROWS_MAX).map((cells, key) => ({ key, cells }))} />
      ${view.rows.length > ROWS_MAX && html`<p>The first ${ROWS_MAX - 1} rows of ${view.rows.length - 1}.</p>`}`}
    ${view?.kind === "bytes" && html`<p class="empty">No text; download it to see it.</p>`}`;
}

function asText(name, data, whole) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: whole }).decode(data);
  } catch {
    return { kind: "bytes" };
  }
  if (text.includes("\0")) return { kind: "bytes" };
  if (/\.csv$/i.test(name) && whole) {
    const rows = csv(text);
    if (rows.length > 1) return { kind: "rows", rows };
  }
  if (/\.json$/i.test(name) && whole) {
    try {
      return { kind: "text", text: JSON.stringify(JSON.parse(text), null, 2) };
    } catch {
      return { kind: "text", text };
    }
  }
  return { kind: "text", text };
}

// Rows of RFC 4180: fields in quotes may hold commas, breaks and doubled quotes.
export function csv(text) {
  const rows = [];
  let row = [];
  for (const [, quoted, bare, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    row.push(quoted === undefined ? bare : quoted.replace(/""/g, '"'));
    if (end === ",") continue;
    if (row.length > 1 || row[0]) rows.push(row);
    row = [];
  }
  return rows;
}
