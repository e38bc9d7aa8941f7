/** All nodes at once, as cells by region: what is not ready is seen before it is looked for. */
import { html, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../lib/html.js";
import { counted, STATES, useFleet } from "../lib/fleet.js";
import { count, plural } from "../lib/format.js";
import { bindAll } from "../lib/keys.js";
import { go, href, route, setQuery } from "../lib/route.js";
import { Mark } from "../parts/badge.js";
import { fitting, LEVELS, seenAs } from "../parts/cells.js";
import { Empty, Waiting } from "../parts/empty.js";
import { Facet, regionOptions } from "../parts/facet.js";
import { Plane } from "../parts/plane.js";
import { ProblemNote } from "../parts/problem.js";
import { Section, ViewHead } from "../parts/section.js";

const LOWEST = 260;
const ALWAYS = STATES.slice(0, 4); // a state that nobody is in is news, too

export default function Grid() {
  const { regions, turn, problem, reload } = useFleet();
  const wanted = route.value.query.region ?? [];
  const states = route.value.query.state ?? [];
  const isWanted = ([name]) => !wanted.length || wanted.includes(name);
  const shown = useMemo(() => (regions ?? []).filter(isWanted), [regions, wanted.join()]);
  const faint = useCallback((cell) => states.length > 0 && !states.includes(cell[1]), [states.join()]);
  const counts = counted(shown);
  const nodes = shown.reduce((sum, [, cells]) => sum + cells.length, 0);
  const sub = regions && `${plural(nodes, "node")} in ${plural(shown.length, "region")}`;
  return html`<${ViewHead} title="Grid" sub=${sub}>
      <a class="button" href=${href("nodes", route.value.query)}>As a table</a></${ViewHead}>
    <${ProblemNote} problem=${problem} retry=${reload} />
    ${!regions && !problem && html`<${Waiting} lines=${12} />`}
    ${regions && html`<${Legend} counts=${counts} states=${states} wanted=${wanted} />`}
    ${regions && nodes > 0 && html`<${Sized} regions=${shown} turn=${turn} faint=${faint} />`}
    ${regions && nodes === 0 && html`<${Empty} title="No nodes here" text="No node is known in this part of the fleet."
      action=${wanted.length ? { href: href("grid"), text: "Show all regions" } : null} />`}
    ${nodes > 0 && html`<${Numbers} regions=${shown} />`}`;
}

/** States with their shapes and counts; a press shows only those. */
function Legend({ counts, states, wanted }) {
  const without = (state) => states.filter((one) => one !== state);
  const toggle = (state) => setQuery({ state: states.includes(state) ? without(state) : [...states, state] });
  const shown = Object.entries(counts).filter(([state, number]) => number > 0 || ALWAYS.includes(state));
  return html`<div class="legend" role="group" aria-label="States, and what to show">
    ${shown.map(([state, number]) => html`
      <button key=${state} type="button" class=${states.includes(state) ? "legend-item is-set" : "legend-item"}
        aria-pressed=${states.includes(state)} onClick=${() => toggle(state)}>
        <${Mark} state=${state} /><span>${state}</span><strong>${count(number)}</strong></button>`)}
    <${Facet} title="Region" options=${regionOptions} chosen=${wanted}
      choose=${(values) => setQuery({ region: values })} />
    <span class="legend-load">CPU <span class="ramp" aria-hidden="true"></span> 0 – 100 %</span>
  </div>`;
}

/** Measures the room there is, and chooses the size of cells with which all are seen; + and - change it. */
function Sized({ regions, turn, faint }) {
  const box = useRef(null);
  const [size, setSize] = useState(null);
  const [zoom, setZoom] = useState(0);
  useLayoutEffect(() => {
    const measure = () => {
      const { width, top } = box.current.getBoundingClientRect();
      const height = Math.max(LOWEST, window.innerHeight - (top + document.scrollingElement.scrollTop) - 44);
      const now = { width: Math.floor(width), height };
      setSize((old) => (old?.width === now.width && old.height === height ? old : now));
    };
    const seen = new ResizeObserver(measure);
    seen.observe(box.current);
    addEventListener("resize", measure);
    measure();
    return () => {
      seen.disconnect();
      removeEventListener("resize", measure);
    };
  }, []);
  const fit = useMemo(() => (size ? fitting(regions, size.width, size.height, seenAs()) : 0), [regions, size]);
  const at = Math.max(0, Math.min(LEVELS.length - 1, fit + zoom));
  const step = (by) => setZoom(Math.max(-fit, Math.min(LEVELS.length - 1 - fit, zoom + by)));
  const held = useRef(step);
  held.current = step;
  useEffect(() => bindAll([
    ["+", "larger cells", () => held.current(1)], ["-", "smaller cells", () => held.current(-1)],
    ["0", "all nodes at once", () => setZoom(0)],
    ["/", "to the cells", () => box.current.querySelector("canvas")?.focus()],
  ]), []);
  return html`<div class="plane-box" ref=${box}>
    <div class="zoom" role="group" aria-label="Size of the cells">
      <button type="button" class="icon-button" aria-label="Smaller cells" disabled=${at === 0}
        onClick=${() => step(-1)}>−</button>
      <button type="button" class="quiet-button" onClick=${() => setZoom(0)}>${zoom ? "Fit" : "All"}</button>
      <button type="button" class="icon-button" aria-label="Larger cells" disabled=${at === LEVELS.length - 1}
        onClick=${() => step(1)}>+</button>
    </div>
    ${size && html`<${Plane} regions=${regions} turn=${turn} level=${LEVELS[at]} faint=${faint} size=${size}
      open=${(name) => go(["nodes", name])} />`}
  </div>`;
}

/** The same in words and numbers: for readers, and for whoever likes them. */
function Numbers({ regions }) {
  const heads = STATES.map((state) => html`<th key=${state} scope="col" class="numeric">${state}</th>`);
  return html`<details class="numbers"><summary>The same as numbers</summary>
    <${Section} title="Nodes by region and state"><div class="table-box"><table class="table">
      <thead><tr><th scope="col">Region</th>${heads}</tr></thead>
      <tbody>${regions.map((one) => html`
        <${NumbersRow} key=${one[0]} region=${one[0]} counts=${counted([one])} />`)}</tbody>
    </table></div></${Section}></details>`;
}

function NumbersRow({ region, counts }) {
  const number = (state) => html`<a href=${href("nodes", { region, state })}>${count(counts[state])}</a>`;
  return html`<tr><th scope="row"><a href=${href("nodes", { region })}>${region || "no region"}</a></th>
    ${STATES.map((state) => html`<td key=${state} class="numeric">${counts[state] ? number(state) : "0"}</td>`)}</tr>`;
}
