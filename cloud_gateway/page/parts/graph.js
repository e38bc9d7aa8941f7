/** A node and its neighbours, drawn; one tab stop, arrows walk around, Enter follows. */
import { html, useLayoutEffect, useMemo, useRef, useState } from "../lib/html.js";
import { millis } from "../lib/format.js";
import { zoom } from "./chart.js";
import { centreChars, layout, short } from "./graphlayout.js";

export { NEIGHBOURS_MAX } from "./graphlayout.js";

/** States differ by shape too, for those who do not see the colours. */
function mark(state, x, y, size) {
  const p = (dx, dy) => `${(x + dx * size).toFixed(1)},${(y + dy * size).toFixed(1)}`;
  const name = `graph-mark state-${state || "unknown"}`;
  switch (state) {
    case "suspect":
      return html`<polygon class=${name} points=${[p(0, -1.3), p(1.2, 0.9), p(-1.2, 0.9)].join(" ")} />`;
    case "unreachable":
      return html`<circle class=${name} cx=${x} cy=${y} r=${size} />`;
    case "down":
      return html`<path class=${name} d=${`M${p(-1, -1)}L${p(1, 1)}M${p(1, -1)}L${p(-1, 1)}`} />`;
    case "left":
      return html`<rect class=${name} x=${x - size} y=${y - size / 3} width=${2 * size} height=${(2 * size) / 3} />`;
    default:
      return html`<circle class=${name} cx=${x.toFixed(1)} cy=${y.toFixed(1)} r=${size} />`;
  }
}

/** "beta, paris, ready, 12 ms" */
export function words({ peer, region, state, rtt_ms, kind }) {
  const far = Number.isFinite(rtt_ms) ? millis(rtt_ms) : "round trip not known";
  return [peer, region, state, far, kind === "peer" ? "linked for another reason than gossip"
    : ""].filter(Boolean).join(", ");
}

function useRoving(count) {
  const [current, setCurrent] = useState(0);
  const box = useRef(null);
  const walk = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key] ?? 0;
    const next = event.key === "Home" ? 0 : event.key === "End" ? count - 1 : (current + step + count) % count;
    if (next === current || !count) return;
    event.preventDefault();
    setCurrent(next);
    box.current.querySelectorAll("a.graph-dot")[next]?.focus();
  };
  return { current: Math.min(current, Math.max(0, count - 1)), setCurrent, box, walk };
}

const STEP_PX = 8;

/** The width of an element, in steps, in pixels of the usual size of words: so that those of a picture can be read. */
function useWidth(start) {
  const [width, setWidth] = useState(start);
  const box = useRef(null);
  useLayoutEffect(() => {
    const take = () => setWidth(Math.max(200, Math.floor(box.current.clientWidth / zoom() / STEP_PX) * STEP_PX));
    const watcher = new ResizeObserver(take);
    watcher.observe(box.current);
    take();
    return () => watcher.disconnect();
  }, []);
  return [width, box];
}

/** `centre`: {name, state}. `neighbours`: [{peer, region, rtt_ms, kind, state}]. `route`: name -> where it leads. */
export function EgoGraph({ centre, neighbours, route }) {
  const [width, frame] = useWidth(400);
  const drawn = useMemo(() => layout(neighbours, centre.name, width), [neighbours, centre.name, width]);
  const { middle, height } = drawn.frame;
  const [pointed, setPointed] = useState(-1);
  const { current, setCurrent, box, walk } = useRoving(drawn.dots.length);
  const shown = drawn.dots[pointed];
  const line = ({ x, y }, name) => html`<line
    class=${name} x1=${middle.x} y1=${middle.y} x2=${x.toFixed(1)} y2=${y.toFixed(1)} />`;
  return html`<div class="graph" ref=${frame}>
    <svg class="graph-picture" ref=${box} viewBox=${`0 0 ${width} ${height}`} width=${width * zoom()} height=${height * zoom()}
      role="group" onKeyDown=${walk}
      aria-label=${`${centre.name} and ${drawn.dots.length} neighbours; arrow keys walk around`}>
      <${Backdrop} drawn=${drawn} />
      ${drawn.dots.map((dot) => line(dot, `graph-link kind-${dot.one.kind}`))}
      ${shown && line(shown, "graph-link is-pointed")}
      ${drawn.dots.map((dot, number) => html`<${Dot} key=${dot.one.peer} dot=${dot} to=${route(dot.one.peer)}
        current=${number === current}
        point=${(yes) => setPointed(yes ? number : -1)} focus=${() => setCurrent(number)} />`)}
      <g aria-hidden="true">${drawn.dots.map(({ label, one }, number) => label && number !== pointed && html`<text
        key=${one.peer} class="graph-name"
        x=${label.x.toFixed(1)} y=${label.y.toFixed(1)} text-anchor=${label.anchor}
          dominant-baseline="middle">${label.text}</text>`)}</g>
      ${mark(centre.state, middle.x, middle.y, 8)}
      <text class="graph-centre" x=${middle.x} y=${middle.y + 24}>${short(centre.name, centreChars(width))}</text>
      ${shown && html`<${Pointed} dot=${shown} middle=${middle} />`}
    </svg>
    <p class="graph-said" aria-hidden="true">${shown ? words(shown.one) : hint(drawn)}</p>
  </div>`;
}

function Dot({ dot: { x, y, size, one }, to, current, point, focus }) {
  return html`<a class="graph-dot" href=${to} tabindex=${current ? 0 : -1} aria-label=${words(one)}
    onMouseEnter=${() => point(true)} onMouseLeave=${() => point(false)} onFocus=${() => (point(true),
      focus())} onBlur=${() => point(false)}>
    <circle class="graph-touch" cx=${x.toFixed(1)} cy=${y.toFixed(1)} r=${Math.max(9, size + 3)} />
    ${mark(one.state, x, y, size)}</a>`;
}

/** The whole name of what is pointed at, over everything else. */
function Pointed({ dot: { x, y, size, one }, middle }) {
  const right = x < middle.x;
  return html`<text class="graph-name is-pointed" x=${x + (size + 6) * (right ? 1 : -1)} y=${y}
    text-anchor=${right ? "start" : "end"}
    dominant-baseline="middle">${short(one.peer, 44)}</text>`;
}

function hint({ rings, dots }) {
  if (!dots.length) return "";
  if (!rings.length) return "No round trip is known.";
  return "The farther out, the longer the round trip. Dotted: linked for another reason than gossip.";
}

function Backdrop({ drawn }) {
  return html`<g aria-hidden="true">
    ${drawn.rings.map((ring) => html`<circle class="graph-ring" cx=${drawn.frame.middle.x} cy=${drawn.frame.middle.y}
      r=${ring.radius} />
      <text class="graph-scale" x=${drawn.frame.middle.x}
        y=${drawn.frame.middle.y - ring.radius + 3}>${ring.ms} ms</text>`)}
    ${drawn.sectors.map(({ region, arc, label }) => html`<path class="graph-sector" d=${arc} />
      ${label && html`<text class="graph-region" x=${label.x.toFixed(1)} y=${label.y.toFixed(1)}
        text-anchor=${label.anchor}
        dominant-baseline="middle"><title>${region}</title>${label.text}</text>`}`)}
  </g>`;
}
