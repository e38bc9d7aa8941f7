/** Where the cells of the grid stand, and how they come onto a canvas. All lengths are pixels of the screen. */

/** Sizes a cell may have, in CSS pixels; the last ones have room for names. */
export const LEVELS = [
  ...[3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 17, 21, 26].map((size) => ({ width: size, height: size, gap: size < 8 ? 1 : 2, named: false })),
  { width: 108, height: 26, gap: 4, named: true },
  { width: 150, height: 40, gap: 5, named: true },
];
const BLOCK_WIDTH = 230;
const BLOCK_GAP = 22;
const TITLE = 24;

/**
 * Blocks of regions in columns, each below the shortest. `regions`: [[name, cells], ...].
 * -> {level, ratio, width, height, cell: {width, height, pitchX, pitchY}, blocks: [{name, cells, x, y, columns, ...}]}
 */
export function layout(regions, width, level, { ratio = 1, titled = true } = {}) {
  const px = (value) => Math.max(1, Math.round(value * ratio));
  const cell = { width: px(level.width), height: px(level.height), gap: px(level.gap) };
  Object.assign(cell, { pitchX: cell.width + cell.gap, pitchY: cell.height + cell.gap });
  const whole = Math.max(cell.pitchX, Math.floor(width * ratio));
  const count = titled ? Math.max(1, Math.min(regions.length, Math.floor((whole + px(BLOCK_GAP)) / px(BLOCK_WIDTH + BLOCK_GAP)))) : 1;
  const each = Math.floor((whole - (count - 1) * px(BLOCK_GAP)) / count);
  const columns = Math.max(1, Math.floor((each + cell.gap) / cell.pitchX));
  const title = titled ? px(TITLE) : 0;
  const ends = new Array(count).fill(0);
  const blocks = regions.map(([name, cells]) => {
    const at = ends.indexOf(Math.min(...ends));
    const rows = Math.ceil(cells.length / columns);
    const block = { name, cells, columns, rows, x: at * (each + px(BLOCK_GAP)), y: ends[at] + title, width: each };
    ends[at] = block.y + rows * cell.pitchY + (titled ? px(BLOCK_GAP) - cell.gap : 0);
    return block;
  });
  return { level, ratio, width: whole, height: Math.max(1, ...ends), cell, title, blocks };
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
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -block.columns, ArrowDown: block.columns, Home: -at, End: block.cells.length };
  const to = at + steps[key];
  const which = blocks.indexOf(block);
  if (key === "End") return { block, at: block.cells.length - 1 };
  if (to >= 0 && to < block.cells.length) return { block, at: to };
  const other = blocks[which + Math.sign(steps[key])];
  if (!other || other.cells.length === 0) return { block, at };
  return { block: other, at: steps[key] > 0 ? Math.min(other.cells.length - 1, steps[key] === 1 ? 0 : at % block.columns) : other.cells.length - 1 };
}

/** A window of `height` screen pixels from `top` on, written into the pixels of `image`. `faint(cell)`: draw pale. */
export function paint(image, made, stamps, top, faint) {
  const words = new Uint32Array(image.data.buffer);
  words.fill(stamps.colours.groundWord);
  const { cell } = made;
  for (const block of made.blocks) {
    const from = Math.max(0, Math.floor((top - block.y) / cell.pitchY));
    const to = Math.min(block.rows, Math.ceil((top + image.height - block.y) / cell.pitchY));
    for (let at = from * block.columns; at < Math.min(block.cells.length, to * block.columns); at++) {
      const one = block.cells[at];
      const x = block.x + (at % block.columns) * cell.pitchX;
      const y = block.y + Math.floor(at / block.columns) * cell.pitchY - top;
      copy(words, image, stamps, stamps.of(one, faint(one)), x, y);
    }
  }
}

function copy(words, image, { width, height }, pixels, x, y) {
  const wide = Math.min(width, image.width - x);
  if (wide <= 0) return;
  const last = Math.min(height, image.height - y);
  for (let row = Math.max(0, -y); row < last; row++) {
    const to = (y + row) * image.width + x;
    const from = row * width;
    for (let column = 0; column < wide; column++) words[to + column] = pixels[from + column];
  }
}
