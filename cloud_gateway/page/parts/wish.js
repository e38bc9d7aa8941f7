/** How far a document is: units that run, that start, that wait; and its conditions. */
import { html } from "../lib/html.js";
import { count } from "../lib/format.js";
import { Badge } from "./badge.js";

// Conditions that are good when they are false.
const BAD_WHEN_TRUE = new Set(["Pending", "Leaving"]);

export function WishBar({ wanted, running, pending, label }) {
  const rest = Math.max(0, wanted - running - pending);
  const parts = [["running", running], ["starting", rest], ["pending", pending]].filter(([, number]) => number > 0);
  const text = wanted ? parts.map(([word, number]) => `${number} ${word}`).join(", ") : "nothing is wanted";
  return html`<div class="wishbar" role="img" aria-label=${`${label}: ${text}`} title=${text}>
    ${parts.map(([word, number]) => html`<span key=${word} class=${`is-${word}`}
      style=${{ flexGrow: Math.max(number, wanted / 100) }}></span>`)}</div>`;
}

export function wishWords({ wanted, running, pending }) {
  if (!wanted) return "nothing is wanted";
  return `${count(running)} of ${count(wanted)} running${pending ? `, ${count(pending)} pending` : ""}`;
}

/** "good", "warn" or "idle" by status; a condition like Pending is good when it is false. */
export function conditionTone({ type, status }) {
  if (status !== "True" && status !== "False") return "idle";
  return (status === "True") === BAD_WHEN_TRUE.has(type) ? "warn" : "good";
}

/** The condition a person should read first: the first that is not well, else Ready. */
export function leading(conditions) {
  return conditions.find((one) => conditionTone(one) === "warn") ?? conditions.find((one) => one.type === "Ready")
    ?? conditions[0];
}

export function Conditions({ conditions }) {
  return html`<ul class="conditions">${conditions.map((one) => html`<li key=${one.type}>
    <span class="condition-name"><${Badge} state=${one.type} tone=${conditionTone(one)} /></span>
    <span class="condition-status">${one.status === "True" ? "yes" : one.status === "False" ? "no" : "not known"}</span>
    <span class="condition-text">${one.message || one.reason}${one.message && one.reason && html` <code
      class="faint">${one.reason}</code>`}</span></li>`)}</ul>`;
}
