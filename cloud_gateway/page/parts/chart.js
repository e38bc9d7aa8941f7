/** Load over time: the mean as a line in the band from the lowest to the highest, on uPlot. What was not measured is a
 * gap, never a line across it. */

import { html, useEffect, useMemo, useRef, useState } from "../lib/html.js";

const HEIGHT_PX = 132;
const POINTS_MAX = 2000;
const HOUR_MS = 3_600_000;

export const SPANS = [
  { name: "1h", words: "1 hour", length_ms: HOUR_MS, step_ms: 60_000 },
  { name: "6h", words: "6 hours", length_ms: 6 * HOUR_MS, step_ms: 60_000 },
  { name: "24h", words: "24 hours", length_ms: 24 * HOUR_MS, step_ms: 5 * 60_000 },
  { name: "7d", words: "7 days", length_ms: 168 * HOUR_MS, step_ms: HOUR_MS },
];

export const MEASURES = {
  cpu: { title: "Processor", unit: "%", most: 100 },
  memory: { title: "Memory", unit: "%", most: 100 },
  disk: { title: "Disk", unit: "%", most: 100 },
  accelerator: { title: "Accelerator", unit: "%", most: 100 },
  load: { title: "Load average", unit: "", most: 0 },
};

/** Spans [at_ms, low, mean, high] as columns for uPlot, with an empty moment in each hole. */
export function columns(spans, step_ms) {
  const at = [], mean = [], low = [], high = [];
  let before = null;
  for (const [when, least, middle, most] of spans.slice(-POINTS_MAX)) {
    if (before !== null && when - before > 1.5 * step_ms) {
      at.push(before + step_ms);
      mean.push(null), low.push(null), high.push(null);
    }
    at.push(when), mean.push(middle), low.push(least), high.push(most);
    before = when;
  }
  return [at, mean, low, high];
}

export function gapCount(spans, step_ms) {
  let count = 0;
  for (let i = 1; i < spans.length; i++) if (spans[i][0] - spans[i - 1][0] > 1.5 * step_ms) count++;
  return count;
}

export function figure(value, unit) {
  if (value === null || value === undefined) return "–";
  const digits = unit === "%" || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)}${unit === "%" ? " %" : unit}`;
}

/** One sentence that says what the picture shows. */
export function summary(measure, spans, step_ms, words) {
  const { title, unit } = MEASURES[measure];
  if (!spans.length) return `${title}, ${words}: nothing was measured.`;
  let low = Infinity, high = -Infinity, sum = 0;
  for (const [, least, middle, most] of spans) {
    low = Math.min(low, least), high = Math.max(high, most), sum += middle;
  }
  const holes = gapCount(spans, step_ms);
  const missing = holes ? ` ${holes} ${holes === 1 ? "gap" : "gaps"} without measurements.` : "";
  const mean = figure(sum / spans.length, unit), last = figure(spans.at(-1)[2], unit);
  return `${title}, ${words}: from ${figure(low, unit)} to ${figure(high,
    unit)}, mean ${mean}, last ${last}.${missing}`;
}

/** A custom property as a colour that a canvas understands. */
function colour(element, property) {
  const probe = element.appendChild(document.createElement("i"));
  probe.style.color = `var(${property})`;
  const resolved = getComputedStyle(probe).color;
  probe.remove();
  return resolved;
}

/** A measurement with nothing on either side has no line: it is shown as a point. */
function orphans(plot, series) {
  const values = plot.data[series];
  const found = [];
  for (let i = 0; i < values.length; i++) {
    if (values[i] !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null) found.push(i);
  }
  return found;
}

/** How much larger than usual the page is written: on very wide screens. */
export const zoom = () => parseFloat(getComputedStyle(document.documentElement).fontSize) / 14;

function options(host, { measure, from_ms, to_ms, width, onIndex }) {
  const { most } = MEASURES[measure];
  const line = colour(host, "--chart-line"), band = colour(host, "--chart-band");
  const text = colour(host, "--chart-text"), grid = colour(host, "--chart-grid");
  const scale = zoom();
  const font = `${Math.round(11 * scale)}px ${getComputedStyle(host).fontFamily}`;
  const ticks = { stroke: grid, width: 1, size: 4 };
  const axis = { stroke: text, font, ticks, grid: { stroke: grid, width: 1 } };
  const edge = { width: 0, points: { show: false } };
  return {
    width, height: Math.round(HEIGHT_PX * scale), ms: 1, legend: { show: false }, padding: [8, 8, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: "load" }, points: { size: 7, fill: line } },
    scales: {
      x: { time: true, range: () => [from_ms.current, to_ms.current] },
      y: { range: (_, low, high) => [0, most || Math.max(1, (high ?? 0) * 1.1)] },
    },
    axes: [
      { ...axis, grid: { show: false }, size: 26 * scale, space: 70 * scale, values: clockLabels },
      { ...axis, size: 34 * scale, space: 36 * scale },
    ],
    series: [
      {},
      { stroke: line, width: 1.5 * scale, points: { show: true, size: 4, width: 0, fill: line, filter: orphans } },
      edge,
      edge,
    ],
    bands: [{ series: [3, 2], fill: band }],
    hooks: { setCursor: [(plot) => onIndex(plot.cursor.idx ?? null)] },
  };
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric" });

function clockLabels(_plot, splits, _axis, _space, increment_ms) {
  return splits.map((at) => (increment_ms >= 24 * HOUR_MS || new Date(at).getHours() + new Date(at).getMinutes() === 0
    ? DAY.format(at) : CLOCK.format(at)));
}

let loaded = null;

/** The library and its style, when the first chart is shown. */
function loadPlot() {
  loaded ??= import("uplot").then(({ default: Plot }) => {
    const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: "vendor/uplot.css" });
    document.head.append(style);
    return Plot;
  });
  return loaded;
}

function useTheme() {
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const again = () => setTurn((n) => n + 1);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const watcher = new MutationObserver(again);
    watcher.observe(document.documentElement, { attributes: true, attributeFilter: ["class", "data-theme", "style"] });
    dark.addEventListener("change", again);
    return () => (watcher.disconnect(), dark.removeEventListener("change", again));
  }, []);
  return turn;
}

/** Creates the plot once for each theme; new data and widths are told to it. */
function usePlot({ measure, data, from_ms, to_ms, onIndex }) {
  const host = useRef(null), plot = useRef(null), theme = useTheme();
  const from = useRef(from_ms), to = useRef(to_ms), latest = useRef(data);
  from.current = from_ms, to.current = to_ms, latest.current = data;
  useEffect(() => {
    let gone = false;
    const watcher = new ResizeObserver(() => {
      const width = Math.floor(host.current?.clientWidth ?? 0);
      if (plot.current && width && width !== plot.current.width) plot.current.setSize({ width, height: plot.current.height });
    });
    loadPlot().then((Plot) => {
      if (gone || !host.current) return;
      const width = Math.max(120, Math.floor(host.current.clientWidth));
      const chosen = options(host.current, { measure, from_ms: from, to_ms: to, width, onIndex });
      plot.current = new Plot(chosen, latest.current, host.current);
      watcher.observe(host.current);
    });
    return () => (gone = true, watcher.disconnect(), plot.current?.destroy(), plot.current = null);
  }, [measure, theme]);
  useEffect(() => plot.current?.setData(data), [data, from_ms, to_ms]);
  return [host, plot];
}

/** One measure. `spans`: [[at_ms, low, mean, high], ...], oldest first. Arrow keys walk through the moments. */
export function Chart({ measure, spans, step_ms, from_ms, to_ms, words }) {
  const { title, unit } = MEASURES[measure];
  const data = useMemo(() => columns(spans, step_ms), [spans, step_ms]);
  const [index, setIndex] = useState(null);
  const [host, plot] = usePlot({ measure, data, from_ms, to_ms, onIndex: setIndex });
  const walk = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !plot.current || !data[0].length) return;
    event.preventDefault();
    const next = Math.min(data[0].length - 1, Math.max(0, (index ?? data[0].length) + step));
    plot.current.setCursor({ left: plot.current.valToPos(data[0][next], "x"), top: 0 });
  };
  const said = summary(measure, spans, step_ms, words);
  return html`<figure class="chart">
    <figcaption class="chart-head"><span class="chart-title">${title}</span>
      <${Reading} data=${data} index=${index} unit=${unit} /></figcaption>
    <div class="chart-plot" ref=${host} role="img" aria-label=${said} tabindex="0" onKeyDown=${walk}></div>
  </figure>`;
}

/** What the cursor points at; without one, the newest. */
function Reading({ data, index, unit }) {
  const at = index ?? data[0].length - 1;
  if (at < 0) return html`<span class="chart-reading">not measured</span>`;
  const [when, mean, low, high] = data.map((column) => column[at]);
  const day = Date.now() - when > 20 * HOUR_MS ? `${DAY.format(when)} ` : "";
  const clock = index === null ? "" : `${day}${CLOCK.format(when)}`;
  if (mean === null) return html`<span class="chart-reading"><span class="chart-at">${clock}</span> no data</span>`;
  return html`<span class="chart-reading"><span class="chart-at">${clock}</span>
    <b>${figure(mean, unit)}</b> <span class="chart-range">${figure(low, unit).replace(" %", "")}–${figure(high, unit)}</span></span>`;
}
