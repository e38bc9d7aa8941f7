/** Small pictures of numbers: a line without axes, a bar of parts, a meter. */
import { html } from "../lib/html.js";
import { percent } from "../lib/format.js";
import { toneOf } from "./badge.js";

/** `points`: numbers or null, oldest first. */
export function Spark({ points, max = 0, width = 96, height = 22, label = "" }) {
  const known = points.filter((point) => point !== null);
  const top = max || Math.max(1e-9, ...known);
  const x = (at) => ((at / Math.max(1, points.length - 1)) * (width - 2) + 1).toFixed(1);
  const y = (value) => (height - 2 - (Math.min(value, top) / top) * (height - 4)).toFixed(1);
  let path = "";
  points.forEach((value, at) => {
    if (value !== null) path += `${at === 0 || points[at - 1] === null ? "M" : "L"}${x(at)} ${y(value)}`;
  });
  return html`<svg class="spark" viewBox=${`0 0 ${width} ${height}`} width=${width} height=${height} role="img"
    aria-label=${label}>
    <path d=${path} /></svg>`;
}

/** `parts`: {state: number}. The order is the one given; each part is at least visible. */
export function StateBar({ parts, label = "" }) {
  const shown = Object.entries(parts).filter(([, number]) => number > 0);
  const total = shown.reduce((sum, [, number]) => sum + number, 0);
  const text = shown.map(([state, number]) => `${number} ${state}`).join(", ");
  return html`<div class="statebar" role="img" aria-label=${label ? `${label}: ${text}` : text} title=${text}>
    ${shown.map(([state, number]) => html`<span key=${state} class=${`tone-${toneOf(state)}`}
      style=${{ flexGrow: Math.max(number, total / 100) }}></span>`)}
  </div>`;
}

/** A percentage as a number with a thin bar beside it. */
export function Meter({ value, label = "" }) {
  if (value === null || value === undefined) return html`<span class="meter is-unknown">${percent(value)}</span>`;
  const tone = value >= 95 ? "is-high" : "";
  return html`<span class=${`meter ${tone}`} title=${label || undefined}>
    <span class="meter-value">${percent(value)}</span>
    <span class="meter-track" aria-hidden="true"><span style=${{ width: `${Math.min(100, value)}%` }}></span></span>
  </span>`;
}
