/** Units in a table, in whatever view they stand. */
import { html } from "../lib/html.js";
import { count } from "../lib/format.js";
import { Age } from "./asof.js";
import { Badge } from "./badge.js";
import { instanceRoute, NodeLink } from "./subject.js";

const ROWS_MAX = 200;

/** "words/0", or "words/0–999" where one process is many instances. */
export function unitWords({ instance, slots }) {
  const slot = Number(instance.slice(instance.lastIndexOf("/") + 1));
  return slots > 1 && Number.isInteger(slot) ? `${instance}–${slot + slots - 1}` : instance;
}

const COLUMNS = [
  { name: "instance", title: "Unit", grow: true, cell: (row) => html`<a class="name" href=${instanceRoute(row.instance)}>${unitWords(row)}</a>` },
  { name: "state", title: "State", cell: (row) => html`<${Badge} state=${row.state} title=${row.reason} />${row.reason && html`<span class="cell-reason">${row.reason}</span>`}` },
  { name: "node", title: "Node", cell: (row) => html`<${NodeLink} name=${row.node} />` },
  { name: "region", title: "Region", from: "md" },
  { name: "version", title: "Version", numeric: true, cell: (row) => (row.version ? count(row.version) : "–") },
  { name: "durability", title: "Durability", from: "md" },
  { name: "copies", title: "Copies", from: "lg", cell: (row) => copies(row.copies) },
  { name: "restarts", title: "Restarts", numeric: true, from: "md", cell: (row) => count(row.restarts) },
  { name: "as_of_ms", title: "Seen", numeric: true, from: "sm", cell: (row) => html`<${Age} at=${row.as_of_ms} old_ms=${15_000} />` },
];

export function copies(names) {
  if (!names.length) return "–";
  return names.map((name, number) => html`${number > 0 && ", "}<${NodeLink} name=${name} />`);
}

/** `without`: columns that say the same in every row. */
export function InstanceTable({ rows, without = [], label = "Units" }) {
  const columns = COLUMNS.filter((column) => !without.includes(column.name));
  const classOf = (column) => [column.numeric && "numeric", column.from && `from-${column.from}`, column.grow && "grow"].filter(Boolean).join(" ") || undefined;
  return html`<div class="table-box"><table class="table" aria-label=${label}>
      <thead><tr>${columns.map((column) => html`<th key=${column.name} scope="col" class=${classOf(column)}>${column.title}</th>`)}</tr></thead>
      <tbody>${rows.slice(0, ROWS_MAX).map((row) => html`<tr key=${`${row.instance} ${row.node}`}>
        ${columns.map((column) => html`<td key=${column.name} class=${classOf(column)}>${column.cell ? column.cell(row) : row[column.name] || "–"}</td>`)}</tr>`)}</tbody>
    </table></div>
    ${rows.length > ROWS_MAX && html`<p class="list-end">The first ${ROWS_MAX} are shown.</p>`}`;
}
