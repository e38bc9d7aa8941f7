/** A field that sets a parameter when one has stopped typing; `/` goes to it. */
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { bind } from "../lib/keys.js";

const TYPING_MS = 250;

/** `list`: values to choose from. `wrong`: why what stands in it is none. */
export function SearchBox({ value, set, label, list = null, placeholder = label, wrong = "", first = true, ...rest }) {
  const [typed, setTyped] = useState(value);
  const timer = useRef(0), field = useRef(null);
  useEffect(() => setTyped(value), [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => (first ? bind("/", "filter", () => field.current?.focus()) : undefined), []);
  const input = (event) => {
    const text = event.target.value;
    setTyped(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => set(text.trim()), TYPING_MS);
  };
  return html`<input ref=${field} class="search" type="search" value=${typed} placeholder=${placeholder}
    aria-label=${label} autocomplete="off"
    spellcheck=${false} aria-keyshortcuts=${first ? "/" : undefined} aria-invalid=${Boolean(wrong)} list=${list
      ?? undefined} onInput=${input} ...${rest} />`;
}
