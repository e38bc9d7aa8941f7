/** Answers that stay true: asked once, then changed in place by what the live feed tells of them. */
import { effect, html, useCallback, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { useAnswer } from "../lib/answer.js";
import { onChanged, source } from "../lib/live.js";
import { keyOf, keyOfValues } from "../lib/rows.js";
import { Empty, Waiting } from "./empty.js";
import { ProblemNote } from "./problem.js";

const ROWS_MAX = 500;
const ON_ITS_WAY_MS = 10_000;

/** An answer, and `change(fn)` that puts fn(data) in its place. What the feed told while the answer was on its way is
 * put into that answer too: it may be older. -> {data, problem, reload, change} */
function useChanging(path, params) {
  const { answer, problem, reload } = useAnswer(path, params);
  const [own, setOwn] = useState({ of: null, data: null });
  const told = useRef([]); // changes of the last seconds, in order
  const newest = useRef(null);
  const data = useMemo(() => {
    told.current = told.current.filter(({ at_ms }) => Date.now() - at_ms < ON_ITS_WAY_MS);
    return answer && told.current.reduce((old, { fn }) => fn(old), answer);
  }, [answer]);
  newest.current = data;
  useCaughtUp(reload);
  const change = useCallback((fn) => {
    told.current.push({ at_ms: Date.now(), fn });
    setOwn((old) => {
      const of = newest.current;
      return of ? { of, data: fn(old.of === of ? old.data : of) } : old;
    });
  }, []);
  const again = useCallback(() => {
    told.current = []; // between these and the answer something may be missing
    reload();
  }, [reload]);
  return { data: own.of === data ? own.data : data, problem, reload: again, change };
}

/** What was asked before the feed was there for the first time may have changed until it came: it is asked once more.
 * Later the feed goes on where it stopped. */
export function useCaughtUp(again) {
  const held = useNewest(again);
  useEffect(() => {
    if (source.peek().seq) return undefined;
    const stop = effect(() => {
      if (source.value.connected) queueMicrotask(() => (stop(), held.current()));
    });
    return stop;
  }, []);
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
