/** The fleet at one glance: what needs a person first, then how much there is, then where. */
import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";
import { useAnswer } from "../lib/answer.js";
import { useFleet } from "../lib/fleet.js";
import { count, percent, plural } from "../lib/format.js";
import { onChanged } from "../lib/live.js";
import { href } from "../lib/route.js";
import { Age } from "../parts/asof.js";
import { Mark } from "../parts/badge.js";
import { Empty, Waiting } from "../parts/empty.js";
import { MiniGrid } from "../parts/minigrid.js";
import { ProblemNote } from "../parts/problem.js";
import { Section, ViewHead } from "../parts/section.js";
import { StateBar } from "../parts/spark.js";
import { EventLines, eventKey } from "../parts/subject.js";

const KINDS = ["nodes", "wishes", "conflicts", "problems", "events"];
const PROBLEMS_FIRST = 6;
const EVENTS_SHOWN = 14;
const NODE_ORDER = ["ready", "suspect", "unreachable", "down", "left"];
const UNIT_ORDER = ["running", "starting", "pending", "backoff", "stopping", "unreachable", "failed", "stopped"];

export default function OverviewView() {
  const { answer, problem, reload } = useAnswer("overview", {}, { kinds: KINDS, every_ms: 2_000 });
  return html`<${ViewHead} title="Overview" />
    <${ProblemNote} problem=${problem} retry=${reload} />
    ${!answer && !problem && html`<${Waiting} lines=${12} />`}
    ${answer && (sum(answer.nodes) === 0 ? html`<${Beginning} />` : html`<div class="overview">
      <${Problems} problems=${answer.problems} answer=${answer} />
      <${Figures} answer=${answer} />
      <${Regions} regions=${answer.regions} />
      <${Latest} />
    </div>`)}`;
}

function sum(counts) {
  return Object.values(counts).reduce((total, number) => total + number, 0);
}

/** The states in their order, others behind. */
function ordered(counts, order) {
  const names = [...order, ...Object.keys(counts).filter((name) => !order.includes(name))];
  return Object.fromEntries(names.filter((name) => counts[name]).map((name) => [name, counts[name]]));
}

function Beginning() {
  return html`<${Empty} title="No nodes yet"
    text="The gateway has not heard of any node. Start one here, or invite one to the mesh:"
    command=${"meshnode up --name alpha\nmeshnode invite        # prints what to enter on the next machine"} />`;
}

function Problems({ problems, answer }) {
  const [open, setOpen] = useState(false);
  const shown = open ? problems : problems.slice(0, PROBLEMS_FIRST);
  const ready = answer.nodes.ready ?? 0;
  if (problems.length === 0) {
    const { pending } = answer;
    const well = ready === sum(answer.nodes) && !pending;
    const all = plural(sum(answer.nodes), "node");
    return html`<section class="calm area-problems" aria-label="Problems">
      <${Mark} state=${well ? "ready" : "accepted"} />
      <p><strong>${well ? "Nothing needs you." : "No problem is reported."}</strong>
        ${` ${count(ready)} of ${all} are ready,`}
        ${pending ? ` ${plural(pending, "unit")} wait for a place.` : " every unit that is wanted has its place."}</p>
    </section>`;
  }
  return html`<${Section} title=${plural(problems.length, "problem")} class="area-problems"
    note="errors first, then the newest">
    <ul class="problems">${shown.map(({ text, severity, link, since_ms }) => html`
      <li key=${text} class=${`is-${severity}`}>
      <${Mark} state=${severity} />${link ? html`<a href=${href(link)}>${text}</a>` : html`<span>${text}</span>`}
      <span class="soft"><${Age} at=${since_ms} /></span></li>`)}</ul>
    ${problems.length > PROBLEMS_FIRST && html`<button type="button" class="quiet-button" aria-expanded=${open}
      onClick=${() => setOpen(!open)}>
      ${open ? "Fewer" : `${problems.length - PROBLEMS_FIRST} more`}</button>`}
  </${Section}>`;
}

function Figure({ value, of = null, title, to, parts = null, note = "" }) {
  return html`<a class="figure" href=${to}>
    <span class="figure-title">${title}</span>
    <span class="figure-value">${count(value)}
      ${of !== null && of !== value && html`<span class="figure-of"> / ${count(of)}</span>`}</span>
    ${parts && html`<${StateBar} parts=${parts} label=${title} />`}
    <span class="figure-note">${note}</span></a>`;
}

function rest(counts, good) {
  const others = Object.entries(counts).filter(([name, number]) => number && name !== good);
  others.sort(([, one], [, other]) => other - one);
  if (!others.length) return `all ${good}`;
  return others.slice(0, 3).map(([name, number]) => `${count(number)} ${name}`).join(" · ");
}

function Figures({ answer }) {
  const { nodes, instances, agents, skills, wishes, pending, conflicts, gaps, events_total: events } = answer;
  return html`<div class="figures area-figures" role="group" aria-label="The fleet in numbers">
    <${Figure} title="Nodes ready" value=${nodes.ready ?? 0} of=${sum(nodes)} to=${href("nodes")}
      parts=${ordered(nodes, NODE_ORDER)} note=${rest(nodes, "ready")} />
    <${Figure} title="Units running" value=${instances.running ?? 0} of=${sum(instances)} to=${href("agents")}
      parts=${ordered(instances, UNIT_ORDER)} note=${sum(instances) ? rest(instances, "running") : "no units"} />
    <${Figure} title="Agents" value=${agents} to=${href("agents")} note=${plural(skills, "skill")} />
    <${Figure} title="Clusters" value=${wishes} to=${href("clusters")}
      note=${pending ? `${plural(pending, "unit")} wait for a place` : "all have what they want"} />
    <${Figure} title="Conflicts" value=${conflicts} to=${href("conflicts")}
      note=${conflicts ? "all values are kept" : "none"} />
    <${Figure} title="Events kept" value=${events} to=${href("events")}
      note=${gaps ? `${plural(gaps, "gap")} in the journals` : "no gaps"} />
  </div>`;
}

function Regions({ regions }) {
  const fleet = useFleet();
  const cells = useMemo(() => new Map(fleet.regions ?? []), [fleet.regions]);
  const sorted = useMemo(() => [...regions].sort((one, other) => one.region.localeCompare(other.region)), [regions]);
  return html`<${Section} title=${plural(sorted.length, "region")} class="area-regions"
    aside=${html`<a href=${href("grid")}>All nodes as a grid</a>`}>
    <ul class=${sorted.length < 4 ? "regions are-few" : "regions"}>${sorted.map((one) => html`
      <${Region} key=${one.region} region=${one} cells=${cells.get(one.region) ?? null} turn=${fleet.turn} />`)}</ul>
  </${Section}>`;
}

function Region({ region: { region, nodes, instances, cpu_percent: cpu, memory_percent: memory }, cells, turn }) {
  const all = sum(nodes);
  const ready = nodes.ready ?? 0;
  return html`<li class="region">
    <header><h3><a href=${href("nodes", { region })}>${region || "no region"}</a></h3>
      <span class="region-count">${count(ready)}
        ${ready !== all && html` <span class="soft">/ ${count(all)}</span>`}</span></header>
    <${StateBar} parts=${ordered(nodes, NODE_ORDER)} label=${`nodes of ${region}`} />
    <a class="region-grid" href=${href("grid", { region })} aria-label=${`Grid of ${region}`} tabindex="-1">
      <${MiniGrid} cells=${cells} count=${all} turn=${turn} /></a>
    <p class="region-facts"><span>CPU <b>${percent(cpu)}</b></span><span>Mem <b>${percent(memory)}</b></span>
      <span><b>${count(instances.running ?? 0)}</b> ${instances.running === 1 ? "unit" : "units"}</span></p>
  </li>`;
}

/** The newest events, as they come. */
function Latest() {
  const { answer, problem, reload } = useAnswer("events", { limit: EVENTS_SHOWN });
  const [news, setNews] = useState([]);
  const fresh = useRef(new Set());
  useEffect(() => onChanged("events", ({ events, reset }) => {
    if (reset) return void reload();
    fresh.current = new Set(events.map(eventKey));
    setNews((old) => [...events, ...old].sort((one, other) => other.at_ms - one.at_ms).slice(0, EVENTS_SHOWN));
    return undefined;
  }), [reload]);
  const shown = useMemo(() => {
    const seen = new Map([...news, ...(answer?.items ?? [])].map((event) => [eventKey(event), event]));
    return [...seen.values()].sort((one, other) => other.at_ms - one.at_ms).slice(0, EVENTS_SHOWN);
  }, [news, answer]);
  return html`<${Section} title="Latest events" class="area-events"
    aside=${html`<a href=${href("events")}>All events</a>`}>
    <${ProblemNote} problem=${problem} retry=${reload} />
    ${!answer && !problem && html`<${Waiting} lines=${8} />`}
    ${answer && (shown.length ? html`<${EventLines} events=${shown} fresh=${fresh.current} label="Latest events" />`
      : html`<p class="soft">Nothing has happened since the gateway began to listen.</p>`)}
  </${Section}>`;
}
