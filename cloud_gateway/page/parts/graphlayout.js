/** Where a node's neighbours stand: a rule, not a simulation. A region is a sector, the distance from the middle is the
 * round trip (logarithmic, with rings to read it by). The same facts always give the same picture. */

export const NEIGHBOURS_MAX = 300;
const NAMED_MAX = 40;
const HEIGHT_PX = [260, 560], ROUND_PX = 52; // around the outer ring there is room for the words of regions
const SECTOR_GAP = 0.12;
const RINGS_MS = [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000];
const CHAR_PX = 7.3, LINE_PX = 14, REGION_CHARS = 16;
const NAME_CHARS = [20, 13, 9];

/** Cut in the middle: names of a fleet often begin alike. */
export function short(name, most) {
  if (name.length <= most) return name;
  const tail = Math.floor((most - 1) / 2);
  return `${name.slice(0, most - 1 - tail)}…${name.slice(name.length - tail)}`;
}

/** How much of the middle's name fits inside the rings. */
export const centreChars = (width) => Math.max(10, Math.min(28, Math.floor(width / 26)));

/** Sizes of a picture that is so wide, in pixels of the screen. */
export function geometry(width) {
  const height = Math.min(HEIGHT_PX[1], Math.max(HEIGHT_PX[0], Math.round(width * 0.84)));
  const outer = Math.min(height, width) / 2 - ROUND_PX;
  return { width, height, middle: { x: width / 2, y: height / 2 }, inner: outer * 0.36, outer, unknown: outer + 9,
    arc: outer + 18, region: outer + 30 };
}

const byName = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** Neighbours by region, regions and names in order: [[region, [neighbour, ...]], ...]. */
export function grouped(neighbours) {
  const regions = new Map();
  for (const one of neighbours.slice(0, NEIGHBOURS_MAX)) regions.set(one.region, [...(regions.get(one.region)
    ?? []), one]);
  for (const some of regions.values()) some.sort((a, b) => byName(a.peer, b.peer));
  return [...regions].sort(([a], [b]) => byName(a, b));
}

/** The scale of round trips: two rings that enclose all of them, and those between. */
export function rings(neighbours) {
  const known = neighbours.map((one) => one.rtt_ms).filter((rtt) => Number.isFinite(rtt) && rtt > 0);
  if (!known.length) return [];
  const least = Math.min(...known), most = Math.max(...known);
  const first = Math.max(0, RINGS_MS.findLastIndex((ring) => ring <= least));
  const found = RINGS_MS.findIndex((ring) => ring >= most);
  const last = found < 0 ? RINGS_MS.length - 1 : found;
  return RINGS_MS.slice(Math.min(first, RINGS_MS.length - 2), Math.max(last, first + 1) + 1);
}

function radius(rtt_ms, scale, { inner, outer, unknown }) {
  if (!Number.isFinite(rtt_ms) || !scale.length) return unknown;
  const low = Math.log(scale[0]), high = Math.log(scale.at(-1));
  const share = (Math.log(Math.max(rtt_ms, scale[0])) - low) / (high - low);
  return inner + (outer - inner) * Math.min(1, share);
}

const at = ({ middle }, angle, distance) => ({ x: middle.x + distance * Math.cos(angle),
  y: middle.y + distance * Math.sin(angle) });

/** {dots: [{x, y, angle, one, size, label}], sectors: [{region, arc, label}], rings: [{ms, radius}], frame}. A label is
 * {x, y, anchor, text} where it overlaps nothing, or null. */
export function layout(neighbours, centre, width) {
  const frame = geometry(width);
  const regions = grouped(neighbours);
  const total = regions.reduce((sum, [, some]) => sum + some.length, 0);
  const scale = rings(neighbours);
  const gap = regions.length > 1 ? Math.min(SECTOR_GAP, Math.PI / regions.length) : 0;
  const free = 2 * Math.PI - gap * regions.length;
  const size = total > 120 ? 3 : total > NAMED_MAX ? 4 : 5.5;
  const dots = [], sectors = [];
  let angle = -Math.PI / 2 + gap / 2;
  for (const [region, some] of regions) {
    const width = (free * some.length) / total;
    some.forEach((one, number) => {
      const turn = angle + (width * (number + 0.5)) / some.length;
      dots.push({ ...at(frame, turn, radius(one.rtt_ms, scale, frame)), angle: turn, one, size });
    });
    sectors.push({ region, from: angle, to: angle + width });
    angle += width + gap;
  }
  const drawn = scale.map((ms) => ({ ms, radius: radius(ms, scale, frame) }));
  const { x, y } = frame.middle;
  const boxes = new Boxes(frame, [
    box(x, y + 22, "middle", short(centre, centreChars(width))), ...dots.map(around), ...drawn.map((ring) => box(x,
      y - ring.radius, "middle", `${ring.ms} ms`)),
  ]);
  const words = sectors.map((sector) => ({ ...sector, arc: arc(sector, frame), label: worded(sector, frame, boxes) }));
  return { frame, rings: drawn, sectors: words, dots: dots.map((dot) => ({ ...dot, label: total <= NAMED_MAX
    ? named(dot, boxes) : null })) };
}

/** Rectangles that are taken. */
class Boxes {
  constructor({ width, height }, taken) {
    Object.assign(this, { width, height, taken });
  }

  /** The first of these labels that overlaps nothing and lies within the picture, from now on taken; else null. */
  first(labels) {
    const found = labels.find((label) => this.free(box(label.x, label.y, label.anchor, label.text)));
    if (found) this.taken.push(box(found.x, found.y, found.anchor, found.text));
    return found ?? null;
  }

  free({ left, right, top, bottom }) {
    if (left < 0 || right > this.width || top < 0 || bottom > this.height) return false;
    return !this.taken.some((other) => left < other.right && right > other.left && top < other.bottom
      && bottom > other.top);
  }
}

function box(x, y, anchor, text) {
  const width = text.length * CHAR_PX;
  const left = anchor === "start" ? x : anchor === "end" ? x - width : x - width / 2;
  return { left, right: left + width, top: y - LINE_PX / 2, bottom: y + LINE_PX / 2 };
}

function around({ x, y, size }) {
  return { left: x - size, right: x + size, top: y - size, bottom: y + size };
}

/** The label of a dot: outwards if it can be, else at another side, else shorter; else it has none. */
function named({ x, y, angle, size, one }, boxes) {
  const gap = size + 4;
  const places = NAME_CHARS.flatMap((most) => {
    const text = short(one.peer, most);
    const right = { x: x + gap, y, anchor: "start", text }, left = { x: x - gap, y, anchor: "end", text };
    const above = { x, y: y - gap - LINE_PX / 2, anchor: "middle", text }, below = { x, y: y + gap + LINE_PX / 2,
      anchor: "middle", text };
    const sides = Math.cos(angle) >= 0 ? [right, left] : [left, right];
    const ends = Math.sin(angle) >= 0 ? [below, above] : [above, below];
    return Math.abs(Math.cos(angle)) < 0.4 ? [ends[0], ...sides, ends[1]] : [...sides, ...ends];
  });
  return boxes.first(places);
}

const anchorOf = (angle) => (Math.abs(Math.cos(angle)) < 0.3 ? "middle" : Math.cos(angle) > 0 ? "start" : "end");

/** The word of a region, outside its arc, where it is free. */
function worded({ region, from, to }, frame, boxes) {
  const text = short(region || "no region", REGION_CHARS);
  const places = [];
  for (const distance of [frame.region, frame.region + 10, frame.region + 20]) {
    for (const share of [0.5, 0.3, 0.7, 0.1, 0.9]) {
      const angle = from + (to - from) * share;
      places.push({ ...at(frame, angle, distance), anchor: anchorOf(angle), text });
    }
  }
  return boxes.first(places);
}

function arc({ from, to }, frame) {
  const a = at(frame, from, frame.arc), b = at(frame, Math.min(to, from + 2 * Math.PI - 0.001), frame.arc);
  return `M${a.x.toFixed(1)} ${a.y.toFixed(1)}A${frame.arc} ${frame.arc} 0 ${to - from > Math.PI ? 1
    : 0} 1 ${b.x.toFixed(1)} ${b.y.toFixed(1)}`;
}
