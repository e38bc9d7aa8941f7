/** Requests to the mesh: asked with care, and followed until the mesh is as asked. */
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { hasToken, post, setToken } from "../lib/api.js";
import { ago, duration, exact, time } from "../lib/format.js";
import { href } from "../lib/route.js";
import { useItem } from "./asked.js";
import { Badge, Mark } from "./badge.js";
import { Dialog } from "./dialog.js";
import { ProblemNote } from "./problem.js";

const REPLICAS_MAX = 1_000_000;
const MANIFEST_CHARS_MAX = 512 * 1024;
const KINDS = ["Agent", "AgentCluster"];

/** A request in words: "scale words to 3". */
export function requestWords({ verb, body }) {
  switch (verb) {
    case "scale":
      return `scale ${body.name}${body.agent ? `, agent ${body.agent},` : ""} to ${body.replicas}`;
    case "drain":
    case "resume":
      return `${verb} ${body.node}`;
    case "delete":
      return `delete ${body.kind} ${body.namespace}/${body.name}`;
    case "apply": {
      const { kind = "a manifest", metadata = {} } = body.manifest ?? {};
      return `apply ${kind} ${metadata.name ?? ""}`.trim();
    }
    default:
      return verb;
  }
}

const STEPS = [
  ["queued", "kept by the gateway; no node has taken it yet"],
  ["accepted", "durable at a node; the mesh is on its way"],
  ["applied", "the mesh is as it was asked to be"],
];

/** How far a request is: queued, accepted, applied; or where it failed, in the node's words. */
export function Timeline({ command }) {
  const failed = command.state === "failed";
  const reached = failed ? (command.attempts > 0 ? 1 : 0) : STEPS.findIndex(([state]) => state === command.state);
  return html`<ol class="timeline" aria-label=${`Request: ${command.state}`}>
    ${STEPS.map(([state, text], number) => {
      const here = !failed && number === reached;
      const done = number < reached || (here && state === "applied");
      const tone = done ? "good" : here ? "note" : "idle";
      return html`<li key=${state} class=${`timeline-step ${done ? "is-done" : here ? "is-here" : "is-ahead"}`}
        aria-current=${here ? "step" : undefined}><${Mark} tone=${tone} /> <b>${state}</b>
        <span class="timeline-text">${here || done ? stepTime(command, number, here) || text : text}</span></li>`;
    })}
    ${failed && html`<li class="timeline-step is-failed" aria-current="step"><${Mark} tone="bad" /> <b>failed</b>
      <span class="timeline-text">${time(command.changed_ms)}; it will not be tried again</span></li>`}
  </ol>`;
}

function stepTime({ asked_ms, changed_ms }, number, here) {
  if (number === 0) return time(asked_ms);
  return here && changed_ms ? `${time(changed_ms)}, after ${duration(changed_ms - asked_ms)}` : "";
}

/** One request, followed live. */
export function Followed({ command }) {
  const { item } = useItem("commands", `commands/${encodeURIComponent(command.command_id)}`,
    (row) => row.command_id === command.command_id);
  const row = item ?? command;
  return html`<div class="followed" role="status">
    <p class="followed-head"><${Badge} state=${row.state} /> <b>${requestWords(row)}</b>
      <a href=${href("commands", { q: row.command_id })}>all requests</a></p>
    <${Timeline} command=${row} />
    ${row.answer && html`<p
      class=${row.state === "failed" ? "followed-answer is-bad" : "followed-answer"}>${row.answer}</p>`}
  </div>`;
}

/** Why nothing can be asked yet, and how to change that. `done()`: a token was given. */
function TokenNeeded({ done }) {
  const field = useRef(null);
  const keep = (event) => {
    event.preventDefault();
    const token = field.current.value.trim();
    if (!token) return;
    setToken(token);
    done();
  };
  return html`<form class="token" onSubmit=${keep}>
    <p>Reading needs no token here; requests do. <code>meshnode gateway</code> prints it once, at its start, in its
      address: what stands behind <code>#token=</code>. Open the page by that address, or paste the token here. It is
      kept for this tab only.</p>
    <label class="field"><span>Token</span><input ref=${field} type="password" autocomplete="off"
      spellcheck=${false} required /></label>
    <p class="dialog-actions"><button class="button is-main">Use this token</button></p></form>`;
}

/** The question before a request. `said(command)`: it was taken. The same question asked twice is one request. */
function Confirm({ title, what, verb, body, action, danger, close, said }) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const [allowed, setAllowed] = useState(hasToken());
  const key = useRef(crypto.randomUUID());
  const ask = async () => {
    setBusy(true);
    setProblem(null);
    try {
      const { item } = await post("commands", { verb, body }, { key: key.current });
      said(item);
    } catch (error) {
      setProblem(error);
      setBusy(false);
      if (error.status === 401) setAllowed(false);
      if (error.status) key.current = crypto.randomUUID(); // refused: the next one is another request
    }
  };
  return html`<${Dialog} title=${title} close=${close}>
    <div class="confirm">${what.map((text) => html`<p key=${text}>${text}</p>`)}
      <${ProblemNote} problem=${problem} />
      ${allowed
        ? html`<p class="dialog-actions"><button type="button" class="button" onClick=${close}>Cancel</button>
          <button type="button" class=${danger ? "button is-grave" : "button is-main"} disabled=${busy}
            onClick=${ask}>${
            busy ? "Asking …" : action}</button></p>`
        : html`<${TokenNeeded} done=${() => (setProblem(null), setAllowed(true))} />`}
    </div></${Dialog}>`;
}

/** A button that asks first. `what`: sentences that say what will happen. */
export function AskButton({ children, title, what, verb, body, action, danger = false, disabled = false, said }) {
  const [open, setOpen] = useState(false);
  return html`<button type="button" class=${danger ? "button is-grave" : "button"} disabled=${disabled}
    onClick=${() => setOpen(true)}>${children}</button>
    ${open && html`<${Confirm} ...${{ title, what, verb, body, action, danger }} close=${() => setOpen(false)}
      said=${(command) => (setOpen(false), said(command))} />`}`;
}

/** Take a node out of work, or back into it. */
export function DrainBox({ node, said }) {
  if (node.drained) {
    return html`<${AskButton} verb="resume" body=${{ node: node.name }} action="Resume" said=${said}
      title=${`Resume ${node.name}?`}
      what=${[`${node.name} takes new units again. Those that moved away stay where they are.`]}>Resume</${AskButton}>`;
  }
  return html`<${AskButton} verb="drain" body=${{ node: node.name }} action="Drain" said=${said} danger=${true}
    title=${`Drain ${node.name}?`} what=${[
      node.agents
        ? `Its ${node.agents} ${node.agents === 1 ? "agent moves"
          : "agents move"} to other nodes, each after its successor has its state.`
        : "It runs no agents now.",
      "Nothing new is placed there until it is resumed. The node itself stays in the mesh.",
    ]}>Drain …</${AskButton}>`;
}

/** How many units are wanted. `name`: as the mesh knows it ("words", "cluster/default/line3"). `agents`: of a
 * cluster. */
export function ScaleBox({ name, wanted, agents = [], said }) {
  const [replicas, setReplicas] = useState(String(wanted ?? 1));
  const [agent, setAgent] = useState(agents[0] ?? "");
  useEffect(() => setReplicas(String(wanted ?? 1)), [wanted]);
  const number = /^\d{1,7}$/.test(replicas.trim()) ? Number(replicas) : NaN;
  const valid = number <= REPLICAS_MAX;
  const body = { name, replicas: valid ? number : 0, ...(agents.length > 1 ? { agent } : {}) };
  const whose = agents.length > 1 ? `${agent} of ${name}` : name;
  return html`<div class="box scale-box">
    ${agents.length > 1 && html`<label class="field"><span>Agent</span><select value=${agent}
      onChange=${(event) => setAgent(event.target.value)}>
      ${agents.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}</select></label>`}
    <label class="field"><span>Replicas</span><input type="text" inputmode="numeric" value=${replicas}
      aria-invalid=${!valid}
      onInput=${(event) => setReplicas(event.target.value)} /></label>
    <${AskButton} verb="scale" body=${body} action="Scale" disabled=${!valid} danger=${valid && number === 0}
      said=${said}
      title=${`Scale ${whose} to ${valid ? number : "?"}?`}
        what=${scaleWords(whose, number, wanted)}>Scale …</${AskButton}>
    ${!valid && html`<span class="field-note">a whole number up to ${REPLICAS_MAX}</span>`}</div>`;
}

function scaleWords(whose, number, wanted) {
  if (number === 0) return [`Every unit of ${whose} is stopped. Its document and the state it kept stay.`];
  const change = wanted === undefined || wanted === null ? "" : `; ${wanted} are wanted now`;
  return [`The mesh then runs ${number} of ${whose}${change}.`,
    "Each new unit goes to a node that fits; what fits nowhere waits, and says why."];
}

/** What is wrong with a manifest, "" if it may be asked for; and the manifest. */
export function readManifest(text) {
  if (!text.trim()) return ["", null];
  if (text.length > MANIFEST_CHARS_MAX) return [`More than ${MANIFEST_CHARS_MAX / 1024} KiB.`, null];
  let manifest;
  try {
    manifest = JSON.parse(text);
  } catch (error) {
    const yaml = /^\s*(apiVersion|kind|---|#)/.test(text);
    return [yaml ? "This looks like YAML. The page reads JSON only; `meshnode apply -f FILE` reads both."
      : `Not JSON: ${error.message}`, null];
  }
  if (typeof manifest !== "object" || manifest === null
    || Array.isArray(manifest)) return ["A manifest is one JSON object.", null];
  if (!KINDS.includes(manifest.kind)) return [`kind: must be ${KINDS.join(" or ")}.`, null];
  if (!manifest.metadata?.name) return ["metadata.name: is missing.", null];
  return ["", manifest];
}

const EXAMPLE = `{
  "apiVersion": "v1",
  "kind": "AgentCluster",
  "metadata": {"name": "words-team"},
  "spec": {"agents": [{"name": "words", "replicas": 3}]}
}`;

/** A manifest, applied. `start`: what stands in it at first. */
export function ApplyBox({ start = "", said }) {
  const [text, setText] = useState(start);
  const [wrong, manifest] = readManifest(text);
  const title = manifest ? `Apply ${manifest.kind} ${manifest.metadata.name}?` : "Apply";
  return html`<div class="box apply-box">
    <label class="field is-wide"><span>Manifest, as JSON</span><textarea rows="12" value=${text} spellcheck=${false}
      placeholder=${EXAMPLE}
      aria-invalid=${Boolean(wrong)} onInput=${(event) => setText(event.target.value)}></textarea></label>
    <p class="box-actions"><${AskButton} verb="apply" body=${{ manifest }} action="Apply" disabled=${!manifest}
      said=${said} title=${title}
        what=${manifest ? applyWords(manifest) : []}>Apply …</${AskButton}>
      <span class=${wrong ? "field-note is-bad" : "field-note"} role=${wrong ? "alert" : undefined}>${
        wrong || "YAML is not read here: meshnode apply -f FILE reads both."}</span></p></div>`;
}

function applyWords({ kind, metadata }) {
  return [
    `The document ${kind} ${metadata.namespace
      ?? "default"}/${metadata.name} is created, or changed where it differs, and spreads over the mesh.`,
    "Units that are then missing are started; those that are then too many are stopped.",
  ];
}

/** Age and author of a request, small. */
export function AskedBy({ command }) {
  return html`<span
    title=${exact(command.asked_ms)}>${ago(command.asked_ms)}${command.by ? ` by ${command.by}` : ""}</span>`;
}
