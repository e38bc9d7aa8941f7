/** Questions to the API of the gateway that served this page. */

const BASE = "api/v1";
const TOKEN_KEY = "meshnode-token";
const TIMEOUT_MS = 30_000;

/** What the API (or the network) said instead of an answer. `next_step` is for the person. */
export class Problem extends Error {
  constructor({ status = 0, code = "offline", title = "", detail = "", next_step = "", field = "" }) {
    super(detail || title || code);
    Object.assign(this, { status, code, title: title || code, detail, next_step, field });
  }
}

/** The token stands in the address once; the tab keeps it, the address bar and the history do not. */
export function takeToken() {
  const found = /(?:^#|&)token=([^&]+)/.exec(location.hash);
  if (!found) return;
  sessionStorage.setItem(TOKEN_KEY, decodeURIComponent(found[1]));
  history.replaceState(null, "", location.pathname + location.search + "#/");
}

export function setToken(token) {
  sessionStorage.setItem(TOKEN_KEY, token);
}

export function hasToken() {
  return sessionStorage.getItem(TOKEN_KEY) !== null;
}

function authority() {
  const token = sessionStorage.getItem(TOKEN_KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** {a: ["x", "y"], b: 1, c: ""} -> "a=x&a=y&b=1": empty values are left out. */
export function encoded(params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== "" && one !== null && one !== undefined) query.append(name, one);
    }
  }
  return query.toString();
}

function address(path, params) {
  const query = encoded(params);
  return `${BASE}/${path.replace(/^\//, "")}${query ? `?${query}` : ""}`;
}

async function problemOf(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    body = { title: response.statusText, detail: `The gateway answered ${response.status} without saying why.` };
  }
  return new Problem({ code: `http-${response.status}`, ...body, status: response.status });
}

/** A response that is well, or a Problem. */
export async function ask(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { cache: "no-cache", ...options, headers: { ...authority(), ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const waited = error.name === "TimeoutError";
    throw new Problem({
      code: waited ? "timeout" : "offline",
      title: waited ? "The gateway takes too long" : "The gateway does not answer",
      detail: waited
        ? `No answer within ${TIMEOUT_MS / 1000} s.`
        : "This page cannot reach the gateway that served it.",
      next_step: "The page tries again by itself. Is `meshnode gateway` (or `meshnode ui`) still running?",
    });
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** GET /api/v1/PATH -> JSON. Throws Problem; AbortError when `signal` was aborted. */
export async function get(path, params = {}, { signal } = {}) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const response = await ask(address(path, params), { signal: signal ? AbortSignal.any([signal, limit]) : limit });
  return response.json();
}

/** POST JSON; repeating it is harmless with the same `key`. Throws Problem. */
export async function post(path, body, { key = crypto.randomUUID() } = {}) {
  const response = await ask(address(path), {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", "Idempotency-Key": key },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  return response.json();
}

/** The live feed as a response to be read piece by piece. */
export function stream(path, params, { signal, last = "" } = {}) {
  const headers = { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": String(last) } : {}) };
  return ask(address(path, params), { signal, headers });
}
