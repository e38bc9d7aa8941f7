/** A list of rows: filters, sorting, pages, live changes, keys. All views of many things are made of it. */
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { useList } from "../lib/answer.js";
import { count } from "../lib/format.js";
import { bindAll } from "../lib/keys.js";
import { route, setQuery } from "../lib/route.js";
import { keyOf } from "../lib/rows.js";
import { Empty, Waiting } from "./empty.js";
import { Facet } from "./facet.js";
import { ProblemNote } from "./problem.js";

const TYPING_MS = 200;

/** The question of a list: in the address, so that it can be saved and sent; or, inside another view, in the view. */
function useQuestion(local) {
  const [own, setOwn] = useState({});
  if (local) return [own, (changes) => setOwn({ ...own, ...changes })];
  return [route.value.query, setQuery];
}

/**
 * `columns`: [{name, title, cell(row), sort?: column of the listing, first?: "-" to start descending,
 *   from?: "md" | "lg" (hidden on narrower screens), numeric?, grow?}], constant between renderings.
 * `filters`: [{name, title, options?, marks?}], see Facet. `fixed`: parameters that always hold.
 * `empty`: {title, text, command?} when there is nothing at all. `rowHref(row)`: where Enter leads.
 * `stale(row)`: is this row not to be trusted? `local`: keep the question out of the address. `label`: for readers.
 */
export function ListView({ kind, path = kind, columns, filters = [], fixed = {}, empty, rowHref, stale, local = false,
  search = true, label = kind, aside = null }) {
  const [query, change] = useQuestion(local);
  const asked = { q: query.q?.[0] ?? "", sort: query.sort?.[0] ?? "", ...fixed };
  for (const { name } of filters) if (query[name]?.length) asked[name] = query[name];
  const list = useList(kind, path, asked);
  const box = useRef(null);
  const narrowed = Boolean(asked.q) || filters.some(({ name }) => query[name]?.length);
  const clear = () => change(Object.fromEntries([["q", ""], ...filters.map(({ name }) => [name, []])]));
  useEffect(() => (local ? undefined : bindAll(rowKeys(box))), []);
  return html`<div class="list" ref=${box} aria-busy=${list.loading}>
    <div class="list-bar">
      ${search && html`<${Search} value=${asked.q} label=${label} set=${(q) => change({ q: q ? [q] : "" })} />`}
      ${filters.map((one) => html`<${Facet} key=${one.name} ...${one} chosen=${query[one.name] ?? []}
        choose=${(values) => change({ [one.name]: values })} />`)}
      ${narrowed && html`<button type="button" class="quiet-button" onClick=${clear}>Clear all</button>`}
      <span class="list-count" aria-live="polite">${counted(list)}</span>${aside}
    </div>
    <${ProblemNote} problem=${list.problem} retry=${list.reload} />
    <${Table} ...${{ kind, columns, list, label, rowHref, stale, sort: asked.sort }}
      order=${(sort) => change({ sort: [sort] })} />
    ${list.rows.length === 0 && !list.problem
      && (list.loading ? html`<${Waiting} />` : html`<${Nothing} ...${{ empty, narrowed, clear }} />`)}
    <${More} list=${list} />
  </div>`;
}

function counted({ rows, next, loading }) {
  if (loading && rows.length === 0) return "";
  return next ? `${count(rows.length)} shown, more below` : count(rows.length);
}

/** j and k walk the rows' links, so that Enter, and "open in a new tab", are the browser's own. */
function rowKeys(box) {
  const walk = (step) => () => {
    const rows = [...box.current.querySelectorAll("tbody tr")];
    const at = rows.findIndex((row) => row.contains(document.activeElement));
    const row = rows[Math.max(0, Math.min(rows.length - 1, at + step))];
    (row?.querySelector("a") ?? row)?.focus();
    row?.scrollIntoView({ block: "nearest" });
  };
  return [
    ["/", "filter", () => box.current.querySelector(".search")?.focus()],
    ["j", "next row", walk(1)],
    ["k", "row before", walk(-1)],
    ["Enter", "open the row", () => false],
  ];
}

function Search({ value, set, label }) {
  const [typed, setTyped] = useState(value);
  const timer = useRef(0);
  useEffect(() => setTyped(value), [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const input = (event) => {
    const text = event.target.value;
    setTyped(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(set, TYPING_MS, text.trim());
  };
  const leave = (event) => {
    if (event.key !== "Escape") return;
    if (typed) set("");
    else event.target.blur();
  };
  return html`<input class="search" type="search" value=${typed} placeholder=${`Find in ${label}`}
    aria-label=${`Find in ${label}`}
    aria-keyshortcuts="/" autocomplete="off" spellcheck=${false} onInput=${input} onKeyDown=${leave} />`;
}

function Table({ kind, columns, list, label, rowHref, stale, sort, order }) {
  const kept = useRef({ columns: null, rows: new Map() });
  if (kept.current.columns !== columns) kept.current = { columns, rows: new Map() };
  const before = kept.current.rows;
  const rows = new Map();
  for (const row of list.rows) {
    const key = keyOf(kind, row);
    const flash = list.flashed.get(key) ?? 0;
    const old = before.get(key);
    const same = old?.row === row && old.flash === flash;
    rows.set(key, same ? old : { row, flash, line: lineOf(key, row, flash, columns, rowHref, stale) });
  }
  kept.current.rows = rows; // lines that are the same objects are not compared again
  if (rows.size === 0) return null;
  return html`<div class="table-box"><table class="table" aria-label=${label}>
    <thead><tr>${columns.map((column) => html`<${Head} key=${column.name} column=${column} sort=${sort}
      order=${order} />`)}</tr></thead>
    <tbody>${[...rows.values()].map(({ line }) => line)}</tbody>
  </table></div>`;
}

function classOf(column) {
  const names = [column.numeric && "numeric", column.from && `from-${column.from}`, column.grow && "grow"];
  return names.filter(Boolean).join(" ") || undefined;
}

function Head({ column, sort, order }) {
  if (!column.sort) return html`<th scope="col" class=${classOf(column)}>${column.title}</th>`;
  const [up, down] = [column.sort, `-${column.sort}`];
  const state = sort === up ? "ascending" : sort === down ? "descending" : "none";
  const next = state === "none" ? `${column.first ?? ""}${up}` : state === "ascending" ? down : up;
  return html`<th scope="col" class=${classOf(column)} aria-sort=${state}>
    <button type="button" onClick=${() => order(next)}>${column.title}
      <span class="sort-mark" aria-hidden="true"></span></button></th>`;
}

function lineOf(key, row, flash, columns, rowHref, stale) {
  const to = rowHref?.(row);
  const marks = [flash && `is-new-${flash % 2}`, stale?.(row) && "is-stale"].filter(Boolean).join(" ");
  const cells = columns.map((column, at) => {
    const inside = column.cell ? column.cell(row) : row[column.name];
    const link = at === 0 && to;
    return html`<td key=${column.name} class=${classOf(column)}>
      ${link ? html`<a class="row-link" href=${to}>${inside}</a>` : inside}</td>`;
  });
  return html`<tr key=${key} class=${marks || undefined} tabindex=${to ? undefined : -1}>${cells}</tr>`;
}

function Nothing({ empty, narrowed, clear }) {
  if (!narrowed) return html`<${Empty} ...${empty} />`;
  return html`<div class="empty"><p class="empty-title">Nothing fits this filter</p>
    <p><button type="button" class="button" onClick=${clear}>Clear the filter</button></p></div>`;
}

/** The next page: by button, and by itself when the button comes into sight. */
function More({ list }) {
  const button = useRef(null);
  const newest = useRef(list);
  newest.current = list;
  useEffect(() => {
    if (!button.current) return undefined;
    const look = (entries) => entries.some((one) => one.isIntersecting) && newest.current.more();
    const seen = new IntersectionObserver(look, { rootMargin: "200px" });
    seen.observe(button.current);
    return () => seen.disconnect();
  }, [Boolean(list.next), list.rows.length]);
  if (list.full && list.next) {
    const shown = count(list.rows.length);
    return html`<p class="list-end">The first ${shown} are shown. Narrow the filter to see others.</p>`;
  }
  if (!list.next) return null;
  return html`<p class="list-end"><button ref=${button} type="button" class="button" disabled=${list.loading}
    onClick=${list.more}>
    ${list.loading ? "Loading …" : "Show more"}</button></p>`;
}
