/** The journal of one node, oldest first, as it wrote it; what is missing is shown where it is missing. */
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { get } from "../lib/api.js";
import { count, exact, plural, time } from "../lib/format.js";
import { onChanged } from "../lib/live.js";
import { href } from "../lib/route.js";
import { merged, useCaughtUp } from "../parts/asked.js";
import { Empty, Waiting } from "../parts/empty.js";
import { ProblemNote } from "../parts/problem.js";
import { ViewHead } from "../parts/section.js";
import { eventKey, nodeRoute, Subject } from "../parts/subject.js";

const PAGE = 200;
const KEPT_MAX = 5_000;
const BLANK = { items: null, gaps: [], next: null, problem: null, busy: true };

export default function Journal({ args: [node = ""] }) {
  if (!node) {
    return html`<${ViewHead} title="Journal" /><${Empty} title="Whose journal?"
      text="Each node has its own; its page leads to it."
      action=${{ href: href("nodes"), text: "All nodes" }} />`;
  }
  return html`<${Read} key=${node} node=${node} />`;
}

function Read({ node }) {
  const journal = useJournal(node);
  const { items, gaps, next, problem } = journal;
  const lines = useMemo(() => inOrder(items ?? [], gaps, !next), [items, gaps, next]);
  const missing = gaps.reduce((sum, gap) => sum + gap.count, 0);
  const sub = items && html`<span>${next ? "the first " : ""}${plural(items.length, "event")}${missing ? html`, <span
    class="is-bad">${count(missing)} missing</span>` : ""}</span>`;
  return html`<${ViewHead} title=${`Journal of ${node}`} trail=${[["Nodes", href("nodes")], [node, nodeRoute(node)]]}
    sub=${sub}>
      <a class="button" href=${href("events", { node })}>Newest first</a></${ViewHead}>
    <${ProblemNote} problem=${problem} retry=${journal.reload} />
    ${!items && !problem && html`<${Waiting} lines=${12} />`}
    ${items && !lines.length && html`<${Empty} title="Nothing of it has been read yet"
      text="The gateway reads a node's journal when it can reach it through the mesh." />`}
    ${lines.length > 0 && html`<ol class="journal"
      aria-label=${`Journal of ${node}, oldest first`}>${lines.map((line) => html`<${Line} key=${line.key}
      line=${line} />`)}</ol>`}
    <${More} journal=${journal} node=${node} />`;
}

/** Pages from the beginning; when the end is reached, what comes is added to it. */
function useJournal(node) {
  const [state, setState] = useState(BLANK);
  const [turn, setTurn] = useState(0);
  const heard = useRef([]); // events of the feed: an answer on its way may be older
  useEffect(() => {
    const control = new AbortController();
    setState(BLANK);
    get("journal", { node, limit: PAGE }, { signal: control.signal }).then(
      ({ items, gaps, next }) => setState(told({ items, gaps, next, problem: null, busy: false }, node, { rows: {},
        gone: {}, events: heard.current })),
      (problem) => control.signal.aborted || setState({ ...BLANK, problem, busy: false }),
    );
    return () => control.abort();
  }, [node, turn]);
  useEffect(() => onChanged(["events", "gaps"], (change) => {
    if (change.reset) return setTurn((n) => n + 1);
    heard.current = [...heard.current, ...change.events.filter((event) => event.node === node)].slice(-PAGE);
    return setState((old) => told(old, node, change));
  }), [node]);
  useCaughtUp(() => setTurn((n) => n + 1));
  const more = async () => {
    setState((old) => ({ ...old, busy: true }));
    try {
      const page = await get("journal", { node, limit: PAGE, after: state.next });
      setState((old) => ({ ...old, items: [...old.items, ...page.items], gaps: merged({ items: old.gaps }, "gaps",
        page.gaps, []).items, next: page.next, busy: false }));
    } catch (problem) {
      setState((old) => ({ ...old, problem, busy: false }));
    }
  };
  return { ...state, more, reload: () => setTurn((n) => n + 1) };
}

/** The journal with what the feed tells. Before its end is reached, new events are left to the pages. */
export function told(old, node, { rows, gone, events }) {
  if (!old.items) return old;
  const fresh = (rows.gaps ?? []).filter((gap) => gap.node === node);
  const gaps = fresh.length || gone.gaps?.length ? merged({ items: old.gaps }, "gaps", fresh, gone.gaps
    ?? []).items : old.gaps;
  const seen = new Set(old.items.slice(-PAGE).map(eventKey));
  const added = old.next ? [] : events.filter((event) => event.node === node && !seen.has(eventKey(event)));
  if (!added.length && gaps === old.gaps) return old;
  return { ...old, gaps, items: added.length ? [...old.items, ...added].slice(-KEPT_MAX) : old.items };
}

/** Events, boots, lives and gaps in the order in which they were. `whole`: the end is here, and gaps behind it. */
export function inOrder(items, gaps, whole) {
  const waiting = [...gaps].sort((a, b) => a.life - b.life || a.first - b.first);
  const lines = [];
  let before = null;
  const gapsUntil = (event) => {
    while (waiting.length && (!event || waiting[0].life < event.life || (waiting[0].life === event.life
      && waiting[0].first <= event.number))) {
      const gap = waiting.shift();
      lines.push({ kind: "gap", gap, key: `gap ${gap.life}/${gap.first}` });
      before = before?.life === gap.life || !before ? { life: gap.life, boot: before?.boot ?? 0,
        number: Math.max(before?.number ?? 0, gap.last) } : before;
    }
  };
  for (const event of items) {
    gapsUntil(event);
    if (before && event.life !== before.life) lines.push({ kind: "life", life: event.life, key: `life ${event.life}` });
    else if (before && event.number > before.number + 1 && before.number > 0) {
      lines.push({ kind: "hole", first: before.number + 1, last: event.number - 1,
        key: `hole ${event.life}/${event.number}` });
    }
    if (event.boot !== before?.boot) lines.push({ kind: "boot", boot: event.boot, at_ms: event.at_ms,
      key: `boot ${event.life}/${event.boot}/${event.number}` });
    lines.push({ kind: "event", event, key: eventKey(event) });
    before = event;
  }
  if (whole) gapsUntil(null);
  return lines;
}

/** "40 events are missing here: dropped by the node to stay in its budget" */
export function gapWords({ count: missing, last, why }) {
  const many = !last || !missing ? "Events are missing here, nobody knows how many" : missing === 1
    ? "1 event is missing here" : `${count(missing)} events are missing here`;
  return `${many}: ${why}`;
}

function Line({ line }) {
  if (line.kind === "gap") {
    const { first, last, noticed_ms } = line.gap;
    return html`<li class="journal-gap"><span
      class="journal-number">${first}${last > first ? `–${last}` : last ? "" : "–?"}</span>
      <b>${gapWords(line.gap)}</b> <span class="faint" title=${exact(noticed_ms)}>noticed ${time(noticed_ms)}</span>
        </li>`;
  }
  if (line.kind === "hole") {
    return html`<li class="journal-gap"><span class="journal-number">${line.first}–${line.last}</span>
      <b>${gapWords({ count: line.last - line.first + 1, last: line.last, why: "the gateway does not know why" })}</b>
        </li>`;
  }
  if (line.kind === "life") return html`<li
    class="journal-mark is-life">The journal began anew here: life ${line.life}. A disk was lost, or a backup brought
    back.</li>`;
  if (line.kind === "boot") return html`<li class="journal-mark">boot ${line.boot} <span
    class="faint">${time(line.at_ms)}</span></li>`;
  const { event } = line;
  return html`<li class="journal-line"><span class="journal-number">${event.number}</span>
    <time class="event-at" title=${exact(event.at_ms)}>${time(event.at_ms)}</time>
    <span class="event-subject"><${Subject} subject=${event.subject} /></span><span
      class="event-text">${event.text}</span></li>`;
}

function More({ journal, node }) {
  const { items, next, busy, more } = journal;
  if (!items || !next) return null;
  if (items.length >= KEPT_MAX) return html`<p class="list-end">${count(KEPT_MAX)} events are shown. <a
    href=${href("events", { node })}>The newest</a> are in the list of events.</p>`;
  return html`<p class="list-end"><button type="button" class="button" disabled=${busy}
    onClick=${more}>${busy ? "Reading …" : "Read on"}</button></p>`;
}
