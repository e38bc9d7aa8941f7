/** Keys: `/` filters, j and k walk rows, Enter opens, `g n` goes to nodes, ? shows them all. */
import { signal } from "@preact/signals";

const SEQUENCE_MS = 1_000;
const table = new Map();
let begun = "";
let begunAt = 0;

/** All that hold at the moment, for the help: [{keys, text, group}]. */
export const shortcuts = signal([]);

/** Bind "j", "Escape" or "g n"; the newest binding of a key wins. Returns what takes it away again. */
export function bind(keys, text, act, { group = "This view", typing = false } = {}) {
  const binding = { keys, text, act, group, typing };
  const stack = table.get(keys) ?? [];
  table.set(keys, [...stack, binding]);
  tell();
  return () => {
    const left = table.get(keys).filter((one) => one !== binding);
    if (left.length) table.set(keys, left);
    else table.delete(keys);
    tell();
  };
}

/** Several at once: bindAll([["j", "next row", fn], ...]). */
export function bindAll(entries, options) {
  const undo = entries.map(([keys, text, act]) => bind(keys, text, act, options));
  return () => undo.forEach((one) => one());
}

function tell() {
  shortcuts.value = [...table.values()].map((stack) => stack.at(-1)).filter(({ text }) => text);
}

function isTyping(target) {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

function found(key, at) {
  const pair = begun && at - begunAt < SEQUENCE_MS ? table.get(`${begun} ${key}`) : undefined;
  return (pair ?? table.get(key))?.at(-1);
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const binding = found(event.key, event.timeStamp);
  const typing = isTyping(event.target);
  const starts = !typing && [...table.keys()].some((keys) => keys.startsWith(`${event.key} `));
  begun = starts && !binding ? event.key : "";
  begunAt = event.timeStamp;
  if (!binding || (typing && !binding.typing) || (document.querySelector("dialog[open]") && !binding.typing)) return;
  if (binding.act(event) !== false) event.preventDefault();
});
