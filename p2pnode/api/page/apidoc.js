// The API as its description has it, each endpoint to be tried with the rights of this session.
import { html, useState } from "./vendor/preact.js";
import { useFresh } from "./api.js";
import { Notice } from "./parts.js";

// More of an answer is for programs; a stream is left after it.
const SHOWN_CHARACTERS_MAX = 20_000;
const SHOWN_MS_MAX = 5_000;

export function ApiDoc() {
  const { data, error } = useFresh("/api/openapi.json", 0);
  if (!data) return html`<h1>API</h1><${Notice} error=${error} />`;
  const byTag = new Map();
  for (const [path, methods] of Object.entries(data.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags[0];
      byTag.set(tag, [...(byTag.get(tag) || []), { path, method: method.toUpperCase(), operation }]);
    }
  }
  return html`<h1>API</h1><p>${data.info.description} <a href="/api/openapi.json" download="openapi.json">OpenAPI ${data.openapi}</a></p>
    ${[...byTag].map(([tag, list]) => html`<section><h2>${tag}</h2>${list.map((one) =>
      html`<${Endpoint} key=${one.operation.operationId} ...${one} schemas=${data.components.schemas} />`)}</section>`)}`;
}

function Endpoint({ path, method, operation, schemas }) {
  const [values, setValues] = useState({});
  const [body, setBody] = useState("");
  const [answer, setAnswer] = useState(null);
  const set = (name) => (event) => setValues({ ...values, [name]: event.target.value });
  const send = async (event) => {
    event.preventDefault();
    const missing = operation.parameters.filter((one) => one.in === "path" && !values[one.name]);
    if (missing.length) return;
    const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(values[name]));
    const query = new URLSearchParams(operation.parameters.filter((one) => one.in === "query" && values[one.name]).map((one) => [one.name, values[one.name]]));
    const kind = Object.keys(operation.requestBody?.content || {})[0];
    setAnswer({ status: "…", text: "" });
    setAnswer(await tried(method, query.size ? `${filled}?${query}` : filled, kind && { kind, body }));
  };
  return html`<details class="endpoint"><summary><b class=${method === "GET" ? "" : "write"}>${method}</b> <code>${path}</code> ${operation.summary}</summary>
    <form onSubmit=${send}>
      ${operation.parameters.map((one) => html`<label>${one.name} <small>${one.in}, ${typeOf(one.schema)}${one.description ? `: ${one.description}` : ""}</small>
        <input required=${one.required} value=${values[one.name] || ""} onInput=${set(one.name)} /></label>`)}
      ${operation.requestBody && html`<label>body <small>${bodyOf(operation, schemas)}</small>
        <textarea rows="4" value=${body} onInput=${(event) => setBody(event.target.value)}></textarea></label>`}
      <button>Send</button></form>
    ${answer && html`<div role="status">${answer.status}</div><pre class="file" tabindex="0">${answer.text}</pre>`}</details>`;
}

function typeOf(schema) {
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return `several of ${typeOf(schema.items)}`;
  return schema.type || "any";
}

function bodyOf(operation, schemas) {
  const [kind, { schema }] = Object.entries(operation.requestBody.content)[0];
  const fields = schema.$ref ? Object.keys(schemas[schema.$ref.split("/").pop()].properties || {}) : [];
  return fields.length ? `${kind} with ${fields.join(", ")}` : kind;
}

async function tried(method, path, sent) {
  const leave = new AbortController();
  const timer = setTimeout(() => leave.abort(), SHOWN_MS_MAX);
  let text = "";
  let status = "";
  try {
    const response = await fetch(path, { method, body: sent?.body || undefined, headers: sent ? { "Content-Type": sent.kind } : {}, signal: leave.signal });
    status = `${response.status} ${response.headers.get("content-type") || ""}`;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done && text.length < SHOWN_CHARACTERS_MAX; part = await reader.read()) text += part.value;
    leave.abort();
  } catch (error) {
    if (!status) return { status: "no answer", text: String(error.message) };
  }
  clearTimeout(timer);
  try {
    text = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // A stream, or no JSON.
  }
  return { status, text: text.slice(0, SHOWN_CHARACTERS_MAX) };
}
