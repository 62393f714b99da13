// The versions of a job's file, one shown or two compared.
import { html, useEffect, useState } from "./vendor/preact.js";
import { get } from "./api.js";
import { Copy, Notice, clock } from "./parts.js";

// Beyond that a comparison takes long, and nobody reads it.
const COMPARED_LINES_MAX = 2000;

export function Versions({ job }) {
  const [shown, setShown] = useState(job.version);
  const [against, setAgainst] = useState(0);
  const [specs, setSpecs] = useState({});
  const [error, setError] = useState(null);
  useEffect(() => {
    for (const version of [shown, against]) {
      if (!version || specs[version]) continue;
      get(`/api/v1/jobs/${job.id}/versions/${version}`).then(
        ({ text }) => setSpecs((before) => ({ ...before, [version]: text })), setError);
    }
  }, [shown, against]);
  const choice = (title, value, set, none) => html`<label>${title} <select value=${value} onChange=${(event) => set(Number(event.target.value))}>
    ${none && html`<option value="0">none</option>`}${job.versions.map((one) =>
      html`<option value=${one.version}>${one.version}, ${clock(one.submitted)}</option>`)}</select></label>`;
  const [text, other] = [specs[shown], specs[against]];
  return html`<form class="filters">${choice("Version", shown, setShown, false)}
      ${job.versions.length > 1 && choice("Compared with", against, setAgainst, true)}
      ${text && html`<${Copy} text=${text} label="Copy file" />`}</form>
    <${Notice} error=${error} />
    ${text && against && other
      ? html`<pre class="file" tabindex="0">${compare(other.split("\n"), text.split("\n")).map(([sign, line]) =>
          html`<div class=${{ "+": "added", "-": "removed", " ": "" }[sign]}>${sign} ${line}</div>`)}</pre>`
      : html`<pre class="file" tabindex="0">${text || ""}</pre>`}`;
}

// The lines of both with what became of them, by the longest common subsequence.
export function compare(before, after) {
  if (before.length > COMPARED_LINES_MAX || after.length > COMPARED_LINES_MAX) {
    return [...before.map((line) => ["-", line]), ...after.map((line) => ["+", line])];
  }
  const width = after.length + 1;
  const lengths = new Uint16Array((before.length + 1) * width);
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] = before[i] === after[j]
        ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      found.push([" ", before[i]]);
      i += 1;
      j += 1;
    } else if (j === after.length || (i < before.length && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) {
      found.push(["-", before[i]]);
      i += 1;
    } else {
      found.push(["+", after[j]]);
      j += 1;
    }
  }
  return found;
}
