/** What documents want of the mesh, and how far it is. */
import { html, useState } from "../lib/html.js";
import { count } from "../lib/format.js";
import { Age } from "../parts/asof.js";
import { ApplyBox, Followed } from "../parts/commandbox.js";
import { ListView } from "../parts/list.js";
import { Section, ViewHead } from "../parts/section.js";
import { clusterRoute } from "../parts/subject.js";
import { leading, WishBar } from "../parts/wish.js";

const reason = (row) => row.reason || (row.pending ? leading(row.conditions)?.message ?? "" : "");

const COLUMNS = [
  { name: "name", title: "Name", sort: "name", grow: true, cell: (row) => html`<span class="strong">${row.name}</span>${
    row.namespace !== "default" && html` <span class="faint">${row.namespace}</span>`}` },
  { name: "kind", title: "Kind", from: "md", cell: (row) => html`<span class="one-line">${row.kind}</span>` },
  { name: "bar", title: "Running", cell: (row) => html`<span class="wish-cell"><${WishBar} ...${row}
    label=${row.name} />
    <span><b>${count(row.running)}</b> of ${count(row.wanted)}</span></span>` },
  { name: "pending", title: "Pending", sort: "pending", first: "-", numeric: true, cell: (row) => (row.pending
    ? html`<span class="is-bad">${count(row.pending)}</span>` : "–") },
  { name: "reason", title: "Why", from: "md", cell: (row) => reason(row) || "–" },
  { name: "conflicts", title: "Conflicts", numeric: true, from: "lg", cell: (row) => (row.conflicts.length
    ? html`<span class="is-bad">${row.conflicts.length}</span>` : "–") },
  { name: "updated", title: "Changed", sort: "updated_ms", first: "-", numeric: true, from: "sm",
    cell: (row) => html`<${Age} at=${row.updated_ms} />` },
  { name: "by", title: "By", from: "lg", cell: (row) => html`<span class="one-line"
    title=${row.updated_by}>${row.updated_by || "–"}</span>` },
];
const FILTERS = [
  { name: "kind", title: "Kind", options: ["Agent", "AgentCluster"] },
  { name: "namespace", title: "Namespace" },
];
const EMPTY = {
  title: "Nothing is wanted yet",
  text: "A document says which agents should run, how many and where; the mesh makes it so. Apply one here or on a node:",
  command: "meshnode apply -f cluster.yaml",
};

export default function Clusters() {
  const [command, setCommand] = useState(null);
  return html`<${ViewHead} title="Clusters" />
    <${ListView} kind="clusters" columns=${COLUMNS} filters=${FILTERS} empty=${EMPTY} label="clusters"
      rowHref=${clusterRoute} />
    <${Section} title="Apply a manifest">
      ${command && html`<${Followed} key=${command.command_id} command=${command} />`}
      <${ApplyBox} said=${setCommand} /></${Section}>`;
}
