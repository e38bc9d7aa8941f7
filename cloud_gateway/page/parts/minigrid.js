/** A small still picture of a region's nodes: the grid without names. */
import { html, useLayoutEffect, useRef, useState } from "../lib/html.js";
import { shade } from "../lib/theme.js";
import { layout, LEVELS, paint } from "./cells.js";
import { palette, Stamps } from "./stamps.js";

const HEIGHT = 84;
const stamps = new Map();

/** The largest cells of which `count` fit into the width and the usual height. */
function levelFor(count, width) {
  const squares = LEVELS.filter(({ named, width: side }) => !named && side <= 12);
  const rows = (pitch) => Math.ceil(count / Math.max(1, Math.floor(width / pitch)));
  const fits = ({ width: side, gap }) => rows(side + gap) * (side + gap) <= HEIGHT;
  return squares.findLast(fits) ?? squares[0];
}

function stampsOf({ cell }) {
  const key = `${shade.value} ${cell.width} ${cell.height}`;
  if (!stamps.has(key)) stamps.set(key, new Stamps(cell.width, cell.height, palette("surface")));
  return stamps.get(key);
}

/** `cells` null: not here yet; `count` keeps its place. `turn` grows when cells changed. */
export function MiniGrid({ cells, count, turn }) {
  const canvas = useRef(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const seen = new ResizeObserver(([{ contentRect }]) => setWidth(Math.floor(contentRect.width)));
    seen.observe(canvas.current.parentElement);
    return () => seen.disconnect();
  }, []);
  const level = levelFor(count, width || 240);
  const rows = Math.ceil(count / Math.max(1, Math.floor((width || 240) / (level.width + level.gap))));
  const height = rows * (level.height + level.gap);
  useLayoutEffect(() => {
    if (!cells || !width) return;
    const made = layout([["", cells]], width, level, { ratio: window.devicePixelRatio || 1, titled: false });
    Object.assign(canvas.current, { width: made.width, height: made.height });
    const pen = canvas.current.getContext("2d", { alpha: false, willReadFrequently: true });
    const image = pen.createImageData(made.width, made.height);
    paint(image, made, stampsOf(made), 0, () => false);
    pen.putImageData(image, 0, 0);
    canvas.current.style.width = `${made.width / made.ratio}px`;
    canvas.current.style.height = `${made.height / made.ratio}px`;
  }, [cells, cells?.length, width, turn, shade.value]);
  return html`<span class="minigrid" style=${{ minHeight: `${height}px` }}>
    <canvas ref=${canvas} aria-hidden="true" width="1" height="1"></canvas></span>`;
}
