/** All nodes, as a table. */
import { html } from "../lib/html.js";
import { celsius, count, millis, now } from "../lib/format.js";
import { href } from "../lib/route.js";
import { Badge } from "../parts/badge.js";
import { Age } from "../parts/asof.js";
import { regionOptions } from "../parts/facet.js";
import { ListView } from "../parts/list.js";
import { ViewHead } from "../parts/section.js";
import { Meter } from "../parts/spark.js";

export const NODE_STATES = ["ready", "suspect", "unreachable", "down", "left"];

const OLD_MS = 60_000; // the gateway refreshes what did not change more seldom than what did

function isStale(row) {
  return row.state !== "ready" || now.peek() - row.as_of_ms > OLD_MS;
}

function stateOf({ state, reason, drained }) {
  return html`<${Badge} state=${state} title=${reason} />${drained && html` <${Badge} state="drained" />`}`;
}

const COLUMNS = [
  { name: "name", title: "Node", sort: "name", grow: true,
    cell: (row) => html`<span class="strong">${row.name}</span>` },
  { name: "state", title: "State", sort: "state", cell: stateOf },
  { name: "region", title: "Region", sort: "region", from: "sm" },
  { name: "cpu", title: "CPU", sort: "cpu_percent", first: "-", numeric: true, from: "sm",
    cell: (row) => html`<${Meter} value=${row.cpu_percent} />` },
  { name: "memory", title: "Memory", sort: "memory_percent", first: "-", numeric: true, from: "md",
    cell: (row) => html`<${Meter} value=${row.memory_percent} />` },
  { name: "celsius", title: "Heat", numeric: true, from: "xl", cell: (row) => celsius(row.celsius) },
  { name: "agents", title: "Agents", sort: "agents", first: "-", numeric: true, from: "md",
    cell: (row) => count(row.agents) },
  { name: "path", title: "Path", from: "lg" },
  { name: "rtt", title: "Round trip", sort: "rtt_ms", numeric: true, from: "lg", cell: (row) => millis(row.rtt_ms) },
  { name: "proof", title: "Heard", sort: "proof_ms", first: "-", numeric: true,
    cell: (row) => html`<${Age} at=${row.proof_ms} old_ms=${row.state === "ready" ? OLD_MS : 0} short />` },
];
const FILTERS = [
  { name: "state", title: "State", options: NODE_STATES, marks: true },
  { name: "region", title: "Region", options: regionOptions },
  { name: "path", title: "Path" },
  { name: "drained", title: "Drained", options: ["true", "false"] },
];
const EMPTY = {
  title: "No nodes yet",
  text: "The gateway has not heard of any node. A node joins with an invitation from one that is in the mesh:",
  command: "meshnode invite        # on a node of the mesh\nmeshnode join INVITATION",
};

export default function Nodes() {
  return html`<${ViewHead} title="Nodes"><a class="button" href=${href("grid")}>As a grid</a></${ViewHead}>
    <${ListView} kind="nodes" columns=${COLUMNS} filters=${FILTERS} empty=${EMPTY} label="nodes"
      rowHref=${(row) => href(["nodes", row.name])} stale=${isStale} />`;
}
