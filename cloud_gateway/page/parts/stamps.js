/** Cells of the grid as little pictures of pixels: made once for each size, state and load, copied ten thousand times.
 *
 * Each state has a shape of its own, so that the grid is readable without colours: ready is a full square, darker or
 * lighter by its load; suspect a triangle; unreachable a ring; down a cross; left a dot. A notch in a full
 * square's corner says that units on it are not well.
 */
import { colour } from "../lib/theme.js";

const LOADS = 8;
const NOTCHED_FROM = 7; // CSS pixels: on smaller cells it would be noise

/** "#rrggbb" -> [r, g, b]. */
function channels(name) {
  const number = parseInt(colour(name).slice(1), 16);
  return [number >> 16, (number >> 8) & 255, number & 255];
}

function mixed(from, to, part) {
  return from.map((value, at) => Math.round(value + (to[at] - value) * part));
}

/** As a pixel of ImageData seen as 32 bit words, on a machine of little end first: all that run a browser. */
function word([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** The colours of the shade that is shown now, on a ground of that name. */
export function palette(under = "ground") {
  const ground = channels(under);
  const low = channels("cell-low");
  const high = channels("cell-high");
  const loads = Array.from({ length: LOADS }, (_, at) => mixed(low, high, at / (LOADS - 1)));
  const names = { suspect: "warn", unreachable: "lost", down: "bad", left: "idle" };
  const tones = Object.fromEntries(Object.entries(names).map(([state, name]) => [state, channels(name)]));
  return { ground, loads, unknown: mixed(ground, low, 0.6), tones, notch: channels("warn"), groundWord: word(ground) };
}

const SHAPES = {
  suspect: (x, y, w, h) => (y + 0.5) / h >= 1 - ((x + 0.5) / w) * 1.0001,
  unreachable: (x, y, w, h) => {
    const rim = Math.max(1, Math.round(Math.min(w, h) / 5));
    return x < rim || y < rim || x >= w - rim || y >= h - rim;
  },
  left: (x, y, w, h) =>
    Math.abs(x + 0.5 - w / 2) <= Math.max(0.5, w / 6) && Math.abs(y + 0.5 - h / 2) <= Math.max(0.5, h / 6),
  down: (x, y, w, h) => {
    const side = Math.min(w, h);
    const [dx, dy] = [x + 0.5 - w / 2, y + 0.5 - h / 2];
    return side < 5 || Math.min(Math.abs(dx - dy), Math.abs(dx + dy)) < Math.max(0.6, side / 7) * 1.42;
  },
};

/** Pictures of one size and shade: `of(cell, faint)` -> its pixels, row by row. */
export class Stamps {
  constructor(width, height, colours) {
    Object.assign(this, { width, height, colours, made: new Map() });
  }

  /** `cell`: [name, state, cpu or -1, units that are not well]. */
  of(cell, faint) {
    const [, state, cpu, troubled] = cell;
    const load = state === "ready" ? (cpu < 0 ? LOADS : Math.min(LOADS - 1, Math.floor((cpu * LOADS) / 100))) : 0;
    const notched = troubled > 0 && state === "ready";
    const which = load * 4 + (notched ? 2 : 0) + (faint ? 1 : 0);
    let made = this.made.get(state);
    if (!made) this.made.set(state, (made = []));
    return (made[which] ??= this.make(state, load, notched, faint));
  }

  make(state, load, notched, faint) {
    const { width, height, colours } = this;
    const fade = (tone) => word(faint ? mixed(tone, colours.ground, 0.82) : tone);
    const pixels = new Uint32Array(width * height).fill(colours.groundWord);
    if (state === "ready") {
      pixels.fill(fade(load === LOADS ? colours.unknown : colours.loads[load]));
      if (notched && width >= NOTCHED_FROM * (window.devicePixelRatio || 1)) this.notch(pixels, fade(colours.notch));
      return pixels;
    }
    const tone = fade(colours.tones[state] ?? colours.tones.left);
    const shape = SHAPES[state] ?? SHAPES.left;
    if (state === "down") pixels.fill(fade(mixed(colours.ground, colours.tones.down, 0.25)));
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) if (shape(x, y, width, height)) pixels[y * width + x] = tone;
    }
    return pixels;
  }

  notch(pixels, tone) {
    const size = Math.max(2, Math.round(Math.min(this.width, this.height) * 0.45));
    for (let y = 0; y < size; y++) {
      for (let x = this.width - size + y; x < this.width; x++) pixels[y * this.width + x] = tone;
    }
  }
}
