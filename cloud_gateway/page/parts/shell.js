/** The frame of every view: navigation, how old what is shown is, keys, light and dark. */
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { get } from "../lib/api.js";
import { ago } from "../lib/format.js";
import { bindAll } from "../lib/keys.js";
import { onSettled, source } from "../lib/live.js";
import { go, href, route } from "../lib/route.js";
import { nextTheme, theme } from "../lib/theme.js";
import { load, viewOf, WAYS } from "../lib/views.js";
import { AsOf, isStale } from "./asof.js";
import { Empty, Waiting } from "./empty.js";
import { Help } from "./help.js";
import { ProblemNote } from "./problem.js";

const PROBLEMS_MAX = 100;
const VIEW_FIRST_MS = 500; // a browser asks six things at once: the view is more urgent
const THEMES = { auto: "◐", light: "☀", dark: "☾" };

export function Shell() {
  const [menu, setMenu] = useState(false);
  const [help, setHelp] = useState(false);
  const { way } = viewOf(route.value.parts);
  const mesh = [source.value.mesh, source.value.node].filter(Boolean).join(" · ");
  useEffect(() => setMenu(false), [route.value]);
  useEffect(() => {
    const ways = WAYS.map(({ path, title, keys }) => [`g ${keys}`, title, () => go(path)]);
    return bindAll([...ways, ["t", "light or dark", nextTheme], ["?", "these keys", () => setHelp(true)]],
      { group: "Everywhere" });
  }, []);
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <div class=${menu ? "shell is-open" : "shell"}>
      <header class="top">
        <button class="icon-button menu-button" aria-label="Menu" aria-expanded=${menu} aria-controls="ways"
          onClick=${() => setMenu(!menu)}>
          <span aria-hidden="true">${menu ? "✕" : "☰"}</span></button>
        <a class="brand" href=${href("overview")}><img src="favicon.svg" alt="" width="20" height="20" />meshnode</a>
        <span class="mesh-name" title="mesh, seen through the node">${mesh}</span>
        <${AsOf} />
      </header>
      <${Ways} way=${way} ask=${() => setHelp(true)} />
      <main class="main" id="main" tabindex="-1"><${Banner} /><${View} /></main>
    </div>
    ${help && html`<${Help} close=${() => setHelp(false)} />`}`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function Ways({ way, ask }) {
  const problems = useProblems();
  return html`<nav class="ways" id="ways" aria-label="Views">
    <ul>${WAYS.map(({ path, title, keys }) => html`<li key=${path}>
      <a href=${href(path)} aria-current=${way === path ? "page" : undefined} aria-keyshortcuts=${`g ${keys}`}>
        <span>${title}</span>
        ${path === "overview" && problems && html`<span class="ways-count" title="problems">${problems}</span>`}
      </a></li>`)}</ul>
    <div class="ways-foot">
      <button class="quiet-button" onClick=${nextTheme} title="Light or dark (t)">
        <span aria-hidden="true">${THEMES[theme.value]}</span> ${theme.value}</button>
      <button class="quiet-button" onClick=${ask} aria-keyshortcuts="?">Keys <kbd>?</kbd></button>
    </div>
  </nav>`;
}

/** How many problems there are, as text; "" for none. */
function useProblems() {
  const [text, setText] = useState("");
  useEffect(() => {
    const ask = () => get("problems", { limit: PROBLEMS_MAX }).then(
      ({ items, next }) => setText(items.length ? `${items.length}${next ? "+" : ""}` : ""),
      () => undefined, // the badge of the feed tells that the gateway does not answer
    );
    const later = setTimeout(ask, VIEW_FIRST_MS);
    const off = onSettled("problems", 2_000, ask);
    return () => {
      clearTimeout(later);
      off();
    };
  }, []);
  return text;
}

/** Over everything when what is shown is old: since when, why, and that it goes on by itself. */
function Banner() {
  const { connected, as_of, problem } = source.value;
  if (!isStale() || !as_of) return null;
  return html`<p class="banner" role="status">
    <strong>Shown as of ${ago(as_of)}.</strong> ${problem || "The gateway has no newer proof."}
    ${connected ? " The gateway asks its node again." : " This page connects again by itself."}</p>`;
}

function View() {
  const { parts } = route.value;
  const { name, args } = viewOf(parts);
  const [shown, setShown] = useState({ name: "", view: null, problem: null });
  const first = useRef(true);
  useEffect(() => {
    let wanted = true;
    const put = (change) => wanted && setShown({ name, view: null, problem: null, ...change });
    if (name) load(name).then((view) => put({ view }), (error) => put({ problem: error }));
    return () => {
      wanted = false;
    };
  }, [name]);
  useEffect(() => {
    if (!first.current) {
      document.getElementById("main").scrollTo?.(0, 0);
      document.querySelector("h1")?.focus({ preventScroll: true });
    }
    first.current = shown.view === null;
  }, [route.value.path, shown.view]);
  const back = { href: href("overview"), text: "To the overview" };
  if (!name) return html`<${Empty} title="There is no such view" action=${back} />`;
  if (shown.name === name && shown.problem) {
    return html`<${ProblemNote} problem=${shown.problem} retry=${() => location.reload()} />`;
  }
  if (shown.name !== name || !shown.view) return html`<${Waiting} lines=${10} />`;
  return html`<${shown.view} key=${parts.join("/")} args=${args} />`;
}
