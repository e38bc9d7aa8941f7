// A node and its neighbours. The layout is a rule, not a simulation: a region is a sector, the distance from the middle
// is the round trip (logarithmic, with rings to read it by). The same facts always give the same picture.

import { html, useMemo, useRef, useState } from "../lib/html.js";

export const NEIGHBOURS_MAX = 300;
const NAMED_MAX = 28;
const SIZE = 640, MIDDLE = SIZE / 2;
const INNER = 84, OUTER = 214, UNKNOWN = 232, REGIONS = 252;
const SECTOR_GAP = 0.12;
const RINGS_MS = [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000];

const byName = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

// Neighbours by region, regions and names in order: [[region, [neighbour, ...]], ...].
export function grouped(neighbours) {
  const regions = new Map();
  for (const one of neighbours.slice(0, NEIGHBOURS_MAX)) {
    const region = one.region || "";
    if (!regions.has(region)) regions.set(region, []);
    regions.get(region).push(one);
  }
  for (const some of regions.values()) some.sort((a, b) => byName(a.peer, b.peer));
  return [...regions].sort(([a], [b]) => byName(a, b));
}

// The scale of round trips: two rings that enclose all of them, and those between.
export function rings(neighbours) {
  const known = neighbours.map((one) => one.rtt_ms).filter((rtt) => Number.isFinite(rtt) && rtt > 0);
  if (!known.length) return [];
  const least = Math.min(...known), most = Math.max(...known);
  const first = Math.max(0, RINGS_MS.findLastIndex((ring) => ring <= least));
  const found = RINGS_MS.findIndex((ring) => ring >= most);
  const last = found < 0 ? RINGS_MS.length - 1 : found;
  return RINGS_MS.slice(first, Math.max(last, first + 1) + 1);
}

function radius(rtt_ms, scale) {
  if (!Number.isFinite(rtt_ms) || !scale.length) return UNKNOWN;
  const low = Math.log(scale[0]), high = Math.log(scale.at(-1));
  const share = (Math.log(Math.max(rtt_ms, scale[0])) - low) / (high - low);
  return INNER + (OUTER - INNER) * Math.min(1, Math.max(0, share));
}

const at = (angle, distance) => ({ x: MIDDLE + distance * Math.cos(angle), y: MIDDLE + distance * Math.sin(angle) });

// Where everything stands: {dots: [{x, y, angle, one}], sectors: [{region, angle, x, y, count}], rings}.
export function layout(neighbours) {
  const regions = grouped(neighbours);
  const total = regions.reduce((sum, [, some]) => sum + some.length, 0);
  const scale = rings(neighbours);
  const gap = regions.length > 1 ? Math.min(SECTOR_GAP, Math.PI / regions.length) : 0;
  const free = 2 * Math.PI - gap * regions.length;
  const dots = [], sectors = [];
  let angle = -Math.PI / 2;
  for (const [region, some] of regions) {
    const width = (free * some.length) / total;
    some.forEach((one, number) => {
      const turn = angle + (width * (number + 0.5)) / some.length;
      dots.push({ ...at(turn, radius(one.rtt_ms, scale)), angle: turn, one });
    });
    const middle = angle + width / 2;
    sectors.push({ region, angle: middle, from: angle, to: angle + width, count: some.length, ...at(middle, REGIONS) });
    angle += width + gap;
  }
  return { dots, sectors, rings: scale.map((ms) => ({ ms, radius: radius(ms, scale) })) };
}

// States differ by shape too, for those who do not see the colours.
function mark(state, x, y, size) {
  const p = (dx, dy) => `${(x + dx * size).toFixed(1)},${(y + dy * size).toFixed(1)}`;
  const name = `graph-mark state-${state || "unknown"}`;
  switch (state) {
    case "suspect":
      return html`<polygon class=${name} points=${[p(0, -1.3), p(1.2, 0.9), p(-1.2, 0.9)].join(" ")} />`;
    case "unreachable":
      return html`<polygon class=${name} points=${[p(0, -1.3), p(1.3, 0), p(0, 1.3), p(-1.3, 0)].join(" ")} />`;
    case "down":
      return html`<path class=${name} d=${`M${p(-1, -1)}L${p(1, 1)}M${p(1, -1)}L${p(-1, 1)}`} />`;
    case "left":
      return html`<rect class=${name} x=${x - size} y=${y - size} width=${2 * size} height=${2 * size} />`;
    default:
      return html`<circle class=${name} cx=${x.toFixed(1)} cy=${y.toFixed(1)} r=${size} />`;
  }
}

const short = (name, most) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);

export function rtt(value) {
  if (!Number.isFinite(value)) return "round trip not known";
  return value < 10 ? `${value.toFixed(1)} ms` : `${value.toFixed(0)} ms`;
}

export function words({ peer, region, state, rtt_ms, kind }) {
  return [peer, region, state, rtt(rtt_ms), kind === "peer" ? "linked for another reason" : ""]
    .filter(Boolean).join(", ");
}

// One tab stop; arrows walk around, Enter follows.
function useRoving(count) {
  const [current, setCurrent] = useState(0);
  const box = useRef(null);
  const walk = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const next = event.key === "Home" ? 0 : event.key === "End" ? count - 1 : (current + (step ?? 0) + count) % count;
    if (next === current) return;
    event.preventDefault();
    setCurrent(next);
    box.current.querySelectorAll("a.graph-dot")[next]?.focus();
  };
  return { current: Math.min(current, Math.max(0, count - 1)), setCurrent, box, walk };
}

// `centre`: {name, state}. `neighbours`: [{peer, region, rtt_ms, kind, state, age_s}]. `route`: name -> where it leads.
export function EgoGraph({ centre, neighbours, route }) {
  const drawn = useMemo(() => layout(neighbours), [neighbours]);
  const [pointed, setPointed] = useState(-1);
  const { current, setCurrent, box, walk } = useRoving(drawn.dots.length);
  const named = drawn.dots.length <= NAMED_MAX;
  const size = drawn.dots.length > 120 ? 3 : drawn.dots.length > NAMED_MAX ? 4 : 5.5;
  const shown = drawn.dots[pointed];
  return html`<div class="graph">
    <svg class="graph-picture" ref=${box} viewBox=${`0 0 ${SIZE} ${SIZE}`} role="group" onKeyDown=${walk}
      aria-label=${`${centre.name} and ${drawn.dots.length} neighbours; arrow keys walk around`}>
      <${Backdrop} drawn=${drawn} />
      ${drawn.dots.map(({ x, y, one }) => html`<line class=${`graph-link kind-${one.kind}`}
        x1=${MIDDLE} y1=${MIDDLE} x2=${x.toFixed(1)} y2=${y.toFixed(1)} />`)}
      ${drawn.dots.map((dot, number) => html`<a key=${dot.one.peer} class="graph-dot" href=${route(dot.one.peer)}
        tabindex=${number === current ? 0 : -1} aria-label=${words(dot.one)}
        onMouseEnter=${() => setPointed(number)} onMouseLeave=${() => setPointed(-1)}
        onFocus=${() => (setPointed(number), setCurrent(number))} onBlur=${() => setPointed(-1)}>
        <circle class="graph-touch" cx=${dot.x} cy=${dot.y} r=${Math.max(9, size + 3)} />
        ${mark(dot.one.state, dot.x, dot.y, size)}
        ${named && number !== pointed && html`<${Name} dot=${dot} size=${size} />`}</a>`)}
      ${shown && html`<line class="graph-link is-pointed" x1=${MIDDLE} y1=${MIDDLE} x2=${shown.x} y2=${shown.y} />`}
      ${mark(centre.state, MIDDLE, MIDDLE, 9)}
      <text class="graph-centre" x=${MIDDLE} y=${MIDDLE + 26}>${short(centre.name, 26)}</text>
      ${shown && html`<${Name} dot=${shown} size=${size} whole=${true} />`}
    </svg>
    <p class="graph-said" aria-hidden="true">${shown ? words(shown.one) : hint(drawn)}</p>
  </div>`;
}

function hint({ rings: scale, dots }) {
  if (!dots.length) return "";
  return scale.length ? "The farther out, the longer the round trip. Point at a node to read it." : "No round trip is known.";
}

function Backdrop({ drawn }) {
  return html`<g aria-hidden="true">
    ${drawn.rings.map((ring) => html`<circle class="graph-ring" cx=${MIDDLE} cy=${MIDDLE} r=${ring.radius} />
      <text class="graph-scale" x=${MIDDLE} y=${MIDDLE - ring.radius - 3}>${ring.ms} ms</text>`)}
    ${drawn.sectors.map((sector) => html`<text class="graph-region" x=${sector.x.toFixed(1)} y=${sector.y.toFixed(1)}
      text-anchor=${anchor(sector.angle)} dominant-baseline="middle">${short(sector.region || "no region", 14)}</text>`)}
  </g>`;
}

const anchor = (angle) => (Math.abs(Math.cos(angle)) < 0.3 ? "middle" : Math.cos(angle) > 0 ? "start" : "end");

// Names stand inwards of the region's word: outwards of the dot, away from the middle.
function Name({ dot, size, whole = false }) {
  const right = Math.cos(dot.angle) >= 0;
  const dx = (size + 4) * (right ? 1 : -1);
  return html`<text class=${whole ? "graph-name is-pointed" : "graph-name"} x=${(dot.x + dx).toFixed(1)} y=${dot.y.toFixed(1)}
    text-anchor=${right ? "start" : "end"} dominant-baseline="middle">${short(dot.one.peer, whole ? 40 : 18)}</text>`;
}
