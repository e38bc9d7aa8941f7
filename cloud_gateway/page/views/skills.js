/** Who can do what, ranked: who would be called first, and why others would not be. */
import { html, useEffect, useId, useMemo, useState } from "../lib/html.js";
import { get } from "../lib/api.js";
import { count, millis, plural } from "../lib/format.js";
import { useAnswer } from "../lib/answer.js";
import { onSettled } from "../lib/live.js";
import { href, param, setQuery } from "../lib/route.js";
import { Badge } from "../parts/badge.js";
import { Empty, Waiting } from "../parts/empty.js";
import { Facet, regionOptions } from "../parts/facet.js";
import { ProblemNote } from "../parts/problem.js";
import { SearchBox } from "../parts/searchbox.js";
import { ViewHead } from "../parts/section.js";
import { agentRoute, NodeLink } from "../parts/subject.js";
import { inline, parameters, Signature, Tree, typeWords } from "../parts/tree.js";
import { constraints, EXAMPLES, unfit } from "../parts/where.js";

const PAGE = 50;
const PAGES_MAX = 10;
const NODES_LOOKED_AT = 100;
const NAMES_MAX = 40;
const LEFT_OUT = 50; // as many names as one question may have

export default function Skills() {
  const asked = { skill: param("skill"), where: param("where"), region: param("region") };
  const { wrong } = constraints(asked.where);
  const [pages, setPages] = useState(1);
  const question = JSON.stringify(asked);
  useEffect(() => setPages(1), [question]);
  const found = useAnswer(wrong ? "" : "skills/search", { ...asked, limit: PAGE * pages });
  useEffect(() => onSettled("skills", 2_000, found.reload), [question, pages]);
  const kept = useLast(found.answer, question);
  const items = wrong ? [] : kept?.items ?? null;
  return html`<${ViewHead} title="Skills" />
    <div class="list-bar">
      <${SearchBox} value=${asked.skill} label="Skill, or a pattern" placeholder="Skill, or a pattern like words.*"
        set=${(skill) => setQuery({ skill })} />
      <${Where} value=${asked.where} wrong=${wrong} />
      <${Facet} title="Region" options=${regionOptions} chosen=${asked.region ? [asked.region] : []}
        choose=${(values) => setQuery({ region: values.at(-1) ?? "" })} />
      <span class="list-count" aria-live="polite">${items && !wrong ? countWords(items, kept.next) : ""}</span>
    </div>
    <${Hint} where=${asked.where} wrong=${wrong} />
    <${ProblemNote} problem=${found.problem} retry=${() => found.reload()} />
    ${items === null && !found.problem && html`<${Waiting} />`}
    ${items?.length > 0 && html`<ol class="offers" aria-label="Offers, ranked">${items.map((row, at) => html`<${Offer}
      key=${`${row.skill} ${row.agent} ${row.node}`} row=${row} rank=${at + 1} />`)}</ol>`}
    ${items?.length === 0 && !wrong && !found.problem && html`<${Nothing} asked=${asked} />`}
    ${asked.where && !wrong && html`<${LeftOut} asked=${asked} />`}
    ${kept?.next && pages < PAGES_MAX && html`<p class="list-end"><button type="button" class="button"
      onClick=${() => setPages(pages + 1)}>Show more</button></p>`}
    ${kept?.next && pages >= PAGES_MAX && html`<p
      class="list-end">The best ${count(items.length)} are shown. Say more precisely what you look for.</p>`}`;
}

/** The newest answer; the one before stays while the same question is asked anew. */
function useLast(answer, question) {
  const [kept, setKept] = useState({ question: "", answer: null });
  useEffect(() => {
    if (answer) setKept({ question, answer });
  }, [answer]);
  return answer ?? (kept.question === question ? kept.answer : null);
}

function countWords(items, next) {
  const open = items.filter((row) => !row.excluded).length;
  return `${next ? "the first " : ""}${plural(items.length, "offer")}, ${count(open)} can be called`;
}

/** What nodes say of themselves: [[name, "some, values"], ...]. */
function useAttributes() {
  const [known, setKnown] = useState([]);
  useEffect(() => {
    const control = new AbortController();
    get("nodes", { fields: "attributes", limit: NODES_LOOKED_AT }, { signal: control.signal }).then(({ items }) => {
      const values = new Map();
      for (const { attributes } of items) {
        for (const [name, value] of Object.entries(attributes)) values.set(name, (values.get(name)
          ?? new Set()).add(String(value)));
      }
      setKnown([...values].sort(([a], [b]) => a.localeCompare(b)).slice(0, NAMES_MAX).map(([name, some]) => [name,
        [...some].slice(0, 3).join(", ")]));
    }, () => undefined); // only a help
    return () => control.abort();
  }, []);
  return known;
}

function Where({ value, wrong }) {
  const list = useId();
  const known = useAttributes();
  return html`<${SearchBox} value=${value} first=${false} label="Constraints on the node"
    placeholder="Node must have: gpu_mem>=2Gi, site=plant-7"
      wrong=${wrong} list=${list} set=${(where) => setQuery({ where })} aria-describedby="where-hint" />
    <datalist id=${list}>${known.map(([name, some]) => html`<option key=${name} value=${`${name}=`} label=${some}>
      </option>`)}</datalist>`;
}

/** The constraints as they were understood, or what is wrong, or how to write some. */
function Hint({ where, wrong }) {
  const { parts } = useMemo(() => constraints(where), [where]);
  if (wrong) return html`<p class="hint is-bad" id="where-hint" role="alert">${wrong}</p>`;
  if (parts.length) {
    return html`<p class="hint"
      id="where-hint">The node must have ${parts.map(([name, operator, value], at) => html`${at > 0 && " and "}<code
      key=${at}>${name} ${operator} ${value}</code>`)}.</p>`;
  }
  return html`<p class="hint"
    id="where-hint">Constraints, with commas between: ${EXAMPLES.map(([text, words], at) => html`${at > 0 && " "}<a
    key=${text} class="example" href=${
    href("skills", { skill: param("skill"), where: text })} title=${words}><code>${text}</code></a>`)}</p>`;
}

/** Of the nearest offers without the constraints: which of them the constraints leave out, and why. */
function useLeftOut({ skill, where, region }) {
  const [rows, setRows] = useState([]);
  useEffect(() => {
    const control = new AbortController();
    const { signal } = control;
    const ask = async () => {
      const { items } = await get("skills/search", { skill, region, limit: LEFT_OUT }, { signal });
      const name = [...new Set(items.map((row) => row.node))];
      if (!name.length) return [];
      const nodes = await get("nodes", { name, fields: "name,attributes", limit: LEFT_OUT }, { signal });
      const reasons = new Map(nodes.items.map((node) => [node.name, unfit(constraints(where).parts, node.attributes)]));
      return items.filter((row) => reasons.get(row.node)).map((row) => ({ ...row, excluded: reasons.get(row.node) }));
    };
    ask().then(setRows, () => undefined); // an explanation; what went wrong is told by the search itself
    return () => control.abort();
  }, [skill, where, region]);
  return rows;
}

function LeftOut({ asked }) {
  const rows = useLeftOut(asked);
  if (!rows.length) return null;
  return html`<details class="more left-out" open>
    <summary>Left out by the constraints: ${count(rows.length)} of the nearest</summary>
    <ol class="offers" aria-label="Left out">${rows.map((row) => html`<${Offer}
      key=${`${row.skill} ${row.agent} ${row.node}`} row=${row} rank=${0} />`)}</ol></details>`;
}

function Offer({ row, rank }) {
  const { skill, agent, node, region, description, input_schema, output_schema, rtt_ms, excluded } = row;
  const [first, ...rest] = description.split("\n");
  const wanted = parameters(input_schema);
  const whole = wanted.length > 0 || rest.join("").trim() || Object.keys(output_schema).length > 0;
  return html`<li class=${excluded ? "offer is-excluded" : "offer"}>
    <span class="offer-rank" aria-label=${excluded ? "not ranked" : `rank ${rank}`}>${excluded ? "–" : rank}</span>
    <div class="offer-what"><${Signature} name=${skill} input=${input_schema} output=${output_schema} />
      ${first && html`<p class="soft">${first}</p>`}
      ${excluded && html`<p class="offer-why"><${Badge} state="excluded" tone="warn" /> ${excluded}</p>`}
      ${whole && html`<details class="more"><summary>Schema</summary><${Schema} wanted=${wanted} input=${input_schema}
        output=${output_schema} text=${rest.join("\n").trim()} /></details>`}</div>
    <div class="offer-where"><a href=${agentRoute(agent)}>${agent}</a> on <${NodeLink} name=${node} />
      <span class="faint">${[region, rtt_ms === null ? "" : millis(rtt_ms)].filter(Boolean).join(", ")}</span></div>
        </li>`;
}

function Schema({ wanted, input, output, text }) {
  return html`${text && html`<p class="offer-text">${text}</p>`}
    ${wanted.length > 0 && html`<table class="table schema" aria-label="Arguments"><thead><tr><th
      scope="col">Argument</th><th scope="col">Type</th><th scope="col">Meaning</th></tr></thead>
      <tbody>${wanted.map((one) => html`<tr key=${one.name}><td><code>${one.name}</code></td><td>
        <code>${one.type}</code> <span class="faint">${
        one.preset !== undefined ? `else ${inline(one.preset, 60)}` : one.optional ? "may be left out" : ""}</span>
          </td><td>${one.text || "–"}</td></tr>`)}</tbody></table>`}
    ${Object.keys(output).length > 0 && html`<p>Answers <code>${typeWords(output)}</code></p>`}
    <details class="more"><summary>As JSON Schema</summary><${Tree} value=${{ input, output }} /></details>`;
}

function Nothing({ asked }) {
  if (asked.skill || asked.where || asked.region) {
    return html`<${Empty} title="Nobody offers that"
      text="A name may be a pattern: words.* finds all skills that begin so. Offers appear as soon as they are made."
      action=${{ href: href("skills"), text: "Show all skills" }} />`;
  }
  return html`<${Empty} title="No skills yet"
    text="Agents offer skills. A function of an agent becomes one with a decorator; then the whole mesh can call it:"
    command=${"@agent.skill()\nasync def count(text: str) -> int: ..."} />`;
}
