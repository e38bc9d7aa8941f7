/** Units in a table, in whatever view they stand. */
import { html, useState } from "../lib/html.js";
import { count } from "../lib/format.js";
import { Age } from "./asof.js";
import { Badge } from "./badge.js";
import { StateBar } from "./spark.js";
import { instanceRoute, NodeLink } from "./subject.js";

const ROWS_MAX = 200;
const FOLDED_ROWS = 3;
const COPIES_SHOWN = 2;
/** Rows that do not change are written again at a bounded rate: in a large fleet minutes may pass. */
export const UNIT_OLD_MS = 300_000;

/** "words/0", or "words/0–999" where one process is many instances. */
export function unitWords({ instance, slots }) {
  const slot = Number(instance.slice(instance.lastIndexOf("/") + 1));
  return slots > 1 && Number.isInteger(slot) ? `${instance}–${slot + slots - 1}` : instance;
}

const COLUMNS = [
  { name: "instance", title: "Unit", grow: true, cell: (row) => html`<a class="name"
    href=${instanceRoute(row.instance)}>${unitWords(row)}</a>` },
  { name: "state", title: "State", cell: (row) => html`<${Badge} state=${row.state}
    title=${row.reason} />${row.reason && html`<span class="cell-reason">${row.reason}</span>`}` },
  { name: "node", title: "Node", cell: (row) => html`<${NodeLink} name=${row.node} />` },
  { name: "region", title: "Region", from: "md" },
  { name: "version", title: "Version", numeric: true, from: "sm", cell: (row) => (row.version ? count(row.version)
    : "–") },
  { name: "durability", title: "Durability", from: "sm" },
  { name: "copies", title: "Copies", from: "md", cell: (row) => copies(row.copies) },
  { name: "restarts", title: "Restarts", numeric: true, from: "lg", cell: (row) => count(row.restarts) },
  { name: "as_of_ms", title: "Seen", numeric: true, from: "sm", cell: (row) => html`<${Age}
    at=${row.as_of_ms} old_ms=${UNIT_OLD_MS} />` },
];

export function copies(names) {
  if (!names.length) return "–";
  const left = names.length - COPIES_SHOWN;
  return html`${names.slice(0, COPIES_SHOWN).map((name, number) => html`${number > 0 && ", "}<${NodeLink}
    name=${name} />`)}
    ${left > 0 && html` <span class="faint" title=${names.slice(COPIES_SHOWN).join(", ")}>and ${left} more</span>`}`;
}

const classOf = (column) => [column.numeric && "numeric", column.from && `from-${column.from}`, column.grow
  && "grow"].filter(Boolean).join(" ") || undefined;

function Head({ columns }) {
  return html`<thead><tr>${columns.map((column) => html`<th key=${column.name} scope="col"
    class=${classOf(column)}>${column.title}</th>`)}</tr></thead>`;
}

function line(row, columns) {
  return html`<tr key=${`${row.instance} ${row.node}`}>
    ${columns.map((column) => html`<td key=${column.name}
      class=${classOf(column)}>${column.cell ? column.cell(row) : row[column.name] || "–"}</td>`)}</tr>`;
}

const byTrouble = (a, b) => (a.state === "running") - (b.state === "running")
  || a.instance.localeCompare(b.instance, undefined, { numeric: true });

/** `without`: columns that say the same in every row. */
export function InstanceTable({ rows, without = [], label = "Units" }) {
  const columns = COLUMNS.filter((column) => !without.includes(column.name));
  return html`<div class="table-box is-inside"><table class="table" aria-label=${label}><${Head} columns=${columns} />
      <tbody>${[...rows].sort(byTrouble).slice(0, ROWS_MAX).map((row) => line(row, columns))}</tbody></table></div>
    ${rows.length > ROWS_MAX && html`<p class="list-end">The first ${ROWS_MAX} are shown.</p>`}`;
}

function counted(rows) {
  const states = {};
  for (const { state } of rows) states[state] = (states[state] ?? 0) + 1;
  return states;
}

/** Units of one agent: a group for each region, those that are not well first, the others folded when they are many. */
export function UnitsByRegion({ rows }) {
  const columns = COLUMNS.filter((column) => column.name !== "region");
  const regions = new Map();
  for (const row of rows) regions.set(row.region, [...(regions.get(row.region) ?? []), row]);
  return html`<div class="table-box is-inside"><table class="table" aria-label="Units by region"><${Head}
    columns=${columns} />
    ${[...regions].sort(([a], [b]) => a.localeCompare(b)).map(([region, some]) => html`<${Region} key=${region}
      region=${region} rows=${some} columns=${columns}
      folds=${regions.size > 1} />`)}</table></div>`;
}

function Region({ region, rows, columns, folds }) {
  const [open, setOpen] = useState(!folds);
  const sorted = [...rows].sort(byTrouble);
  const troubled = sorted.filter((row) => row.state !== "running").length;
  const shown = sorted.slice(0, open ? ROWS_MAX : Math.max(troubled, FOLDED_ROWS));
  const left = rows.length - shown.length;
  return html`<tbody><tr class="group"><th colspan=${columns.length} scope="rowgroup"><span class="group-head">
    <b>${region || "no region"}</b>
      <span class="faint">${count(rows.length)}</span><${StateBar} parts=${counted(rows)} label=${region} /></span>
        </th></tr>
    ${shown.map((row) => line(row, columns))}
    ${left > 0 && !open && html`<tr class="unfold"><td colspan=${columns.length}><button type="button"
      class="quiet-button" onClick=${() => setOpen(true)}>${count(left)} more in ${region || "no region"}</button>
      </td></tr>`}
    ${left > 0 && open && html`<tr><td colspan=${columns.length} class="faint">The first ${ROWS_MAX} are shown.</td>
      </tr>`}</tbody>`;
}
