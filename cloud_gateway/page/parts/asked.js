/** Answers that stay true: asked once, then changed in place by what the live feed tells of them. */
import { html, useCallback, useEffect, useRef, useState } from "../lib/html.js";
import { useAnswer } from "../lib/answer.js";
import { onChanged } from "../lib/live.js";
import { keyOf, keyOfValues } from "../lib/rows.js";
import { Empty, Waiting } from "./empty.js";
import { ProblemNote } from "./problem.js";

const ROWS_MAX = 500;

/** An answer, and `change(fn)` that puts fn(data) in its place until it is asked anew. -> {data, problem, reload, change} */
function useChanging(path, params) {
  const { answer, problem, reload } = useAnswer(path, params);
  const [own, setOwn] = useState({ of: null, data: null });
  const newest = useRef(answer);
  newest.current = answer;
  const change = useCallback((fn) => setOwn((old) => {
    const of = newest.current;
    return of ? { of, data: fn(old.of === of ? old.data : of) } : old;
  }), []);
  return { data: own.of === answer ? own.data : answer, problem, reload: () => reload(), change };
}

/** The newest value, for a function that was handed over once. */
function useNewest(value) {
  const held = useRef(value);
  held.current = value;
  return held;
}

/** One row, replaced whenever the feed tells of it. `fits(row)`: is it this one? -> {item, gone, problem, reload} */
export function useItem(kind, path, fits) {
  const asked = useChanging(path, {});
  const held = useNewest({ fits, asked });
  useEffect(() => onChanged(kind, ({ rows, gone, reset }) => {
    const { fits: own, asked: { data, change, reload } } = held.current;
    if (reset) return void reload();
    const row = rows[kind]?.findLast(own);
    if (row && !data) return void reload();
    if (row) change((old) => ({ ...old, item: row, gone: false }));
    const lost = gone[kind]?.map(keyOfValues) ?? [];
    if (data && lost.includes(keyOf(kind, data.item))) change((old) => ({ ...old, gone: true }));
    return undefined;
  }), [kind, path]);
  return { ...asked, item: asked.data?.item ?? null, gone: asked.data?.gone ?? false };
}

/** A short list (at most 500), kept by the feed. `feed`: its word for these rows; `fits(row)`: does it belong?
 * -> {items, more, problem, reload} */
export function useRows(path, params, { feed, fits = () => true }) {
  const asked = useChanging(path, { limit: ROWS_MAX, ...params });
  const held = useNewest({ fits, asked });
  useEffect(() => onChanged(feed, ({ rows, gone, reset }) => {
    const { fits: own, asked: { change, reload } } = held.current;
    if (reset) return void reload();
    const told = rows[feed] ?? [], lost = gone[feed] ?? [];
    if (told.some(own) || lost.length) change((data) => merged(data, feed, told.filter(own), lost));
    return undefined;
  }), [feed, path, JSON.stringify(params)]);
  return { ...asked, items: asked.data?.items ?? null, more: Boolean(asked.data?.next) };
}

/** The list with these rows put in or replaced, and those taken out; the same object when none of them concerns it. */
export function merged(data, kind, told, lost) {
  const kept = new Map(data.items.map((row) => [keyOf(kind, row), row]));
  let touched = told.length > 0;
  for (const row of told) kept.set(keyOf(kind, row), row);
  for (const values of lost) touched = kept.delete(keyOfValues(values)) || touched;
  return touched ? { ...data, items: [...kept.values()].slice(0, ROWS_MAX) } : data;
}

/** What to show while there is no answer; null when there is one. `missing`: instead of "not found". */
export function Pending({ asked, lines = 6, missing = null }) {
  if (asked.problem?.status === 404 && missing) return missing;
  if (asked.problem && !asked.data) return html`<${ProblemNote} problem=${asked.problem} retry=${asked.reload} />`;
  return asked.data ? null : html`<${Waiting} lines=${lines} />`;
}

/** A thing that is not known, with the way back. */
export function NotKnown({ what, name, back }) {
  return html`<${Empty} title=${`${what} ${name} is not known here`}
    text="It may have another name, or the gateway has not heard of it yet: then this page shows it as soon as it has."
    action=${back} />`;
}
