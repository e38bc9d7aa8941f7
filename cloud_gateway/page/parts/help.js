/** The keys that hold here. */
import { html } from "../lib/html.js";
import { shortcuts } from "../lib/keys.js";
import { Dialog } from "./dialog.js";

export function Help({ close }) {
  const groups = new Map();
  for (const one of shortcuts.value) groups.set(one.group, [...(groups.get(one.group) ?? []), one]);
  return html`<${Dialog} title="Keys" close=${close}>
    <div class="keys">${[...groups].map(([group, entries]) => html`<section key=${group}><h3>${group}</h3>
      <dl>${entries.map(({ keys, text }) => html`<div key=${keys}>
        <dt>${keys.split(" ").map((key) => html`<kbd key=${key}>${key}</kbd>`)}</dt><dd>${text}</dd></div>`)}</dl>
          </section>`)}</div>
  </${Dialog}>`;
}
