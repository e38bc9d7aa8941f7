/** What happened, newest first, told by the nodes themselves; it goes on while one looks. */
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { get } from "../lib/api.js";
import { count, plural, time } from "../lib/format.js";
import { bind } from "../lib/keys.js";
import { onChanged } from "../lib/live.js";
import { href, param, route, setQuery } from "../lib/route.js";
import { useCaughtUp } from "../parts/asked.js";
import { Empty, Waiting } from "../parts/empty.js";
import { Facet, regionOptions } from "../parts/facet.js";
import { ProblemNote } from "../parts/problem.js";
import { SearchBox } from "../parts/searchbox.js";
import { ViewHead } from "../parts/section.js";
import { eventKey, EventLines } from "../parts/subject.js";

const PAGE = 100;
const KEPT_MAX = 1_000;
const FRESH_MS = 4_000;
const RETRY_MS = 5_000;
const TOLD = ["node", "region", "subject", "q", "from", "to"];
const QUICK = [["1 h", 3_600_000], ["6 h", 21_600_000], ["24 h", 86_400_000], ["7 d", 604_800_000]];

export default function Events() {
  const asked = useMemo(() => Object.fromEntries(TOLD.map((name) => [name, param(name)])), [route.value]);
  const tail = useTail(asked);
  useEffect(() => bind("p", "pause or go on", () => tail.setPaused((old) => !old)), []);
  const narrowed = TOLD.some((name) => asked[name]);
  return html`<${ViewHead} title="Events"><${Tail} tail=${tail} ended=${Boolean(asked.to)} /></${ViewHead}>
    <${Filters} asked=${asked} narrowed=${narrowed} tail=${tail} />
    <${ProblemNote} problem=${tail.problem} retry=${tail.reload} />
    ${tail.items && (tail.items.length
      ? html`<${EventLines} events=${tail.items} fresh=${tail.fresh} />`
      : !tail.next && html`<${Nothing} narrowed=${narrowed} />`)}
    ${!tail.items && !tail.problem && html`<${Waiting} lines=${12} />`}
    <${Older} tail=${tail} />`;
}

/** Does an event belong to what is asked? As the gateway answers it. */
export function fitting({ node, region, subject, q, from, to }) {
  const part = q.toLowerCase();
  return (event) => (!node || event.node === node) && (!region || event.region === region) && (!from
    || event.at_ms >= Number(from)) &&
    (!to || event.at_ms <= Number(to)) && (!part || event.text.toLowerCase().includes(part)) &&
    (!subject || (subject.endsWith("/") ? event.subject.startsWith(subject) : event.subject === subject));
}

/** New events before the others, each once, bounded. */
export function joined(fresh, items) {
  const seen = new Set(items.map(eventKey));
  const added = fresh.filter((event) => !seen.has(eventKey(event)));
  return added.length ? [...added, ...items].sort((a, b) => b.at_ms - a.at_ms).slice(0, KEPT_MAX) : items;
}

const BLANK = { items: null, next: null, searched_to_ms: 0, problem: null, busy: true };

/** The newest page of what is asked. `told`: what the feed told meanwhile; the answer may be older. */
function useNewestPage(asked, turn, setState, told) {
  useEffect(() => {
    const control = new AbortController();
    let timer = 0;
    const ask = () => get("events", { ...asked, limit: PAGE }, { signal: control.signal }).then(
      ({ items, next, searched_to_ms }) => setState({ items: joined(told.current, items), next, searched_to_ms,
        problem: null, busy: false }),
      (problem) => {
        if (control.signal.aborted) return;
        setState((old) => ({ ...old, problem, busy: false }));
        if (problem.status === 0 || problem.status >= 500) timer = setTimeout(ask, RETRY_MS);
      },
    );
    ask();
    return () => (control.abort(), clearTimeout(timer));
  }, [asked, turn]);
}

/** Keys of events that came just now, for a moment. */
function useFresh() {
  const [fresh, setFresh] = useState(new Set());
  useEffect(() => {
    if (!fresh.size) return undefined;
    const timer = setTimeout(() => setFresh(new Set()), FRESH_MS);
    return () => clearTimeout(timer);
  }, [fresh]);
  return [fresh, (events) => setFresh((old) => new Set([...old, ...events.map(eventKey)].slice(-KEPT_MAX)))];
}

/** The events that fit, older ones on demand, newer ones by themselves unless paused. */
function useTail(asked) {
  const [state, setState] = useState(BLANK);
  const [turn, setTurn] = useState(0);
  const [paused, setPaused] = useState(false);
  const [waiting, setWaiting] = useState([]);
  const [fresh, lit] = useFresh();
  const held = useRef({});
  const owed = useRef(false); // a page that was to be asked anew while nothing should move
  held.current = { paused, state };
  const again = () => {
    owed.current = held.current.paused;
    if (!owed.current) setTurn((n) => n + 1);
  };
  const show = (news) => {
    setState((old) => (old.items ? { ...old, items: joined(news, old.items) } : old));
    lit(news);
  };
  const told = useRef([]);
  useEffect(() => (setState(BLANK), setWaiting([]), void (told.current = [])), [asked]);
  useNewestPage(asked, turn, setState, told);
  useCaughtUp(again);
  useEffect(() => onChanged("events", ({ events, reset }) => {
    if (reset) return again();
    const news = events.filter(fitting(asked)).reverse();
    told.current = joined(news, told.current).slice(0, PAGE);
    if (news.length && held.current.paused) setWaiting((old) => joined(news, old));
    else if (news.length) show(news);
    return undefined;
  }), [asked]);
  useEffect(() => {
    if (paused) return;
    if (owed.current) again();
    if (waiting.length) show(waiting);
    setWaiting([]);
  }, [paused]);
  const older = () => further(asked, held.current.state, setState);
  return { ...state, paused, setPaused, waiting, fresh, older, reload: again };
}

/** The next page back. */
async function further(asked, { next, items, busy }, setState) {
  if (!next || busy) return;
  setState((old) => ({ ...old, busy: true }));
  try {
    const page = await get("events", { ...asked, limit: PAGE, after: next });
    const seen = new Set(items.map(eventKey));
    const added = page.items.filter((event) => !seen.has(eventKey(event)));
    setState((old) => ({ ...old, items: [...old.items, ...added], next: page.next,
      searched_to_ms: page.searched_to_ms, busy: false }));
  } catch (problem) {
    setState((old) => ({ ...old, problem, busy: false }));
  }
}

function Tail({ tail, ended }) {
  if (ended) return html`<span class="soft">The end of the time is set: nothing new appears.</span>`;
  const { paused, setPaused, waiting } = tail;
  return html`<span class="soft"
    role="status">${paused ? (waiting.length ? `${plural(waiting.length, "new event")} waiting` : "paused")
      : "new events appear by themselves"}</span>
    <button type="button" class="button" aria-pressed=${paused} aria-keyshortcuts="p"
      onClick=${() => setPaused(!paused)}>${paused ? "Go on" : "Pause"}</button>`;
}

function Filters({ asked, narrowed, tail }) {
  const one = (name) => (values) => setQuery({ [name]: values.at(-1) ?? "" });
  const counted = tail.items ? `${tail.next ? "the newest " : ""}${count(tail.items.length)}` : "";
  return html`<div class="list-bar">
    <${SearchBox} value=${asked.q} label="Find in the text" set=${(q) => setQuery({ q })} />
    <${SearchBox} value=${asked.subject} first=${false} label="About" placeholder="About: agent/words, node/"
      set=${(subject) => setQuery({ subject })} />
    <${Facet} title="Node" chosen=${asked.node ? [asked.node] : []} choose=${one("node")} />
    <${Facet} title="Region" options=${regionOptions} chosen=${asked.region ? [asked.region] : []}
      choose=${one("region")} />
    <${Times} asked=${asked} />
    ${narrowed && html`<a class="quiet-button" href=${href("events")}>Clear all</a>`}
    <span class="list-count" aria-live="off">${counted}</span></div>`;
}

/** Milliseconds as the local value of a datetime field, and back. */
const local = (ms) => (ms
  ? new Date(Number(ms) - new Date(Number(ms)).getTimezoneOffset() * 60_000).toISOString().slice(0, 16) : "");
const milliseconds = (text) => (text ? String(new Date(text).getTime()) : "");

function Times({ asked }) {
  const [open, setOpen] = useState(Boolean(asked.from || asked.to));
  if (!open) return html`<button type="button" class="facet-button" onClick=${() => setOpen(true)}>Time</button>`;
  return html`<fieldset class="times"><legend class="unseen">Time</legend>
    ${QUICK.map(([words, length]) => html`<button type="button" key=${words} class="quiet-button"
      onClick=${() => setQuery({ from: String(Date.now() - length), to: "" })}>${words}</button>`)}
    <label><span>from</span><input class="input" type="datetime-local" value=${local(asked.from)}
      onChange=${(event) => setQuery({ from: milliseconds(event.target.value) })} /></label>
    <label><span>to</span><input class="input" type="datetime-local" value=${local(asked.to)}
      onChange=${(event) => setQuery({ to: milliseconds(event.target.value) })} /></label></fieldset>`;
}

function Older({ tail }) {
  if (!tail.items || !tail.next) return null;
  if (tail.items.length >= KEPT_MAX) return html`<p
    class="list-end">${count(KEPT_MAX)} events are shown. Set a time to see older ones.</p>`;
  return html`<p class="list-end">${tail.searched_to_ms > 0 && html`<span
    class="soft">Looked at all events back to ${time(tail.searched_to_ms)}. </span>`}
    <button type="button" class="button" disabled=${tail.busy}
      onClick=${tail.older}>${tail.busy ? "Looking …" : "Look further back"}</button></p>`;
}

function Nothing({ narrowed }) {
  if (narrowed) return html`<${Empty} title="No event fits" text="Nothing that the gateway keeps was about that."
    action=${{ href: href("events"), text: "Show all events" }} />`;
  return html`<${Empty} title="No events yet"
    text="Each node keeps a journal of what happens to it. The gateway reads them all; what they tell is shown here." />`;
}
