/** One document: what it wants, how far that is and why, its text; scale it, change it, delete it. */
import { html, useState } from "../lib/html.js";
import { useAnswer } from "../lib/answer.js";
import { count, plural } from "../lib/format.js";
import { href } from "../lib/route.js";
import { NotKnown, Pending, useItem, useRows } from "../parts/asked.js";
import { Age } from "../parts/asof.js";
import { Badge } from "../parts/badge.js";
import { ApplyBox, AskButton, Followed, ScaleBox } from "../parts/commandbox.js";
import { ConflictCard } from "../parts/conflict.js";
import { Empty } from "../parts/empty.js";
import { Facts, Section, ViewHead } from "../parts/section.js";
import { agentRoute, EventLines, NodeLink } from "../parts/subject.js";
import { Tree } from "../parts/tree.js";
import { Conditions, conditionTone, leading, WishBar, wishWords } from "../parts/wish.js";

const EVENTS = 15;

export default function Cluster({ args: [kind, namespace, name] }) {
  const same = (row) => row.kind === kind && row.namespace === namespace && row.name === name;
  const asked = useItem("wishes", `clusters/${[kind, namespace, name].map((part) => encodeURIComponent(part
    ?? "")).join("/")}`, same);
  const [command, setCommand] = useState(null);
  const wish = asked.item;
  const missing = html`<${NotKnown} what=${kind} name=${`${namespace}/${name}`}
    back=${{ href: href("clusters"), text: "All clusters" }} />`;
  return html`<${ViewHead} title=${name ?? kind} trail=${[["Clusters", href("clusters")]]}
    sub=${wish && html`<${Standing} wish=${wish} gone=${asked.gone} />`}>
      ${wish && html`<${DeleteButton} wish=${wish} said=${setCommand} />`}</${ViewHead}>
    <${Pending} asked=${asked} lines=${10} missing=${missing} />
    ${command && html`<${Followed} key=${command.command_id} command=${command} />`}
    ${wish && html`<div class="page-grid">
      <div><${Progress} wish=${wish} /><${Conflicts} wish=${wish} /><${Spec} wish=${wish} /><${Replace} wish=${wish}
        said=${setCommand} /></div>
      <div class="side"><${Change} wish=${wish} said=${setCommand} /><${Story} wish=${wish} /></div>
    </div>`}`;
}

function Standing({ wish, gone }) {
  const first = leading(wish.conditions);
  return html`${first && html`<${Badge} state=${first.type} tone=${conditionTone(first)} />`}
    <span>${wishWords(wish)}</span> <span class="standing-age">changed <${Age} at=${wish.updated_ms} /></span>
    ${gone && html`<span class="standing-reason">It has been deleted since.</span>`}`;
}

function DeleteButton({ wish: { kind, namespace, name, running }, said }) {
  return html`<${AskButton} verb="delete" body=${{ kind, namespace, name }} action="Delete" danger=${true}
    said=${said} title=${`Delete ${kind} ${namespace}/${name}?`}
    what=${[
      running ? `Its ${plural(running, "running unit")} are stopped, unless another document wants them too.`
        : "Nothing of it runs now.",
      "The name may be applied again later. The state its units have kept stays on its nodes until it is forgotten.",
    ]}>Delete …</${AskButton}>`;
}

function Progress({ wish }) {
  const agents = Array.isArray(wish.status.agents) ? wish.status.agents : [];
  return html`<${Section} title="How far it is" note=${wishWords(wish)}>
    <${WishBar} ...${wish} label=${wish.name} />
    ${wish.reason && html`<p class="wish-reason">${wish.reason}</p>`}
    ${agents.length > 0 && html`<div class="table-box is-inside"><table class="table" aria-label="By agent">
      <thead><tr><th scope="col">Agent</th><th scope="col">Region</th><th scope="col" class="numeric">Wanted</th><th
        scope="col" class="numeric">Running</th><th scope="col" class="numeric">Starting</th></tr></thead>
      <tbody>${agents.map((one) => html`<tr key=${`${one.agent} ${one.region}`}><td class="grow"><a
        href=${agentRoute(one.agent)}>${one.agent}</a></td><td>${one.region || "any"}</td>
        <td class="numeric">${count(one.wanted)}</td><td class="numeric">${one.running < one.wanted ? html`<span
          class="is-bad">${count(one.running)}</span>` : count(one.running)}</td><td
          class="numeric">${count(one.starting)}</td></tr>`)}</tbody></table></div>`}
    ${wish.conditions.length > 0 && html`<h3 class="minor">Conditions</h3><${Conditions}
      conditions=${wish.conditions} />`}
  </${Section}>`;
}

/** Names of the agents a spec lists, with the replicas it says. */
function listed({ spec }) {
  return (Array.isArray(spec.agents) ? spec.agents : []).filter((one) => typeof one?.name === "string");
}

function Change({ wish, said }) {
  const agents = listed(wish);
  const name = wish.kind === "Agent" ? `agent/${wish.name}` : `cluster/${wish.namespace}/${wish.name}`;
  return html`<${Section} title="Scale">
    <${ScaleBox} name=${name} wanted=${agents.length > 1 ? agents[0].replicas : wish.wanted}
      agents=${agents.map((one) => one.name)} said=${said} />
    <${Facts} items=${[
      ["Kind", wish.kind], ["Namespace", wish.namespace],
      ["Changed by", wish.updated_by && html`<${NodeLink} name=${wish.updated_by} />`],
      ["As of", html`<${Age} at=${wish.as_of_ms} old_ms=${60_000} />`],
    ]} /></${Section}>`;
}

function Conflicts({ wish }) {
  const fits = (row) => row.kind === wish.kind && row.namespace === wish.namespace && row.name === wish.name;
  const asked = useRows("conflicts", { kind: wish.kind, namespace: wish.namespace, name: wish.name },
    { feed: "conflicts", fits });
  if (!asked.items?.length) return null;
  return html`<${Section} title="Conflicts" note=${count(asked.items.length)}>
    ${asked.items.map((row) => html`<${ConflictCard} key=${row.field} row=${row} />`)}</${Section}>`;
}

function Spec({ wish }) {
  return html`<${Section} title="What it says">
    ${Object.keys(wish.spec).length ? html`<${Tree} value=${wish.spec} />` : html`<${Empty}
      title="Its text is not known here" />`}</${Section}>`;
}

function Story({ wish }) {
  const subject = wish.kind === "Agent" ? `agent/${wish.name}` : `cluster/${wish.namespace}/${wish.name}`;
  const { answer } = useAnswer("events", { subject, limit: EVENTS });
  return html`<${Section} title="Events" aside=${html`<a href=${href("events", { subject })}>All about it</a>`}>
    ${answer && (answer.items.length ? html`<${EventLines} events=${answer.items}
      label=${`Events about ${wish.name}`} />`
      : html`<p class="soft">Nothing has been told about it.</p>`)}</${Section}>`;
}

function Replace({ wish, said }) {
  const { kind, namespace, name, spec } = wish;
  const [start] = useState(() => JSON.stringify({ apiVersion: "v1", kind, metadata: kind === "Agent" ? { name }
    : { name, namespace }, spec }, null, 2));
  return html`<${Section} title="Change it"><details class="more"><summary>Edit its manifest and apply it</summary>
    <${ApplyBox} start=${start} said=${said} /></details></${Section}>`;
}
