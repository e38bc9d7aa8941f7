/** One filter of a list: a button that says what is chosen, and a panel to choose in. */
import { html, useEffect, useId, useRef, useState } from "../lib/html.js";
import { get } from "../lib/api.js";
import { count } from "../lib/format.js";
import { Mark } from "./badge.js";

const SEARCH_FROM = 9;
const OPTIONS_MAX = 200;

/** Names of the fleet's regions, with how many nodes each has. */
export async function regionOptions() {
  const { items } = await get("regions");
  return items.map((one) => ({ value: one.region, note: Object.values(one.nodes).reduce((sum, n) => sum + n, 0) }));
}

/** `options`: values, {value, title, note} or an async function of such; without any, values are typed in. */
export function Facet({ title, options, marks = false, chosen, choose }) {
  const [open, setOpen] = useState(false);
  const box = useRef(null);
  const id = useId();
  useEffect(() => {
    if (!open) return undefined;
    const away = (event) => !box.current?.contains(event.target) && setOpen(false);
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, [open]);
  const leave = (event) => {
    if (event.key !== "Escape" || !open) return;
    event.stopPropagation();
    setOpen(false);
    box.current.querySelector("button").focus();
  };
  const text = chosen.length > 2 ? `${chosen.length} chosen` : chosen.join(", ");
  return html`<div class="facet" ref=${box} onKeyDown=${leave}>
    <button type="button" class=${chosen.length ? "facet-button is-set" : "facet-button"} aria-expanded=${open}
      aria-controls=${id} onClick=${() => setOpen(!open)}>
      <span>${title}</span>${chosen.length > 0 && html`<strong>${text}</strong>`}
      <span class="caret" aria-hidden="true"></span>
    </button>
    ${open && html`<div class="facet-panel" id=${id} role="group" aria-label=${title}>
      <${Choices} title=${title} options=${options} marks=${marks} chosen=${chosen} choose=${choose} /></div>`}
  </div>`;
}

function Choices({ title, options, marks, chosen, choose }) {
  const [known, setKnown] = useState(Array.isArray(options) ? options : null);
  const [typed, setTyped] = useState("");
  const field = useRef(null);
  useEffect(() => {
    if (typeof options === "function") options().then(setKnown, () => setKnown([]));
    field.current?.focus();
  }, []);
  const all = [...(known ?? []).map((one) => (typeof one === "string" ? { value: one } : one))];
  for (const value of chosen) if (!all.some((one) => one.value === value)) all.unshift({ value });
  const free = known === null || known.length === 0;
  const shown = all.filter((one) => free || one.value.includes(typed)).slice(0, OPTIONS_MAX);
  const toggle = (value) => choose(chosen.includes(value) ? chosen.filter((one) => one !== value) : [...chosen, value]);
  const enter = (event) => {
    if (event.key !== "Enter" || !typed.trim()) return;
    if (free) toggle(typed.trim());
    else if (shown.length) toggle(shown[0].value);
    setTyped("");
  };
  const asks = free || all.length >= SEARCH_FROM;
  return html`${asks && html`<input ref=${field} class="facet-search" type="text" value=${typed}
      aria-label=${`${title}: find or type`} placeholder=${free ? "type a name, then Enter" : "find"}
      onInput=${(event) => setTyped(event.target.value)} onKeyDown=${enter} />`}
    <div class="facet-options">${shown.map((one) => html`<label key=${one.value}>
      <input type="checkbox" checked=${chosen.includes(one.value)} onChange=${() => toggle(one.value)} />
      ${marks && html`<${Mark} state=${one.value} />`}<span>${one.title ?? one.value}</span>
      ${one.note !== undefined && html`<span class="facet-note">${count(one.note)}</span>`}</label>`)}</div>
    ${chosen.length > 0 && html`<button type="button" class="facet-clear" onClick=${() => choose([])}>Clear</button>`}`;
}
