/** The live feed: one stream for the tab, which comes back by itself and says when it could not. */
import { signal } from "@preact/signals";
import { Problem, stream } from "./api.js";

const RETRY_MS = [500, 1_000, 2_000, 5_000, 10_000];
const GATHER_MS = 120; // a view that opens subscribes more than once
const FIRST_MS = 400; // at first its module is still to come
const SILENCE_MS = 20_000; // four beats
const FRAME_CHARS_MAX = 16 << 20;

/** How the gateway sees the mesh. `connected`: this page hears the gateway; `problem`: why what is shown may be old. */
export const source = signal({ connected: false, as_of: 0, stale: false, problem: "", seq: 0, node: "", mesh: "" });

const listeners = new Set();
let kinds = ""; // the stream's own, comma separated
let control = null; // of the stream that runs
let timer = 0;
let gathering = 0;
let tries = 0;
let last = ""; // id of the newest frame: up to there this page knows everything
let heard = false; // the gateway, at least once

/** `fn({rows, gone, events, reset})` for every change of these kinds ("nodes", ..., "events"); `reset`: ask anew. */
export function onChanged(wanted, fn) {
  const listener = { kinds: new Set([wanted].flat()), fn };
  listeners.add(listener);
  soon();
  return () => {
    listeners.delete(listener);
    soon();
  };
}

/** `fn()` at most once in `every_ms`, some time after each change of these kinds: for figures that are asked anew. */
export function onSettled(wanted, every_ms, fn) {
  let timer = 0;
  let ran = 0;
  const run = () => {
    timer = 0;
    ran = Date.now();
    fn();
  };
  const off = onChanged(wanted, () => {
    timer ||= setTimeout(run, Math.max(50, ran + every_ms - Date.now()));
  });
  return () => {
    clearTimeout(timer);
    off();
  };
}

function patch(change) {
  source.value = { ...source.value, ...change };
}

function soon() {
  clearTimeout(gathering);
  gathering = setTimeout(retune, control || tries ? GATHER_MS : FIRST_MS);
}

/** A stream tells only of kinds somebody shows; a wider one is opened where the old one stopped. */
function retune() {
  gathering = 0;
  const wanted = [...new Set([...listeners].flatMap((one) => [...one.kinds]))].sort();
  if (control && wanted.every((kind) => kinds.split(",").includes(kind))) return;
  kinds = wanted.join(",");
  connect();
}

function tell(change) {
  for (const { kinds: wanted, fn } of [...listeners]) {
    const touches = (part) => Object.keys(change[part]).some((kind) => wanted.has(kind));
    const told = change.events.length > 0 && wanted.has("events");
    if (change.reset || told || touches("rows") || touches("gone")) fn(change);
  }
}

function reset() {
  tell({ rows: {}, gone: {}, events: [], reset: true });
}

function handle(name, data) {
  if (name === "hello") {
    patch({ connected: true, as_of: data.as_of, stale: data.stale, seq: data.seq, problem: data.source?.problem ?? "",
      node: data.source?.node ?? "", mesh: data.source?.mesh ?? "" });
    tries = 0;
    if (heard && !last) reset(); // the stream before broke off too early to be resumed
    heard = true;
  } else if (name === "changed") {
    patch({ seq: data.seq, as_of: Math.max(source.value.as_of, data.at_ms) });
    tell({ rows: data.rows ?? {}, gone: data.gone ?? {}, events: data.events ?? [], reset: false });
  } else if (name === "beat") {
    patch({ as_of: data.as_of, stale: data.stale, problem: data.problem ?? "" });
  } else if (name === "reset") {
    reset();
  }
}

function frame(text) {
  let name = "message";
  let id = "";
  const data = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("id:")) id = line.slice(3).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  if (data.length) handle(name, JSON.parse(data.join("\n")));
  if (id && !gathering) last = id; // only now is it known; and not while this stream leaves out what somebody asked for
}

/** Reads until the stream ends; a stream that is silent for too long is as good as ended. */
async function read(response, own) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let kept = "";
  let silence = 0;
  try {
    for (;;) {
      clearTimeout(silence);
      silence = setTimeout(() => own.abort(), SILENCE_MS);
      const { done, value } = await reader.read();
      if (done) return;
      const frames = (kept + value).replaceAll("\r", "").split("\n\n");
      kept = frames.pop();
      if (kept.length > FRAME_CHARS_MAX) throw new Problem({ code: "too-large", detail: "The live feed sent no end." });
      frames.forEach(frame);
    }
  } finally {
    clearTimeout(silence);
  }
}

async function run(own) {
  let problem = "";
  try {
    await read(await stream("watch", { kinds }, { signal: own.signal, last }), own);
  } catch (error) {
    problem = error instanceof Problem ? error.message : "";
  }
  if (own !== control) return; // a wider stream took its place
  patch({ connected: false, problem: problem || "The connection to the gateway was lost." });
  control = null;
  timer = setTimeout(connect, RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]);
}

/** Open the stream now; one that runs is closed. */
export function connect() {
  clearTimeout(timer);
  const own = new AbortController();
  control?.abort();
  control = own;
  run(own);
}

addEventListener("online", connect);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !source.value.connected && kinds) connect();
});
