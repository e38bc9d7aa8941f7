/** A state as a word with a shape and a colour: readable without either. */
import { html } from "../lib/html.js";

const TONES = {
  ready: "good", running: "good", applied: "good", alive: "good", True: "good",
  suspect: "warn", backoff: "warn", starting: "warn", pending: "warn", queued: "warn", stopping: "warn",
  warning: "warn",
  unreachable: "lost",
  down: "bad", failed: "bad", error: "bad",
  accepted: "note",
  left: "idle", stopped: "idle", drained: "idle",
};

/** "good", "warn", "lost", "bad", "note" or "idle". */
export function toneOf(state) {
  return TONES[state] ?? "idle";
}

/** The mark alone: a filled dot, a triangle, a ring, a cross, a bar. */
export function Mark({ state, tone = toneOf(state) }) {
  return html`<svg class=${`mark tone-${tone}`} viewBox="0 0 10 10" aria-hidden="true">${shapeOf(tone)}</svg>`;
}

function shapeOf(tone) {
  if (tone === "good") return html`<circle cx="5" cy="5" r="3.4" />`;
  if (tone === "warn") return html`<path d="M5 1 9.4 9H.6z" />`;
  if (tone === "lost") return html`<circle class="hollow" cx="5" cy="5" r="3.4" />`;
  if (tone === "bad") return html`<path class="line" d="m1.5 1.5 7 7m0-7-7 7" />`;
  if (tone === "note") return html`<path d="M5 .6 9.4 5 5 9.4.6 5z" />`;
  return html`<path class="line" d="M1.5 5h7" />`;
}

export function Badge({ state, title = "", tone }) {
  return html`<span class=${`badge tone-${tone ?? toneOf(state)}`} title=${title || undefined}
    ><${Mark} state=${state} tone=${tone} />${state}</span>`;
}
