/** Concurrent values, side by side: which one holds, what decides, what to do. */
import { html } from "../lib/html.js";
import { plural } from "../lib/format.js";
import { href } from "../lib/route.js";
import { Age } from "./asof.js";
import { clusterRoute, instanceRoute, NodeLink } from "./subject.js";
import { Tree } from "./tree.js";

/** Documents are in kinds; a state has none of a document's namespaces. */
const isState = (row) => row.namespace === "";

const PLACES = { Agent: clusterRoute, AgentCluster: clusterRoute };

function place(row) {
  if (isState(row)) return { to: instanceRoute(row.name), text: row.name };
  return { to: PLACES[row.kind]?.(row) ?? href("conflicts", { name: row.name }),
    text: `${row.kind} ${row.namespace}/${row.name}` };
}

export function ConflictCard({ row }) {
  const { to, text } = place(row);
  return html`<article class="conflict" aria-label=${`${text}, ${row.field}`}>
    <header class="conflict-head"><h3><a href=${to}>${text}</a> <code>${row.field}</code></h3>
      <span class="soft">${plural(row.values.length, "value")}, as of <${Age} at=${row.as_of_ms} /></span></header>
    <ol class="conflict-values">${row.values.map((value, at) => html`<li key=${at}
      class=${at ? "conflict-value" : "conflict-value in-force"}>
      <p class="conflict-mark">${at ? "kept beside it" : "in force"}</p>
      <div class="conflict-what"><${Tree} value=${value} /></div>
      <p class="conflict-by">written by <${NodeLink} name=${row.writers[at] ?? ""} /></p></li>`)}</ol>
    <p class="conflict-why">${why(row)}</p>
    <p class="conflict-next"><b>What to do:</b> ${next(row, to)}</p></article>`;
}

function why(row) {
  const both = "They were written without knowing of each other, on two sides of a cut or at the same moment.";
  const rule = isState(row)
    ? "The value with the higher dot, a count of writes with the writer's name, is in force"
    : "The value whose write has the higher stamp, a count of changes with the writer's name, is in force";
  return `${both} ${rule}: every node decides alike, so all of them use the same one. Nothing is thrown away.`;
}

function next(row, to) {
  if (isState(row)) {
    return html`call a skill that sets <code>${row.field}</code>, or give the agent a merge function for it
      (<code>@agent.merge</code>); the next write that has seen all of them settles it.`;
  }
  return html`apply the document with the value you want, on <a
    href=${to}>its page</a> or with <code>meshnode apply -f FILE</code>; a
    write that has seen all of them settles it.`;
}
