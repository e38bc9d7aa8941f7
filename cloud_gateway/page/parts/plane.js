/** The canvas of the grid: draws the window that is scrolled to, finds the cell under the pointer or the cursor. */
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../lib/html.js";
import { percent, plural } from "../lib/format.js";
import { colour, shade } from "../lib/theme.js";
import { Badge } from "./badge.js";
import { boxOf, cellAt, layout, neighbour, paint, seenAs } from "./cells.js";
import { palette, Stamps } from "./stamps.js";

const ARROWS = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"]);

/** `regions`: [[name, cells], ...]; `turn`: grows when cells changed; `level`: see LEVELS; `faint(cell)`;
 * `open(name)`. */
export function Plane({ regions, turn, level, faint, open, size: room }) {
  const box = useRef(null);
  const canvas = useRef(null);
  const [pointed, point] = useState(null); // {block, at, byKey}
  const { ratio, scale } = seenAs();
  const { width } = room;
  const made = useMemo(() => layout(regions, width, level, { ratio, scale }), [regions, width, level, ratio, scale]);
  const size = useMemo(() => ({ width, height: Math.min(room.height, Math.ceil(made.height / ratio)) }), [room, made]);
  const stamps = useMemo(() => new Stamps(made.cell.width, made.cell.height, palette()), [made, shade.value]);
  const screen = useMemo(() => ({ image: null, wanted: 0, drawn: null }), []);
  screen.draw = () => draw(canvas.current, box.current, screen, { made, stamps, faint, size, pointed });
  const redraw = () => {
    screen.wanted ||= requestAnimationFrame(() => {
      screen.wanted = 0;
      screen.draw();
    });
  };
  useLayoutEffect(redraw, [pointed]);
  useLayoutEffect(() => {
    screen.drawn = null; // all of it anew
    redraw();
  }, [made, stamps, faint, turn, size]);
  useEffect(() => () => cancelAnimationFrame(screen.wanted), []);
  useEffect(() => point(null), [made]);
  const at = (event) => {
    const area = canvas.current.getBoundingClientRect();
    const [x, y] = [event.clientX - area.left, event.clientY - area.top];
    return cellAt(made, x * ratio, y * ratio + top(box.current, ratio));
  };
  const move = (event) => {
    const found = at(event);
    if (found?.block !== pointed?.block || found?.at !== pointed?.at) point(found);
  };
  const press = (event) => pressed(event, { made, pointed, point, open, box: box.current, ratio });
  return html`<div class="plane" ref=${box} onScroll=${redraw} style=${{ height: `${size.height}px` }}>
    <div class="plane-inside" style=${{ height: `${Math.max(size.height, Math.ceil(made.height / ratio))}px` }}>
      <canvas ref=${canvas} class="plane-canvas" tabindex="0" role="application"
        aria-label=${`Grid of ${plural(total(regions), "node")} by region. Arrow keys move, Enter opens.`}
        aria-describedby="plane-cell" onPointerMove=${move} onPointerLeave=${() => point(null)}
        onClick=${(event) => { const found = at(event); if (found) open(found.block.cells[found.at][0]); }}
        onFocus=${(event) => event.target.matches(":focus-visible") && !pointed && made.blocks[0]
          && point({ block: made.blocks[0], at: 0, byKey: true })}
        onBlur=${() => point(null)} onKeyDown=${press}></canvas>
    </div>
    <${Tip} ...${{ made, pointed, box: box.current, ratio, size }} />
  </div>`;
}

function total(regions) {
  return regions.reduce((sum, [, cells]) => sum + cells.length, 0);
}

/** What is scrolled away above, in whole screen pixels. */
function top(box, ratio) {
  return Math.round(box.scrollTop * ratio);
}

function pressed(event, { made, pointed, point, open, box, ratio }) {
  if (event.key === "Enter" && pointed) open(pointed.block.cells[pointed.at][0]);
  else if (ARROWS.has(event.key) && made.blocks.length) {
    const to = { ...(pointed ? neighbour(made, pointed, event.key) : { block: made.blocks[0], at: 0 }), byKey: true };
    const { y, height } = boxOf(made, to);
    if (y / ratio < box.scrollTop + 30) box.scrollTop = y / ratio - 30;
    const low = (y + height) / ratio;
    if (low > box.scrollTop + box.clientHeight) box.scrollTop = low - box.clientHeight + 8;
    point(to);
  } else return;
  event.preventDefault();
  event.stopPropagation();
}

function draw(canvas, box, screen, { made, stamps, faint, size, pointed }) {
  if (!canvas || !box) return;
  const height = Math.max(1, Math.round(size.height * made.ratio));
  if (canvas.width !== made.width || canvas.height !== height) {
    Object.assign(canvas, { width: made.width, height });
    canvas.style.width = `${made.width / made.ratio}px`;
    canvas.style.height = `${height / made.ratio}px`;
  }
  const pen = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  if (screen.image?.width !== made.width || screen.image?.height !== height) {
    screen.image = pen.createImageData(made.width, height);
    screen.drawn = null;
  }
  const from = top(box, made.ratio);
  paint(screen.image, made, stamps, from, faint, screen.drawn);
  screen.drawn = from;
  pen.putImageData(screen.image, 0, 0);
  titles(pen, made, from, height);
  if (made.level.named) names(pen, made, from, height, faint);
  if (pointed && made.blocks.includes(pointed.block)) ring(pen, made, pointed, from);
}

function font(size, ratio, weight = 400) {
  return `${weight} ${Math.round(size * ratio)}px system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif`;
}

function titles(pen, { blocks, title, scale }, from, height) {
  pen.textBaseline = "middle";
  for (const { name, cells, x, y, width } of blocks) {
    const middle = y - from - title / 2;
    if (middle < -title || middle > height + title) continue;
    pen.font = font(12.5, scale, 600);
    pen.fillStyle = colour("text");
    pen.fillText(name || "no region", x, middle, width * 0.6);
    const wide = Math.min(width * 0.6, pen.measureText(name || "no region").width);
    pen.font = font(11.5, scale);
    pen.fillStyle = colour("text-faint");
    const ill = cells.reduce((sum, [, state]) => sum + (state !== "ready" && state !== "left"), 0);
    pen.fillText(`${cells.length}${ill ? ` · ${ill} not ready` : ""}`, x + wide + 8 * scale, middle, width * 0.4);
  }
}

/** Over cells that have room: the name, and the load where the height allows it. */
function names(pen, made, from, height, faint) {
  const { cell, scale, level } = made;
  const two = level.height >= 36;
  pen.textBaseline = "middle";
  for (const block of made.blocks) {
    for (let at = 0; at < block.cells.length; at++) {
      const { x, y } = boxOf(made, { block, at });
      if (y - from + cell.height < 0 || y - from > height) continue;
      const [name, state, cpu] = block.cells[at];
      const room = cell.width - 34 * scale;
      const inner = { x: x + 12 * scale, y: y - from };
      pen.fillStyle = colour("surface");
      pen.fillRect(x + 6 * scale, inner.y, cell.width - 6 * scale, cell.height);
      pen.strokeStyle = colour("line");
      pen.strokeRect(x + 0.5, inner.y + 0.5, cell.width - 1, cell.height - 1);
      pen.font = font(11.5, scale, 500);
      pen.fillStyle = colour(faint(block.cells[at]) ? "text-faint" : "text");
      pen.fillText(name, inner.x, inner.y + cell.height * (two ? 0.32 : 0.52), two ? cell.width - 18 * scale : room);
      pen.fillStyle = colour("text-soft");
      pen.font = font(11, scale);
      const load = state === "ready" ? (cpu < 0 ? "" : `${cpu} %`) : state;
      if (two) pen.fillText(load, inner.x, inner.y + cell.height * 0.7, cell.width - 18 * scale);
      else if (state === "ready") {
        pen.textAlign = "right";
        pen.fillText(load, x + cell.width - 5 * scale, inner.y + cell.height * 0.52);
        pen.textAlign = "left";
      }
    }
  }
}

function ring(pen, made, pointed, from) {
  const { x, y, width, height } = boxOf(made, pointed);
  const line = Math.max(1, Math.round(1.5 * made.ratio));
  pen.lineWidth = line;
  pen.strokeStyle = colour("text");
  pen.strokeRect(x - line, y - from - line, width + 2 * line, height + 2 * line);
  pen.lineWidth = 1;
}

/** What the cell says, beside it; also read out when the cursor moves. */
function Tip({ made, pointed, box, ratio, size }) {
  const known = pointed && box && made.blocks.includes(pointed.block) ? pointed : null;
  const cell = known && known.block.cells[known.at];
  let place = { visibility: "hidden" };
  if (cell) {
    const { x, y, width, height } = boxOf(made, known);
    const right = (x + width) / ratio > size.width - 210;
    const low = (y + height) / ratio - box.scrollTop > size.height - 90;
    const left = right ? x / ratio - 8 : (x + width) / ratio + 8;
    const down = (low ? y : y + height) / ratio;
    place = { transform: `translate(${left}px, ${down}px) translate(${right ? -100 : 0}%, ${low ? -100 : 0}%)` };
  }
  return html`<div class="tip" id="plane-cell" style=${place} aria-live=${known?.byKey ? "polite" : "off"}>
    ${cell && html`<strong>${cell[0]}</strong><${Badge} state=${cell[1]} />
      <span>CPU ${percent(cell[2])}</span>
      ${cell[3] > 0 && html`<span class="tip-ill">${plural(cell[3], "unit")} not well</span>`}`}
  </div>`;
}
