/** Concurrent values: all of them are kept, one is in force everywhere. */
import { html, useMemo } from "../lib/html.js";
import { count } from "../lib/format.js";
import { param, route, setQuery } from "../lib/route.js";
import { useList } from "../lib/answer.js";
import { ConflictCard } from "../parts/conflict.js";
import { Empty, Waiting } from "../parts/empty.js";
import { Facet } from "../parts/facet.js";
import { ProblemNote } from "../parts/problem.js";
import { SearchBox } from "../parts/searchbox.js";
import { ViewHead } from "../parts/section.js";

const KINDS = ["Agent", "AgentCluster", "State"];

export default function Conflicts() {
  const { kind = [], name = [], namespace = [] } = route.value.query;
  const q = param("q");
  const params = useMemo(() => ({ q, kind, name, namespace }), [route.value]);
  const list = useList("conflicts", "conflicts", params);
  const narrowed = Boolean(q || kind.length || name.length || namespace.length);
  return html`<${ViewHead} title="Conflicts" sub=${html`<p
    class="view-words">Where two sides wrote the same field without knowing of each other. Both values are kept;
    every node uses the same one.</p>`} />
    <div class="list-bar"><${SearchBox} value=${q} label="Find a name or field"
      set=${(text) => setQuery({ q: text })} />
      <${Facet} title="Kind" options=${KINDS} chosen=${kind} choose=${(values) => setQuery({ kind: values })} />
      <${Facet} title="Name" chosen=${name} choose=${(values) => setQuery({ name: values })} />
      <span class="list-count"
        aria-live="polite">${list.loading && !list.rows.length ? "" : `${list.next ? "first "
          : ""}${count(list.rows.length)}`}</span></div>
    <${ProblemNote} problem=${list.problem} retry=${list.reload} />
    ${list.rows.map((row) => html`<${ConflictCard} key=${`${row.kind}/${row.namespace}/${row.name}#${row.field}`}
      row=${row} />`)}
    ${!list.rows.length && !list.problem && (list.loading ? html`<${Waiting} lines=${4} />` : html`<${Nothing}
      narrowed=${narrowed} />`)}
    ${list.next && html`<p class="list-end"><button type="button" class="button" disabled=${list.loading}
      onClick=${list.more}>Show more</button></p>`}`;
}

function Nothing({ narrowed }) {
  if (narrowed) return html`<${Empty} title="No conflict fits this filter"
    action=${{ href: "#/conflicts", text: "Clear the filter" }} />`;
  return html`<${Empty} title="No conflicts"
    text="Nobody has written the same field on two sides of a cut, or all such writes have been settled." />`;
}
