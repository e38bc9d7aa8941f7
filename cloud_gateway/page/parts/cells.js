/** Where the cells of the grid stand, and how they come onto a canvas. All lengths are pixels of the screen. */

function square(size) {
  return { width: size, height: size, gap: size < 8 ? 1 : 2, named: false };
}

/** Sizes a cell may have, in CSS pixels; the last ones have room for names. */
export const LEVELS = [
  ...[3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 17, 21, 26, 32, 40].map(square),
  { width: 108, height: 26, gap: 4, named: true },
  { width: 150, height: 40, gap: 5, named: true },
];
const USUAL_FONT = 14;
const BLOCK_WIDTH = 230;
const BLOCK_GAP = 22;
const TITLE = 24;

/**
 * Blocks of regions in columns, each below the shortest; as many columns as make it least high. `regions`:
 * [[name, cells], ...]; `ratio`: screen pixels of a CSS pixel; `scale`: how much larger than usual the page's type is,
 * and so the cells are.
 * -> {level, ratio, scale: of both, width, height, cell: {width, height, pitchX, pitchY}, title: height of one,
 * blocks: [{name, cells, x, y, width, columns, rows}]}
 */
export function layout(regions, width, level, { ratio = 1, scale = 1, titled = true } = {}) {
  const px = (value) => Math.max(1, Math.round(value * ratio * scale));
  const cell = { width: px(level.width), height: px(level.height), gap: px(level.gap) };
  Object.assign(cell, { pitchX: cell.width + cell.gap, pitchY: cell.height + cell.gap });
  const whole = Math.max(cell.pitchX, Math.floor(width * ratio));
  const [title, space] = titled ? [px(TITLE), px(BLOCK_GAP)] : [0, 0];
  const room = titled ? Math.floor((whole + space) / (px(BLOCK_WIDTH) + space)) : 1;
  const most = Math.max(1, Math.min(regions.length, room));
  const put = (count) => placed(regions, count, { cell, whole, title, space });
  let { blocks, height } = put(most);
  for (let count = most - 1; count > most / 2; count--) {
    const other = put(count);
    if (other.height < height) ({ blocks, height } = other);
  }
  return { level, ratio, scale: ratio * scale, width: whole, height, cell, title, blocks };
}

function placed(regions, count, { cell, whole, title, space }) {
  const width = Math.floor((whole - (count - 1) * space) / count);
  const columns = Math.max(1, Math.floor((width + cell.gap) / cell.pitchX));
  const ends = new Array(count).fill(0);
  const blocks = regions.map(([name, cells]) => {
    const at = ends.indexOf(Math.min(...ends));
    const rows = Math.ceil(cells.length / columns);
    const block = { name, cells, columns, rows, width, x: at * (width + space), y: ends[at] + title };
    ends[at] = block.y + rows * cell.pitchY + (space && space - cell.gap);
    return block;
  });
  return { blocks, height: Math.max(1, ...ends) };
}

/** How the page is seen: see layout. */
export function seenAs() {
  const font = parseFloat(getComputedStyle(document.documentElement).fontSize);
  return { ratio: window.devicePixelRatio || 1, scale: font / USUAL_FONT };
}

/** The largest cells with which everything is seen at once; the smallest there are, if nothing is. */
export function fitting(regions, width, height, options) {
  for (let at = LEVELS.length - 1; at > 0; at--) {
    const made = layout(regions, width, LEVELS[at], options);
    if (made.height <= height * made.ratio) return at;
  }
  return 0;
}

/** The cell under a point (screen pixels from the top of everything): {block, at} or null. */
export function cellAt({ blocks, cell }, x, y) {
  for (const block of blocks) {
    const column = Math.floor((x - block.x) / cell.pitchX);
    const row = Math.floor((y - block.y) / cell.pitchY);
    if (x < block.x || y < block.y || column >= block.columns || row >= block.rows) continue;
    const at = row * block.columns + column;
    return at < block.cells.length ? { block, at } : null;
  }
  return null;
}

/** Where a cell stands: {x, y, width, height}. */
export function boxOf({ cell }, { block, at }) {
  const x = block.x + (at % block.columns) * cell.pitchX;
  const y = block.y + Math.floor(at / block.columns) * cell.pitchY;
  return { x, y, width: cell.width, height: cell.height };
}

/** The cell that an arrow key leads to; from one block to the next in its order. */
export function neighbour({ blocks }, { block, at }, key) {
  const { columns, cells } = block;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -at, End: cells.length };
  const to = at + steps[key];
  const which = blocks.indexOf(block);
  if (key === "End") return { block, at: cells.length - 1 };
  if (to >= 0 && to < cells.length) return { block, at: to };
  const other = blocks[which + Math.sign(steps[key])];
  if (!other || other.cells.length === 0) return { block, at };
  const last = other.cells.length - 1;
  if (steps[key] < 0) return { block: other, at: last };
  return { block: other, at: key === "ArrowDown" ? Math.min(last, at % columns) : 0 };
}

/** A window of the image's height from `top` on, written into its pixels. `faint(cell)`: draw pale. `before`: the
 * `top` with which the image was drawn last, when nothing but that has changed: then only what has come into sight is
 * drawn. */
export function paint(image, made, stamps, top, faint, before = null) {
  const words = new Uint32Array(image.data.buffer);
  const moved = before === null ? image.height : top - before;
  if (moved === 0) return;
  if (Math.abs(moved) >= image.height) return void strip(words, image, made, stamps, top, faint, 0, image.height);
  if (moved > 0) {
    words.copyWithin(0, moved * image.width);
    strip(words, image, made, stamps, top, faint, image.height - moved, image.height);
  } else {
    words.copyWithin(-moved * image.width, 0, (image.height + moved) * image.width);
    strip(words, image, made, stamps, top, faint, 0, -moved);
  }
}

/** Lines `first` to `last` (not included) of the window. */
function strip(words, image, { blocks, cell }, stamps, top, faint, first, last) {
  words.fill(stamps.colours.groundWord, first * image.width, last * image.width);
  for (const block of blocks) {
    const from = Math.max(0, Math.floor((top + first - block.y) / cell.pitchY));
    const to = Math.min(block.rows, Math.ceil((top + last - block.y) / cell.pitchY));
    const end = Math.min(block.cells.length, to * block.columns);
    for (let at = from * block.columns; at < end; at++) {
      const one = block.cells[at];
      const x = block.x + (at % block.columns) * cell.pitchX;
      const y = block.y + Math.floor(at / block.columns) * cell.pitchY - top;
      copy(words, image.width, stamps, stamps.of(one, faint(one)), x, y, first, last);
    }
  }
}

function copy(words, width, stamps, pixels, x, y, first, last) {
  const wide = Math.min(stamps.width, width - x);
  const end = Math.min(stamps.height, last - y);
  for (let row = Math.max(0, first - y); row < end; row++) {
    const to = (y + row) * width + x;
    const from = row * stamps.width;
    for (let column = 0; column < wide; column++) words[to + column] = pixels[from + column];
  }
}
