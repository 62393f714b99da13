// The page's frame: where one is (in the address behind #), who is logged in, light or dark.
import { html, render, useEffect, useState } from "./vendor/preact.js";
import { call, session, useFresh } from "./api.js";
import { ApiDoc } from "./apidoc.js";
import { Job } from "./job.js";
import { Jobs } from "./jobs.js";
import { Network } from "./network.js";
import { Notice } from "./parts.js";
import { Submit } from "./submit.js";
import { ThisNode } from "./thisnode.js";

const VIEWS = [["network", "Network"], ["jobs", "Jobs"], ["submit", "Submit"], ["node", "This node"], ["api", "API"]];
const THEMES = ["auto", "light", "dark"];

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query || "") };
}

function usePlace() {
  const [here, setHere] = useState(place());
  useEffect(() => {
    const moved = () => setHere(place());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return here;
}

function Theme() {
  const [theme, setTheme] = useState(localStorage.getItem("theme") || "auto");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
  }, [theme]);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  return html`<button type="button" class="small" onClick=${() => setTheme(next)}>Theme: ${theme}</button>`;
}

function Login({ ended }) {
  const [token, setToken] = useState("");
  const [error, setError] = useState(null);
  const enter = async (event) => {
    event.preventDefault();
    const headers = { Authorization: `Bearer ${token.trim()}` };
    const response = await fetch("/api/v1/sessions", { method: "POST", headers }).catch(() => null);
    if (response?.ok) location.replace((await response.json()).path);
    else setError(new Error(response ? "This is no token of the node." : "The node does not answer."));
  };
  const failed = new URLSearchParams(location.search).has("login");
  return html`<main class="login" id="content"><h1>p2pnode</h1>
    ${ended && html`<${Notice} kind="wait">The session has ended: it was too old, or the node was started again.<//>`}
    ${failed && html`<${Notice}>That link was used before, or is too old. Ask for a new one.<//>`}
    <p>On the node's machine, <code>p2pnode dashboard</code> opens this page logged in.</p>
    <form onSubmit=${enter}>
      <label>Or a token: <code>api.token</code> in the node's data directory, or one
        that${" "}<code>p2pnode token create</code> has printed
        <input type="password" autocomplete="off" required value=${token} onInput=${(e) => setToken(e.target.value)} /></label>
      <button class="main">Log in</button></form>
    <${Notice} error=${error} /></main>`;
}

function Frame({ here, identity, children }) {
  const view = here.parts[0] === "job" ? "jobs" : here.parts[0] || "network";
  const logout = () => call("DELETE", "/api/v1/sessions").finally(() => location.assign("/"));
  const skip = (event) => {
    event.preventDefault();
    document.getElementById("content").focus();
  };
  return html`<a class="skip" href="#content" onClick=${skip}>To the content</a>
    <header><a class="brand" href="#/network"><img src="/page/icon.svg" alt="" width="24" height="24" /> p2pnode</a>
      <nav aria-label="Views">${VIEWS.map(([name, title]) => html`<a href=${`#/${name}`}
        aria-current=${view === name ? "page" : undefined}>${title}</a>`)}</nav>
      <span class="who">${identity ? identity.name : ""}</span>
      <${Theme} /><button type="button" class="small" onClick=${logout}>Log out</button></header>
    <main id="content" tabindex="-1">${children}</main>`;
}

function View({ here, identity }) {
  const [name, ...rest] = here.parts;
  if (name === "job" && rest.length) return html`<${Job} key=${rest[0]} id=${rest[0]} tab=${rest[1] || "overview"} />`;
  if (name === "jobs") return html`<${Jobs} query=${here.query} />`;
  if (name === "submit") return html`<${Submit} from=${here.query.get("from")} />`;
  if (name === "node") return html`<${ThisNode} identity=${identity} />`;
  if (name === "api") return html`<${ApiDoc} />`;
  return html`<${Network} />`;
}

function Page() {
  const here = usePlace();
  const [out, setOut] = useState(false);
  const { data: identity, error } = useFresh("/api/v1/id", 15000);
  useEffect(() => {
    const ended = () => setOut(true);
    session.addEventListener("ended", ended);
    return () => session.removeEventListener("ended", ended);
  }, []);
  useEffect(() => {
    const at = here.parts.join(" / ") || "network";
    document.title = identity ? `${at} – ${identity.name} – p2pnode` : "p2pnode";
  }, [here, identity]);
  if (out) return html`<${Login} ended=${identity !== null} />`;
  return html`<${Frame} here=${here} identity=${identity}>
    <${Notice} error=${error} /><${View} here=${here} identity=${identity} /><//>`;
}

render(html`<${Page} />`, document.getElementById("page"));
