/** Requests to the mesh: what was asked, by whom, and what became of it; and new ones. */
import { html, useState } from "../lib/html.js";
import { hasToken } from "../lib/api.js";
import { ago, duration, exact, now } from "../lib/format.js";
import { href } from "../lib/route.js";
import { NotKnown, Pending, useItem } from "../parts/asked.js";
import { Badge } from "../parts/badge.js";
import { ApplyBox, AskedBy, AskButton, Followed, requestWords, ScaleBox, Timeline } from "../parts/commandbox.js";
import { ListView } from "../parts/list.js";
import { Facts, Section, ViewHead } from "../parts/section.js";
import { Tree } from "../parts/tree.js";

const STATES = ["queued", "accepted", "applied", "failed"];
const VERBS = ["apply", "delete", "scale", "drain", "resume"];

/** How long it took, or has been waiting. */
function took({ state, asked_ms, changed_ms }) {
  if (state === "queued" || state === "accepted") return `for ${duration(now.value - asked_ms)}`;
  return `after ${duration(changed_ms - asked_ms)}`;
}

const COLUMNS = [
  { name: "what", title: "Request", grow: true, cell: (row) => html`<span class="strong">${requestWords(row)}</span>` },
  { name: "state", title: "State", cell: (row) => html`<${Badge} state=${row.state} /> <span
    class="faint">${took(row)}</span>` },
  { name: "answer", title: "Answer", from: "sm", cell: (row) => html`<span
    class=${row.state === "failed" ? "is-bad" : ""}>${row.answer || "–"}</span>` },
  { name: "asked", title: "Asked", sort: "asked_ms", first: "-", numeric: true, cell: (row) => html`<span class="age"
    title=${exact(row.asked_ms)}>${ago(row.asked_ms)}</span>` },
  { name: "by", title: "By", from: "md", cell: (row) => row.by || "–" },
];
const FILTERS = [
  { name: "state", title: "State", options: STATES, marks: true },
  { name: "verb", title: "Verb", options: VERBS },
];
const EMPTY = {
  title: "Nothing has been asked",
  text: "Requests change what the mesh should do: apply, scale, drain. Each is kept until the mesh is as asked, or why not.",
};

export default function Commands({ args }) {
  return args.length ? html`<${One} id=${args[0]} />` : html`<${All} />`;
}

function All() {
  const [command, setCommand] = useState(null);
  return html`<${ViewHead} title="Requests"
    sub=${html`<span>${hasToken() ? "This tab has the token: it may ask."
      : "Reading needs no token here; asking does. The dialog says how to get it."}</span>`} />
    ${command && html`<${Followed} key=${command.command_id} command=${command} />`}
    <${ListView} kind="commands" columns=${COLUMNS} filters=${FILTERS} empty=${EMPTY} label="requests"
      rowHref=${(row) => href(["commands", row.command_id])} />
    <div class="page-grid">
      <${Section} title="Apply a manifest"><${ApplyBox} said=${setCommand} /></${Section}>
      <div class="side"><${Section} title="Scale"><${ScaleAny} said=${setCommand} /></${Section}>
        <${Section} title="Drain or resume a node"><${DrainAny} said=${setCommand} /></${Section}></div>
    </div>`;
}

function ScaleAny({ said }) {
  const [name, setName] = useState("");
  return html`<label class="field is-wide"><span>Agent, or cluster/NAMESPACE/NAME</span>
      <input class="input" type="text" value=${name} autocomplete="off" spellcheck=${false}
        onInput=${(event) => setName(event.target.value.trim())} /></label>
    ${name ? html`<${ScaleBox} name=${name} said=${said} />` : html`<p
      class="field-note">Name what is to be scaled.</p>`}`;
}

function DrainAny({ said }) {
  const [node, setNode] = useState("");
  return html`<label class="field is-wide"><span>Node</span><input class="input" type="text" value=${node}
    autocomplete="off" spellcheck=${false}
      onInput=${(event) => setNode(event.target.value.trim())} /></label>
    <p class="box-actions">
      <${AskButton} verb="drain" body=${{ node }} action="Drain" danger=${true} disabled=${!node} said=${said}
        title=${`Drain ${node}?`}
        what=${["Its agents move to other nodes, each after its successor has its state.",
          "Nothing new is placed there until it is resumed."]}>Drain …</${AskButton}>
      <${AskButton} verb="resume" body=${{ node }} action="Resume" disabled=${!node} said=${said}
        title=${`Resume ${node}?`}
        what=${[`${node} takes new units again.`]}>Resume …</${AskButton}></p>`;
}

function One({ id }) {
  const asked = useItem("commands", `commands/${encodeURIComponent(id)}`, (row) => row.command_id === id);
  const row = asked.item;
  const missing = html`<${NotKnown} what="The request" name=${id}
    back=${{ href: href("commands"), text: "All requests" }} />`;
  return html`<${ViewHead} title=${row ? requestWords(row) : "Request"} trail=${[["Requests", href("commands")]]}
    sub=${row && html`<${Badge} state=${row.state} /> <${AskedBy} command=${row} />`} />
    <${Pending} asked=${asked} missing=${missing} />
    ${row && html`<${Timeline} command=${row} />
      ${row.answer && html`<p
        class=${row.state === "failed" ? "followed-answer is-bad" : "followed-answer"}>${row.answer}</p>`}
      <${Section} title="Facts"><${Facts}
        items=${[["Verb", row.verb], ["Asked", exact(row.asked_ms)], ["Last change", exact(row.changed_ms)],
          ["Tried", `${row.attempts} times`], ["By", row.by], ["Id",
            html`<code>${row.command_id}</code>`]]} /></${Section}>
      <${Section} title="What was asked"><${Tree} value=${row.body} /></${Section}>`}`;
}
