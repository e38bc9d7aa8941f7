/** As of when, and whether that is old: every view says it. */
import { html } from "../lib/html.js";
import { age, ago, exact, now } from "../lib/format.js";
import { source } from "../lib/live.js";

const OLD_MS = 15_000;

/** Is what the whole page shows old? The gateway says so, or has not been heard. */
export function isStale() {
  const { connected, stale, as_of } = source.value;
  return stale || !connected || (as_of > 0 && now.value - as_of > OLD_MS);
}

/** The page's own badge: live, as of, or out of reach. */
export function AsOf() {
  const { connected, as_of, problem } = source.value;
  const stale = isStale();
  const word = !connected ? (as_of ? "Reconnecting" : "Connecting") : stale ? "Stale" : "Live";
  return html`<span class=${`asof ${stale ? "is-stale" : "is-live"}`} role="status" title=${problem || exact(as_of)}>
    <span class="asof-dot" aria-hidden="true"></span><span class="asof-word">${word}</span>
    ${as_of > 0 && html`<span class="asof-age">as of ${ago(as_of)}</span>`}
  </span>`;
}

/** The age of one thing; marked when it is old. `short`: "3 min" where a heading says that it is an age. */
export function Age({ at, old_ms = Infinity, short = false }) {
  const old = at && now.value - at > old_ms;
  return html`<time class=${old ? "age is-old" : "age"} title=${exact(at)}>${short ? age(at) : ago(at)}</time>`;
}
