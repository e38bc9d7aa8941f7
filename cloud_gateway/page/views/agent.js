/** One agent: its units by region, its skills, how safe its state is, what happened, how many are wanted. */
import { html, useEffect, useMemo, useState } from "../lib/html.js";
import { useAnswer } from "../lib/answer.js";
import { count, plural } from "../lib/format.js";
import { onSettled } from "../lib/live.js";
import { href } from "../lib/route.js";
import { NotKnown, Pending, useRows } from "../parts/asked.js";
import { Badge } from "../parts/badge.js";
import { Followed, ScaleBox } from "../parts/commandbox.js";
import { Empty } from "../parts/empty.js";
import { UnitsByRegion } from "../parts/instances.js";
import { ProblemNote } from "../parts/problem.js";
import { Facts, Section, ViewHead } from "../parts/section.js";
import { clusterRoute, EventLines } from "../parts/subject.js";
import { Signature } from "../parts/tree.js";

const EVENTS = 15;
const SKILLS_SHOWN = 12;

export default function Agent({ args: [name] }) {
  const asked = useAgent(name);
  const units = useRows("instances", { agent: name }, { feed: "instances", fits: (row) => row.agent === name });
  const [command, setCommand] = useState(null);
  const agent = asked.data?.item;
  const missing = html`<${NotKnown} what="The agent" name=${name}
    back=${{ href: href("agents"), text: "All agents" }} />`;
  return html`<${ViewHead} title=${name} trail=${[["Agents", href("agents")]]} sub=${agent && html`<${Standing}
    agent=${agent} />`}>
    </${ViewHead}>
    <${Pending} asked=${asked} lines=${10} missing=${missing} />
    ${command && html`<${Followed} key=${command.command_id} command=${command} />`}
    ${agent && html`<div class="page-grid">
      <div><${Units} name=${name} units=${units} /><${Story} name=${name} /></div>
      <div class="side"><${Wanted} name=${name} said=${setCommand} /><${Safety} agent=${agent}
        units=${units.items ?? []} /><${Skills} name=${name} /></div>
    </div>`}`;
}

/** Counts of one agent; the old ones stay while the new ones are asked for. */
function useAgent(name) {
  const { answer, problem, reload } = useAnswer(`agents/${encodeURIComponent(name)}`);
  useEffect(() => onSettled("instances", 1_000, reload), [name]);
  return { data: answer, problem, reload: () => reload() };
}

function Standing({ agent }) {
  const { instances, running, troubled } = agent;
  return html`<${Badge} state=${troubled ? "backoff" : running ? "running" : "stopped"}
    tone=${troubled ? "warn" : running ? "good" : "idle"} />
    <span>${count(running)} of ${plural(instances, "unit")} running${troubled ? html`, <span
      class="is-bad">${count(troubled)} in trouble</span>` : ""},
      on ${plural(agent.nodes, "node")}</span>`;
}

function Units({ name, units }) {
  const regions = new Set((units.items ?? []).map((row) => row.region));
  const note = units.items ? `${units.more ? "the first "
    : ""}${count(units.items.length)} in ${plural(regions.size, "region")}` : "";
  return html`<${Section} title="Units" note=${note} aside=${html`<a
    href=${href("instances", { agent: name })}>As one list</a>`}>
    <${Pending} asked=${units} lines=${6} />
    ${units.items && (units.items.length ? html`<${UnitsByRegion} rows=${units.items} />`
      : html`<${Empty} title="No unit of it is known" text="It is wanted somewhere, but nothing runs." />`)}
  </${Section}>`;
}

/** The document that wants this agent: its own, or the cluster of its name. */
function useWish(name) {
  const asked = useRows("clusters", { name }, { feed: "wishes", fits: (row) => row.name === name });
  return { asked, wish: asked.items?.find((row) => row.kind === "Agent") ?? asked.items?.[0] ?? null };
}

function Wanted({ name, said }) {
  const { asked, wish } = useWish(name);
  return html`<${Section} title="Wanted">
    <${Pending} asked=${asked} lines=${2} />
    ${asked.items && !wish && html`<p class="soft">No document of this name. A cluster may list it: see <a
      href=${href("clusters")}>clusters</a>.</p>`}
    ${wish && html`<p class="big-figure"><b>${count(wish.running)}</b> of ${count(wish.wanted)} wanted run</p>
      ${wish.pending > 0 && html`<p
        class="is-bad">${plural(wish.pending, "unit")} pending${wish.reason ? `: ${wish.reason}` : ""}</p>`}
      <p><a href=${clusterRoute(wish)}>${wish.kind} ${wish.namespace}/${wish.name}</a></p>
      ${wish.kind === "Agent" && html`<${ScaleBox} name=${name} wanted=${wish.wanted} said=${said} />`}`}
  </${Section}>`;
}

function Safety({ agent, units }) {
  const kept = units.filter((row) => row.version > 0);
  const alone = kept.filter((row) => row.copies.length === 0);
  const asked = [...new Set(units.map((row) => row.durability).filter(Boolean))].sort();
  return html`<${Section} title="State"><${Facts} items=${[
    ["Newest version", agent.version_max ? count(agent.version_max) : "it keeps none"],
    ["Durability", asked.join(", ")],
    ["With copies", kept.length ? `${count(kept.length - alone.length)} of ${count(kept.length)} units with state`
      : ""],
    ["Only on one disk", alone.length ? html`<span
      class="is-bad">${alone.slice(0, 5).map((row) => row.instance).join(", ")}${alone.length > 5
        ? ` and ${alone.length - 5} more` : ""}</span>` : ""],
    ["Regions", agent.regions.join(", ")],
  ]} /></${Section}>`;
}

/** Each skill once; who offers it is the search's. */
function Skills({ name }) {
  const asked = useRows("skills", { agent: name, limit: 200 }, { feed: "skills", fits: (row) => row.agent === name });
  const skills = useMemo(() => {
    const found = new Map();
    for (const row of asked.items ?? []) {
      const before = found.get(row.skill);
      found.set(row.skill, { row: before?.row ?? row, offers: (before?.offers ?? 0) + 1, open: (before?.open
        ?? 0) + (row.excluded ? 0 : 1) });
    }
    return [...found.values()].sort((a, b) => a.row.skill.localeCompare(b.row.skill));
  }, [asked.items]);
  return html`<${Section} title="Skills" note=${asked.items ? count(skills.length) : ""}>
    <${ProblemNote} problem=${asked.problem} />
    ${asked.items && !skills.length && html`<${Empty} title="It offers no skills now" />`}
    <ul class="skill-list">${skills.slice(0, SKILLS_SHOWN).map(({ row, offers, open }) => html`<li key=${row.skill}>
      <a href=${href("skills", { skill: row.skill })}><${Signature} name=${row.skill} input=${row.input_schema}
        output=${row.output_schema} /></a>
      <span class="soft">${open} of ${plural(offers, "offer")} can be called</span>
      ${row.description && html`<p>${row.description.split("\n")[0]}</p>`}</li>`)}</ul>
  </${Section}>`;
}

function Story({ name }) {
  const subject = `agent/${name}`;
  const asked = useAnswer("events", { subject, limit: EVENTS });
  useEffect(() => onSettled("events", 1_000, asked.reload), [subject]);
  const items = asked.answer?.items;
  return html`<${Section} title="Events" aside=${html`<a href=${href("events", { subject })}>All about it</a>`}>
    <${ProblemNote} problem=${asked.problem} />
    ${items && (items.length ? html`<${EventLines} events=${items} label=${`Events about ${name}`} />`
      : html`<${Empty} title="Nothing has been told about it"
        text="What happens to it appears here as its nodes tell it." />`)}
  </${Section}>`;
}
