// Calls of the node's API: answers, streams of events, and a hook that keeps an answer fresh.
import { useEffect, useState } from "./vendor/preact.js";

const POLL_MS = 2000;
// Told when the node no longer knows who asks.
export const session = new EventTarget();

export class Refused extends Error {
  constructor(status, body) {
    super(body.message || `HTTP ${status}`);
    this.status = status;
    this.code = body.error || "internal";
    this.problems = body.problems || [];
  }
}

async function refused(response) {
  const body = await response.json().catch(() => ({}));
  if (response.status === 401) session.dispatchEvent(new Event("ended"));
  return new Refused(response.status, body);
}

export async function call(method, path, body, type = "application/json") {
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, { method, body: text, headers: text === undefined ? {} : { "Content-Type": type } });
  } catch {
    throw new Refused(0, { error: "unavailable", message: "The node does not answer: it has stopped, or restarts." });
  }
  if (!response.ok) throw await refused(response);
  return response.json();
}

export const get = (path) => call("GET", path);
export const post = (path, body, type) => call("POST", path, body, type);

// The first `limit` bytes of a file, and whether that is all of it.
export async function bytes(path, limit) {
  const response = await fetch(path);
  if (!response.ok) throw await refused(response);
  const reader = response.body.getReader();
  const pieces = [];
  let size = 0;
  let whole = false;
  while (size <= limit) {
    const { done, value } = await reader.read();
    if (done) {
      whole = true;
      break;
    }
    pieces.push(value);
    size += value.length;
  }
  if (!whole) reader.cancel();
  const blob = new Blob(pieces, { type: response.headers.get("content-type") || "" });
  return { blob: blob.slice(0, limit, blob.type), whole };
}

// Events of the node until the end of the stream; gives what stops it. `onOpen` is told of each connection: the
// browser opens a broken one again, and then all comes anew.
export function stream(path, onItem, onEnd, onOpen = () => {}) {
  const source = new EventSource(path);
  source.onopen = onOpen;
  source.onmessage = (event) => onItem(JSON.parse(event.data));
  source.addEventListener("end", () => {
    source.close();
    onEnd("");
  });
  source.addEventListener("error", (event) => {
    // Without data it is the connection, which the browser opens again unless the node refuses it.
    if (event.data === undefined) {
      if (source.readyState === EventSource.CLOSED) onEnd("The node refuses this now: too many are open, or you are logged out.");
      return;
    }
    source.close();
    onEnd(JSON.parse(event.data).message);
  });
  return () => source.close();
}

// An answer asked for again and again while the page is seen; `refresh` asks at once.
export function useFresh(path, interval = POLL_MS) {
  const [state, setState] = useState({ data: null, error: null, path });
  const [round, setRound] = useState(0);
  useEffect(() => {
    let stopped = false;
    let timer;
    const ask = async () => {
      if (!document.hidden) {
        try {
          const data = await get(path);
          if (!stopped) setState({ data, error: null, path });
        } catch (error) {
          if (!stopped) setState((before) => ({ data: before.path === path ? before.data : null, error, path }));
        }
      }
      if (!stopped && interval) timer = setTimeout(ask, interval);
    };
    const seen = () => {
      if (document.hidden) return;
      clearTimeout(timer);
      ask();
    };
    document.addEventListener("visibilitychange", seen);
    ask();
    return () => {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [path, interval, round]);
  const current = state.path === path ? state : { data: null, error: null };
  return { ...current, refresh: () => setRound((before) => before + 1) };
}
