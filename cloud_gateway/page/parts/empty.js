/** Nothing to show: why, and what to do. */
import { html } from "../lib/html.js";

export function Empty({ title, text = "", command = "", action = null }) {
  return html`<div class="empty">
    <p class="empty-title">${title}</p>
    ${text && html`<p>${text}</p>`}
    ${command && html`<pre class="command"><code>${command}</code></pre>`}
    ${action && html`<p><a class="button" href=${action.href} onClick=${action.onClick}>${action.text}</a></p>`}
  </div>`;
}

/** Where an answer will stand: quiet grey lines of about its size. */
export function Waiting({ lines = 6, label = "Loading" }) {
  return html`<div class="waiting" role="status" aria-label=${label}>
    ${Array.from({ length: lines }, (_, at) => html`<span key=${at}></span>`)}
  </div>`;
}
