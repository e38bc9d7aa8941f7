/** One node: how it is and why, its machine, its load, its neighbours, what runs there, what happened. */
import { html, useEffect, useMemo, useState } from "../lib/html.js";
import { useAnswer } from "../lib/answer.js";
import { get } from "../lib/api.js";
import { bytes, celsius, count, exact, millis, percent, shortId } from "../lib/format.js";
import { onSettled } from "../lib/live.js";
import { href, param, setQuery } from "../lib/route.js";
import { Pending, NotKnown, useItem, useRows } from "../parts/asked.js";
import { Age } from "../parts/asof.js";
import { Badge } from "../parts/badge.js";
import { Chart, MEASURES, SPANS } from "../parts/chart.js";
import { DrainBox, Followed } from "../parts/commandbox.js";
import { Empty } from "../parts/empty.js";
import { EgoGraph, NEIGHBOURS_MAX } from "../parts/graph.js";
import { InstanceTable } from "../parts/instances.js";
import { ProblemNote } from "../parts/problem.js";
import { Facts, Section, ViewHead } from "../parts/section.js";
import { EventLines, nodeRoute } from "../parts/subject.js";
import { Tree } from "../parts/tree.js";

const OLD_MS = 15_000;
const EVENTS = 12;
const NAMES_A_QUESTION = 50;

export default function Node({ args: [name] }) {
  const asked = useItem("nodes", `nodes/${encodeURIComponent(name)}`, (row) => row.name === name);
  const [command, setCommand] = useState(null);
  const node = asked.item;
  const missing = html`<${NotKnown} what="The node" name=${name} back=${{ href: href("nodes"), text: "All nodes" }} />`;
  return html`<${ViewHead} title=${name} trail=${[["Nodes", href("nodes")]]} sub=${node && html`<${Standing}
    node=${node} gone=${asked.gone} />`}>
      ${node && html`<a class="button" href=${href(["journal", name])}>Journal</a><${DrainBox} node=${node}
        said=${setCommand} />`}
    </${ViewHead}>
    <${Pending} asked=${asked} lines=${12} missing=${missing} />
    ${command && html`<${Followed} key=${command.command_id} command=${command} />`}
    ${node && html`<div class="page-grid">
      <div><${Loads} name=${name} node=${node} /><${Instances} name=${name} /><${Latest} name=${name} /></div>
      <div class="side"><${Machine} node=${node} /><${Neighbours} node=${node} /><${Cursor} name=${name} /></div>
    </div>`}`;
}

/** State, reason, age. */
function Standing({ node, gone }) {
  return html`<${Badge} state=${node.state} />
    ${node.drained && html` <${Badge} state="drained" title="takes no new units" />`}
    ${node.reason && html`<span class="standing-reason">${node.reason}</span>`}
    <span class="standing-age">heard <${Age} at=${node.proof_ms} old_ms=${OLD_MS} /></span>
    ${gone && html`<span class="standing-reason">It has left the list of nodes since.</span>`}`;
}

function Machine({ node }) {
  const { hardware, load, attributes } = node;
  const known = new Set(["region", "cpus", "memory", "gpus", "gpu_mem", "arch"]);
  const labels = Object.entries(attributes).filter(([key]) => !known.has(key));
  return html`<${Section} title="Machine">
    <${Facts} items=${[
      ["Region", node.region && html`<a href=${href("nodes", { region: node.region })}>${node.region}</a>`],
      ["Roles", node.roles.join(", ")],
      ["Processor", [hardware.cpu?.model, attributes.cpus && `${attributes.cpus} cores`,
        attributes.arch].filter(Boolean).join(", ")],
      ["Memory", attributes.memory && bytes(attributes.memory)],
      ["Accelerator", attributes.gpus ? `${attributes.gpus} with ${bytes(attributes.gpu_mem)}` : ""],
      ["Temperature", node.celsius === null ? "" : celsius(node.celsius)],
      ["Warnings", ["memory_pressure", "throttled",
        "on_battery"].filter((flag) => load[flag]).join(", ").replaceAll("_", " ")],
      ["Path", node.rtt_ms === null ? node.path : `${node.path}, ${millis(node.rtt_ms)}`],
      ["Boot", node.boot || ""],
      ["Address", node.endpoints.join(", ")],
      ["Id", html`<code title=${node.node_id}>${shortId(node.node_id)}</code>`],
    ]} />
    ${labels.length > 0 && html`<h3 class="minor">Labels</h3><ul
      class="labels">${labels.map(([key, value]) => html`<li key=${key}>
      <span class="label-key">${key}</span>${String(value)}</li>`)}</ul>`}
    ${Object.keys(hardware).length > 0 && html`<details class="more">
      <summary>Hardware, as the node probed it</summary><${Tree} value=${hardware} /></details>`}
  </${Section}>`;
}

/** Charts of the last hours. The newest sample is in the row; history is asked for when it may have grown. */
function Loads({ name, node }) {
  const chosen = SPANS.find((one) => one.name === param("span")) ?? SPANS[0];
  const [to_ms, setTo] = useState(() => Date.now());
  useEffect(() => onSettled("nodes", Math.max(10_000, chosen.step_ms / 4), () => setTo(Date.now())), [chosen]);
  const from_ms = to_ms - chosen.length_ms;
  const [kept, setKept] = useState(null);
  const asked = useAnswer(`nodes/${encodeURIComponent(name)}/load`, { from: from_ms, to: to_ms, step: chosen.step_ms });
  useEffect(() => {
    if (asked.answer) setKept({ ...asked.answer, span: chosen.name });
  }, [asked.answer]);
  const shown = kept?.span === chosen.name ? kept : null;
  const measures = Object.keys(MEASURES).filter((measure) => shown?.measures[measure]?.length);
  return html`<${Section} title="Load" note=${nowWords(node)} aside=${html`<${SpanChoice} chosen=${chosen} />`}>
    <${ProblemNote} problem=${asked.problem} retry=${asked.reload} />
    <div class="charts">${shown && measures.map((measure) => html`<${Chart} key=${measure} measure=${measure}
      spans=${shown.measures[measure]}
      step_ms=${shown.step_ms} from_ms=${from_ms} to_ms=${to_ms} words=${`last ${chosen.words}`} />`)}</div>
    ${shown && !measures.length && html`<${Empty} title=${`No load was told in the last ${chosen.words}`}
      text="Measurements appear here as soon as the gateway hears some of this node." />`}
  </${Section}>`;
}

function nowWords({ cpu_percent, memory_percent }) {
  return cpu_percent === null ? "" : `now ${percent(cpu_percent)} processor, ${percent(memory_percent)} memory`;
}

function SpanChoice({ chosen }) {
  return html`<div class="choice" role="group" aria-label="How far back">${SPANS.map((one) => html`<button
    type="button" key=${one.name}
    aria-pressed=${one === chosen} title=${one.words}
      onClick=${() => setQuery({ span: one === SPANS[0] ? "" : one.name })}>${one.name}</button>`)}</div>`;
}

function Instances({ name }) {
  const asked = useRows("instances", { node: name }, { feed: "instances", fits: (row) => row.node === name });
  return html`<${Section} title="Runs here" note=${asked.items ? countWords(asked) : ""}>
    <${Pending} asked=${asked} lines=${4} />
    ${asked.items && (asked.items.length
      ? html`<${InstanceTable} rows=${asked.items} without=${["node", "region"]} />`
      : html`<${Empty} title="Nothing runs here"
        text="The mesh places units where they fit; a drained node gets none." />`)}
    ${asked.more && html`<p class="list-end"><a href=${href("instances", { node: name })}>All units of ${name}</a></p>`}
  </${Section}>`;
}

const countWords = ({ items, more }) => `${more ? "the first " : ""}${count(items.length)}`;

/** States of the neighbours, by name: links do not tell them. */
function useStates(names) {
  const [states, setStates] = useState({});
  const asked = names.join("\n");
  useEffect(() => {
    if (!names.length) return undefined;
    const control = new AbortController();
    const ask = async () => {
      const pages = [];
      for (let at = 0; at < names.length; at += NAMES_A_QUESTION) {
        pages.push(get("nodes", { name: names.slice(at, at + NAMES_A_QUESTION), fields: "name,state", limit: 500 },
          { signal: control.signal }));
      }
      const rows = (await Promise.all(pages)).flatMap(({ items }) => items);
      setStates(Object.fromEntries(rows.map((row) => [row.name, row.state])));
    };
    const quietly = () => ask().catch(() => undefined); // without states the marks are those of unknown nodes
    quietly();
    const off = onSettled("nodes", 5_000, quietly);
    return () => (control.abort(), off());
  }, [asked]);
  return states;
}

function Neighbours({ node }) {
  const asked = useAnswer(`nodes/${encodeURIComponent(node.name)}/links`);
  const items = asked.answer?.items;
  const names = useMemo(() => (items ?? []).slice(0, NEIGHBOURS_MAX).map((one) => one.peer), [items]);
  const states = useStates(names);
  const neighbours = useMemo(() => (items ?? []).slice(0, NEIGHBOURS_MAX).map((one) => ({ ...one,
    state: states[one.peer] ?? "" })), [items, states]);
  const more = asked.answer?.more || (items?.length ?? 0) > NEIGHBOURS_MAX;
  const note = items ? `${more ? "the first " : ""}${neighbours.length}` : "";
  return html`<${Section} title="Neighbours" note=${note} aside=${html`<button type="button" class="quiet-button"
    onClick=${() => asked.reload()}>Ask again</button>`}>
    <${ProblemNote} problem=${asked.problem} retry=${() => asked.reload()} />
    ${asked.loading && !items && html`<p class="soft" role="status">Asking ${node.name} …</p>`}
    ${items && (neighbours.length
      ? html`<${EgoGraph} centre=${node} neighbours=${neighbours} route=${nodeRoute} /><${NeighbourList}
        neighbours=${neighbours} />`
      : html`<${Empty} title="It has no links"
        text="A node without links hears nobody: it is alone, cut off, or has just started." />`)}
  </${Section}>`;
}

/** The same as the picture, to be read. */
function NeighbourList({ neighbours }) {
  return html`<details class="more"><summary>As a list</summary><div class="table-box is-inside"><table class="table"
    aria-label="Neighbours">
    <thead><tr><th scope="col">Node</th><th scope="col">State</th><th scope="col">Region</th><th scope="col"
      class="numeric">Round trip</th><th scope="col">Link</th></tr></thead>
    <tbody>${neighbours.map((one) => html`<tr key=${one.peer}><td class="grow"><a
      href=${nodeRoute(one.peer)}>${one.peer}</a></td>
      <td>${one.state ? html`<${Badge} state=${one.state} />` : "–"}</td><td>${one.region}</td><td
        class="numeric">${millis(one.rtt_ms)}</td><td>${one.kind}</td></tr>`)}
    </tbody></table></div></details>`;
}

function Latest({ name }) {
  const asked = useAnswer("events", { node: name, limit: EVENTS }, { kinds: ["events"], every_ms: 1_000 });
  const [kept, setKept] = useState(null);
  useEffect(() => {
    if (asked.answer) setKept(asked.answer.items);
  }, [asked.answer]);
  return html`<${Section} title="Latest events" aside=${html`<a href=${href("events", { node: name })}>All events</a>`}>
    <${ProblemNote} problem=${asked.problem} retry=${() => asked.reload()} />
    ${kept && (kept.length ? html`<${EventLines} events=${kept} node=${false} label=${`Latest events of ${name}`} />`
      : html`<${Empty} title="Nothing has been told yet"
        text="Events of this node appear here once its journal has been read." />`)}
  </${Section}>`;
}

/** How far its journal is kept here, and what is missing of it. */
function Cursor({ name }) {
  const cursors = useRows("cursors", { node: name }, { feed: "cursors", fits: (row) => row.node === name });
  const gaps = useRows("gaps", { node: name }, { feed: "gaps", fits: (row) => row.node === name });
  const cursor = cursors.items?.at(-1);
  const missing = (gaps.items ?? []).reduce((sum, gap) => sum + gap.count, 0);
  const behind = cursor ? Math.max(0, cursor.last - cursor.number) : 0;
  return html`<${Section} title="Journal" aside=${html`<a href=${href(["journal", name])}>Read it</a>`}>
    <${Pending} asked=${cursors} lines=${3} />
    ${cursors.items && !cursor && html`<${Empty} title="Its journal has not been read yet"
      text="The gateway reads a node's journal when it can reach it through the mesh." />`}
    ${cursor && html`<${Facts} items=${[
      ["Kept up to", `event ${count(cursor.number)}, boot ${cursor.boot}`],
      ["Behind", behind ? `${count(behind)} events` : "nothing"],
      ["Lives", cursor.life > 1 ? `${cursor.life}: its journal began anew` : ""],
      ["Missing", gaps.items ? (missing ? html`<span
        class="is-bad">${count(missing)} events in ${gaps.items.length} ${gaps.items.length === 1 ? "gap"
          : "gaps"}</span>` : "nothing") : ""],
      ["Cannot be read", cursor.missing && html`<span class="is-bad">${cursor.missing}</span>`],
      ["As of", cursor.as_of_ms ? html`<span title=${exact(cursor.as_of_ms)}><${Age} at=${cursor.as_of_ms} />
        </span>` : ""],
    ]} />`}
  </${Section}>`;
}
