/** The fleet at one glance. */
import { html } from "../lib/html.js";
import { ViewHead } from "../parts/section.js";

export default function View() {
  return html`<${ViewHead} title="Grid" />`;
}
