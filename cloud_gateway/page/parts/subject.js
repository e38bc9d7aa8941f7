/** What an event is about, as a way to it; and events as lines. */
import { html } from "../lib/html.js";
import { exact, time } from "../lib/format.js";
import { href } from "../lib/route.js";

/** "agent/words/0" -> the address of its page; what has no page leads to the events about it. */
export function routeOf(subject) {
  const [kind, ...rest] = subject.split("/");
  if (!rest.length || rest[0] === "") return href("events", { subject });
  if (kind === "node") return href(["nodes", rest.join("/")]);
  if (kind === "agent") return rest.length > 1 ? href(["instances", ...rest]) : href(["agents", ...rest]);
  if (kind === "state") return href(["instances", ...rest]);
  if (kind === "cluster" || kind === "agentcluster") {
    return href(["clusters", "AgentCluster", ...(rest.length > 1 ? rest : ["default", ...rest])]);
  }
  return href("events", { subject });
}

export function Subject({ subject }) {
  const [kind, ...rest] = subject.split("/");
  return html`<a class="subject" href=${routeOf(subject)}><span
    class="subject-kind">${kind}${rest.length ? "/" : ""}</span
    >${rest.join("/")}</a>`;
}

export const nodeRoute = (name) => href(["nodes", name]);
export const instanceRoute = (instance) => href(["instances", ...instance.split("/")]);
export const agentRoute = (agent) => href(["agents", agent]);
export const clusterRoute = ({ kind, namespace, name }) => href(["clusters", kind, namespace, name]);

export function NodeLink({ name }) {
  return name ? html`<a class="name" href=${nodeRoute(name)} title=${name}>${name}</a>` : "–";
}

/** Events, one a line. `fresh`: keys of those that have just come. `node`: whether to say whose journal tells it. */
export function EventLines({ events, node = true, fresh = null, label = "Events" }) {
  return html`<ol class=${node ? "events" : "events of-one-node"} aria-label=${label}>
    ${events.map((event) => {
      const key = `${event.node_id}/${event.life}/${event.boot}/${event.number}`;
      return html`<li key=${key} class=${fresh?.has(key) ? "event is-fresh" : "event"}>
        <time class="event-at" title=${exact(event.at_ms)}>${time(event.at_ms)}</time>
        ${node && html`<span class="event-node"><${NodeLink} name=${event.node} /></span>`}
        <span class="event-subject"><${Subject} subject=${event.subject} /></span>
        <span class="event-text">${event.text}</span></li>`;
    })}</ol>`;
}

export function eventKey(event) {
  return `${event.node_id}/${event.life}/${event.boot}/${event.number}`;
}
