/** What went wrong, where, and what to do next. */
import { html } from "../lib/html.js";

export function ProblemNote({ problem, retry = null }) {
  if (!problem) return null;
  return html`<div class="problem" role="alert">
    <p class="problem-title">${problem.title || "That did not work"}
      ${problem.field && html` <code>${problem.field}</code>`}</p>
    ${problem.message !== problem.title && html`<p>${problem.message}</p>`}
    ${problem.next_step && html`<p class="problem-next">${problem.next_step}</p>`}
    ${retry && html`<p><button class="button" onClick=${retry}>Try again</button></p>`}
  </div>`;
}
