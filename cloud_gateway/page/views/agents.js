/** What runs: by agent (`#/agents`), or every unit by itself (`#/instances`). */
import { html } from "../lib/html.js";
import { count } from "../lib/format.js";
import { href, route } from "../lib/route.js";
import { Age } from "../parts/asof.js";
import { Badge } from "../parts/badge.js";
import { regionOptions } from "../parts/facet.js";
import { copies, UNIT_OLD_MS, unitWords } from "../parts/instances.js";
import { ListView } from "../parts/list.js";
import { ViewHead } from "../parts/section.js";
import { StateBar } from "../parts/spark.js";
import { agentRoute, instanceRoute, NodeLink } from "../parts/subject.js";

export const INSTANCE_STATES = ["running", "starting", "backoff", "pending", "stopping", "stopped", "failed",
  "unreachable"];
const NAMES_SHOWN = 3;

/** "a, b, c and 4 more" */
export function few(names, most = NAMES_SHOWN) {
  if (!names.length) return "–";
  const left = names.length - most;
  return left > 0 ? `${names.slice(0, most).join(", ")} and ${left} more` : names.join(", ");
}

const bar = ({ instances, running, troubled }) => ({ running, backoff: troubled, stopped: Math.max(0,
  instances - running - troubled) });

const AGENTS = [
  { name: "agent", title: "Agent", grow: true, cell: (row) => html`<span class="strong">${row.agent}</span>` },
  { name: "bar", title: "State", from: "sm", cell: (row) => html`<${StateBar} parts=${bar(row)}
    label=${row.agent} />` },
  { name: "running", title: "Running", numeric: true, cell: (row) => html`${count(row.running)}<span
    class="of-total"> of ${count(row.instances)}</span>` },
  { name: "troubled", title: "Troubled", numeric: true, cell: (row) => (row.troubled ? html`<span
    class="is-bad">${count(row.troubled)}</span>` : "–") },
  { name: "nodes", title: "Nodes", numeric: true, from: "md", cell: (row) => count(row.nodes) },
  { name: "regions", title: "Regions", from: "lg", cell: (row) => html`<span
    title=${row.regions.join(", ")}>${few(row.regions)}</span>` },
  { name: "skills", title: "Skills", from: "lg", cell: (row) => html`<span
    title=${row.skills.join(", ")}>${few(row.skills)}</span>` },
  { name: "version", title: "Newest state", numeric: true, from: "md", cell: (row) => (row.version_max
    ? count(row.version_max) : "–") },
];
const UNITS = [
  { name: "instance", title: "Unit", sort: "instance", grow: true, cell: (row) => html`<span
    class="strong">${unitWords(row)}</span>` },
  { name: "state", title: "State", sort: "state", cell: (row) => html`<${Badge} state=${row.state}
    title=${row.reason} />` },
  { name: "node", title: "Node", sort: "node", cell: (row) => html`<${NodeLink} name=${row.node} />` },
  { name: "region", title: "Region", from: "md" },
  { name: "version", title: "Version", sort: "version", first: "-", numeric: true, from: "sm",
    cell: (row) => (row.version ? count(row.version) : "–") },
  { name: "durability", title: "Durability", from: "md" },
  { name: "copies", title: "Copies", from: "lg", cell: (row) => copies(row.copies) },
  { name: "restarts", title: "Restarts", sort: "restarts", first: "-", numeric: true, from: "md",
    cell: (row) => count(row.restarts) },
  { name: "seen", title: "Seen", numeric: true, from: "sm", cell: (row) => html`<${Age}
    at=${row.as_of_ms} old_ms=${UNIT_OLD_MS} />` },
];
const AGENT_FILTERS = [{ name: "region", title: "Region", options: regionOptions }];
const UNIT_FILTERS = [
  { name: "state", title: "State", options: INSTANCE_STATES, marks: true },
  { name: "region", title: "Region", options: regionOptions },
  { name: "agent", title: "Agent" },
  { name: "node", title: "Node" },
];
const EMPTY = {
  title: "No agents yet",
  text: "An agent is a program that offers skills. One is started on any node of the mesh; the mesh keeps it running:",
  command: "meshnode run words.py",
};

export default function Agents() {
  const units = route.value.parts[0] === "instances";
  const ways = [["Agents", "agents", !units], ["Units", "instances", units]];
  return html`<${ViewHead} title=${units ? "Units" : "Agents"}>
      <nav class="choice" aria-label="Grouped or not">${ways.map(([title, path, here]) => html`<a key=${path}
        href=${href(path)}
        aria-current=${here ? "page" : undefined}>${title}</a>`)}</nav></${ViewHead}>
    ${units
      ? html`<${ListView} key="units" kind="instances" columns=${UNITS} filters=${UNIT_FILTERS} empty=${EMPTY}
        label="units"
          rowHref=${(row) => instanceRoute(row.instance)} stale=${(row) => row.state === "unreachable"} />`
      : html`<${ListView} key="agents" kind="agents" columns=${AGENTS} filters=${AGENT_FILTERS} empty=${EMPTY}
        label="agents"
          rowHref=${(row) => agentRoute(row.agent)} />`}`;
}
