/** JSON for people: an indented tree, and a schema as the signature of a call. */
import { html } from "../lib/html.js";

const DEPTH_MAX = 8;
const ENTRIES_MAX = 200;
const CHARS_MAX = 2_000;

const isObject = (value) => typeof value === "object" && value !== null;

/** A value on one line, cut when it is long. */
export function inline(value, most = 200) {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "–";
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

function scalar(value) {
  if (value === null || value === undefined) return html`<span class="tree-none">none</span>`;
  if (typeof value === "string" && value === "") return html`<span class="tree-none">empty</span>`;
  return html`<span class=${`tree-value is-${typeof value}`}>${inline(String(value), CHARS_MAX)}</span>`;
}

/** The word by which an element of a list is known. */
function titleOf(value, number) {
  const named = isObject(value) && !Array.isArray(value) ? value.name ?? value.type : undefined;
  return typeof named === "string" ? named : `${number + 1}`;
}

function Entry({ name, value, depth }) {
  if (!isObject(value)) return html`<li><span class="tree-key">${name}</span> ${scalar(value)}</li>`;
  const flat = Array.isArray(value) && value.every((one) => !isObject(one));
  if (flat && value.length) return html`<li><span class="tree-key">${name}</span> ${scalar(value.join(", "))}</li>`;
  const number = Array.isArray(value) ? value.length : Object.keys(value).length;
  if (!number) return html`<li><span class="tree-key">${name}</span> ${scalar("")}</li>`;
  if (depth >= DEPTH_MAX) return html`<li><span
    class="tree-key">${name}</span> ${scalar(inline(value, CHARS_MAX))}</li>`;
  return html`<li><details open=${depth < 3}><summary><span class="tree-key">${name}</span></summary>
    <${Tree} value=${value} depth=${depth + 1} /></details></li>`;
}

/** `without`: keys of the outermost object that are shown elsewhere. */
export function Tree({ value, depth = 0, without = [] }) {
  if (!isObject(value)) return scalar(value);
  const entries = Array.isArray(value)
    ? value.map((one, number) => [titleOf(one, number), one])
    : Object.entries(value).filter(([name]) => !without.includes(name));
  const left = entries.length - ENTRIES_MAX;
  return html`<ul class=${depth ? "tree" : "tree is-root"}>
    ${entries.slice(0, ENTRIES_MAX).map(([name, one], number) => html`<${Entry} key=${number} name=${name}
      value=${one} depth=${depth} />`)}
    ${left > 0 && html`<li class="tree-none">and ${left} more</li>`}</ul>`;
}

/** {"type": "object", "properties": {...}} -> "{text: string, limit?: integer}"; "any" where it says nothing. */
export function typeWords(schema, depth = 0) {
  if (!isObject(schema) || depth > 4) return "any";
  if (Array.isArray(schema.enum)) return schema.enum.slice(0, 8).map((one) => JSON.stringify(one)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  const choices = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(choices)) return choices.map((one) => typeWords(one, depth + 1)).join(" | ");
  if (Array.isArray(schema.type)) return schema.type.join(" | ");
  if (schema.type === "array") return `${typeWords(schema.items, depth + 1)}[]`;
  if (isObject(schema.properties)) return `{${parameters(schema, depth).map(parameterWords).join(", ")}}`;
  return typeof schema.type === "string" ? schema.type : "any";
}

/** [{name, type, optional, preset, text}] of an object's schema. */
export function parameters(schema, depth = 0) {
  const needed = Array.isArray(schema?.required) ? schema.required : [];
  return Object.entries(isObject(schema?.properties) ? schema.properties : {}).map(([name, inner]) => ({
    name,
    type: typeWords(inner, depth + 1),
    optional: !needed.includes(name),
    preset: inner?.default,
    text: typeof inner?.description === "string" ? inner.description : "",
  }));
}

function parameterWords({ name, type, optional, preset }) {
  return `${name}${optional ? "?" : ""}: ${type}${preset === undefined ? "" : ` = ${JSON.stringify(preset)}`}`;
}

/** What one writes to call a skill, and what comes back. */
export function Signature({ name, input, output }) {
  const wanted = parameters(input);
  const given = output && Object.keys(output).length ? typeWords(output) : "";
  return html`<code class="signature"><b>${name}</b>(${wanted.map(
    (one, number) => html`${number > 0 && ", "}<span
      class="signature-name">${one.name}</span>${one.optional ? "?" : ""}: ${
      one.type}${one.preset === undefined ? "" : ` = ${JSON.stringify(one.preset)}`}`)})${given
        && ` → ${inline(given, 120)}`}</code>`;
}
