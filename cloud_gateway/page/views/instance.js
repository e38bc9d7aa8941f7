/** One unit: after a cut two nodes may run it, and both are shown, with what will decide. */
import { html, useEffect } from "../lib/html.js";
import { useAnswer } from "../lib/answer.js";
import { count, exact, plural } from "../lib/format.js";
import { onSettled } from "../lib/live.js";
import { href } from "../lib/route.js";
import { NotKnown, Pending, useRows } from "../parts/asked.js";
import { Age } from "../parts/asof.js";
import { Badge } from "../parts/badge.js";
import { ConflictCard } from "../parts/conflict.js";
import { UNIT_OLD_MS, unitWords } from "../parts/instances.js";
import { ProblemNote } from "../parts/problem.js";
import { Facts, Section, ViewHead } from "../parts/section.js";
import { agentRoute, EventLines, NodeLink } from "../parts/subject.js";

const EVENTS = 100;
const SHOWN = 15;

export default function Instance({ args }) {
  const instance = args.join("/");
  const agent = args[0];
  const path = `instances/${args.map(encodeURIComponent).join("/")}`;
  const asked = useRows(path, { limit: "" }, { feed: "instances", fits: (row) => row.instance === instance });
  const rows = [...(asked.items ?? [])].sort((a, b) => epochCount(b) - epochCount(a) || a.node.localeCompare(b.node));
  const none = asked.items && !rows.length;
  const missing = html`<${NotKnown} what="The unit" name=${instance}
    back=${{ href: agentRoute(agent), text: `All of ${agent}` }} />`;
  return html`<${ViewHead} title=${rows[0] ? unitWords(rows[0]) : instance}
    trail=${[["Agents", href("agents")], [agent, agentRoute(agent)]]}
      sub=${rows.length > 0 && html`<${Standing} rows=${rows} />`} />
    ${none ? missing : html`<${Pending} asked=${asked} lines=${8} missing=${missing} />`}
    ${rows.length > 1 && html`<${Split} rows=${rows} />`}
    ${rows.length > 0 && html`<div class="side-by-side">${rows.map((row, at) => html`<${Run} key=${row.node}
      row=${row} first=${at === 0 && rows.length > 1} />`)}</div>
      <${Conflicts} instance=${instance} />
      <${Story} agent=${agent} instance=${instance} />`}`;
}

/** The number in "COUNTER@NODE". */
function epochCount({ epoch }) {
  return Number.parseInt(epoch, 10) || 0;
}

function Standing({ rows }) {
  const states = [...new Set(rows.map((row) => row.state))];
  return html`${states.map((state) => html`<${Badge} key=${state} state=${state} /> `)}
    <span>on ${rows.map((row, at) => html`${at > 0 && " and "}<${NodeLink} name=${row.node} />`)}</span>`;
}

function Split({ rows }) {
  const alive = rows.filter((row) => row.state !== "stopped");
  return html`<div class="note" role="note"><p>
    <b>${plural(alive.length, "node")} tell of this unit.</b> That happens while a network is cut:
    each side keeps its work going. When they meet again, the higher epoch goes on (${rows[0].epoch
      || "the first below"}), what the other one
    did is merged into it, and values that both set are kept side by side as conflicts.</p></div>`;
}

function Run({ row, first }) {
  return html`<${Section} title=${row.node} note=${first ? "highest epoch" : ""} class="run">
    <${Facts} items=${[
      ["Node", html`<${NodeLink} name=${row.node} />`],
      ["State", html`<${Badge} state=${row.state} />${row.reason && html` <span
        class="cell-reason">${row.reason}</span>`}`],
      ["Region", row.region],
      ["Epoch", row.epoch],
      ["State version", row.version ? count(row.version) : "it keeps none"],
      ["Durability", row.durability],
      ["Copies", row.copies.length ? row.copies.map((name, at) => html`${at > 0 && ", "}<${NodeLink}
        name=${name} />`) : row.version ? html`<span class="is-bad">none: only this disk has it</span>` : "none"],
      ["Slots", row.slots > 1 ? `${count(row.slots)} in this process` : ""],
      ["Process", row.pid === null ? "" : `pid ${row.pid}`],
      ["Restarts", count(row.restarts)],
      ["Skills", row.skills.map((skill, at) => html`${at > 0 && ", "}<a
        href=${href("skills", { skill })}>${skill}</a>`)],
      ["As of", html`<span title=${exact(row.as_of_ms)}><${Age} at=${row.as_of_ms} old_ms=${UNIT_OLD_MS} /></span>`],
    ]} /></${Section}>`;
}

function Conflicts({ instance }) {
  const asked = useRows("conflicts", { name: instance }, { feed: "conflicts", fits: (row) => row.name === instance });
  if (!asked.items?.length) return null;
  return html`<${Section} title="Conflicts" note=${count(asked.items.length)}>
    ${asked.items.map((row) => html`<${ConflictCard} key=${row.field} row=${row} />`)}</${Section}>`;
}

/** Events are told by agent; those of this unit name it first. */
function Story({ agent, instance }) {
  const asked = useAnswer("events", { subject: `agent/${agent}`, q: instance, limit: EVENTS });
  useEffect(() => onSettled("events", 1_000, asked.reload), [instance]);
  const items = asked.answer?.items.slice(0, SHOWN);
  return html`<${Section} title="Events" aside=${html`<a
    href=${href("events", { subject: `agent/${agent}` })}>All of ${agent}</a>`}>
    <${ProblemNote} problem=${asked.problem} />
    ${items && (items.length ? html`<${EventLines} events=${items} label=${`Events about ${instance}`} />`
      : html`<p class="soft">No event names this unit.</p>`)}</${Section}>`;
}
