/** How values are written. What is not known is a dash, never a zero. */
import { signal } from "@preact/signals";

export const DASH = "–";
const STEPS = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
  [1, "s"],
];

/** Wall clock, by the second: whatever shows an age reads it. */
export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1_000);

/** 200_000 -> "3 min": the largest unit alone; under ten of it, with the next one: "1 h 20 min". */
export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return DASH;
  const seconds = Math.max(0, Math.round(ms / 1_000));
  const at = STEPS.findIndex(([size]) => seconds >= size);
  if (at < 0) return "0 s";
  const [size, unit] = STEPS[at];
  const whole = Math.floor(seconds / size);
  const below = STEPS[at + 1];
  const rest = below ? Math.floor((seconds % size) / below[0]) : 0;
  return whole < 10 && rest && size > 60 ? `${whole} ${unit} ${rest} ${below[1]}` : `${whole} ${unit}`;
}

/** How long ago: "now", "12 s", "3 d". 0 = never. */
export function age(at_ms, at = now.value) {
  if (!at_ms) return "never";
  return at - at_ms < 1_500 ? "now" : duration(at - at_ms);
}

export function ago(at_ms, at = now.value) {
  const text = age(at_ms, at);
  return text === "now" || text === "never" ? text : `${text} ago`;
}

/** Local time; with the day when it is not today. */
export function time(at_ms) {
  if (!at_ms) return DASH;
  const at = new Date(at_ms);
  const clock = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const today = at.toDateString() === new Date(now.peek()).toDateString();
  return today ? clock : `${at.toLocaleDateString([], { month: "short", day: "numeric" })} ${clock}`;
}

/** For a title: exact, with its zone. */
export function exact(at_ms) {
  return at_ms ? new Date(at_ms).toISOString().replace("T", " ").replace("Z", " UTC") : "never";
}

/** 10000 -> "10 000", with a space that does not break. */
export function count(number) {
  if (number === null || number === undefined) return DASH;
  return Math.abs(number) < 10_000 ? String(number) : String(number).replace(/\B(?=(\d{3})+$)/g, "\u2009");
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

export function percent(value) {
  if (value === null || value === undefined || value < 0) return DASH;
  return `${Math.round(value)} %`;
}

/** 17179869184 -> "16 GiB". */
export function bytes(value) {
  if (value === null || value === undefined) return DASH;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  const at = value < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(value) / 10));
  const scaled = value / 1024 ** at;
  return `${scaled >= 100 || at === 0 ? Math.round(scaled) : Number(scaled.toPrecision(3))} ${units[at]}`;
}

export function millis(value) {
  if (value === null || value === undefined) return DASH;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

export function celsius(value) {
  return value === null || value === undefined ? DASH : `${Math.round(value)} °C`;
}

/** Ids are long: their start says which. */
export function shortId(id) {
  return id.length > 12 ? `${id.slice(0, 10)}…` : id;
}
