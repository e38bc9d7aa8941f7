/** A titled part of a view, and the head of a view. */
import { html, useEffect } from "../lib/html.js";

export function Section({ title, note = "", aside = null, children, class: name = "" }) {
  return html`<section class=${`section ${name}`}>
    <header class="section-head"><h2>${title}</h2>${note && html`<span class="section-note">${note}</span>`}
      ${aside && html`<div class="section-aside">${aside}</div>`}</header>
    ${children}
  </section>`;
}

/** The head of a view; also names the tab. `trail`: [[text, href], ...] that lead here. */
export function ViewHead({ title, trail = [], sub = null, children }) {
  useEffect(() => {
    document.title = `${title} · meshnode`;
  }, [title]);
  return html`<header class="view-head">
    <div class="view-title">
      ${trail.length > 0 && html`<nav class="trail" aria-label="You are here">
        ${trail.map(([text, to]) => html`<a key=${to} href=${to}>${text}</a><span aria-hidden="true">/</span>`)}</nav>`}
      <h1 tabindex="-1">${title}</h1>${sub && html`<div class="view-sub">${sub}</div>`}
    </div>
    ${children && html`<div class="view-actions">${children}</div>`}
  </header>`;
}

/** Facts as pairs of word and value: [["CPU", "8 cores"], ...]; empty ones are left out. */
export function Facts({ items }) {
  const known = items.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return html`<dl class="facts">${known.map(([name, value]) => html`
    <div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}
