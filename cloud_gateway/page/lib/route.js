/** Where the page is: `#/nodes/beta?region=paris&state=down`. A saved filter is an address. */
import { signal } from "@preact/signals";
import { takeToken } from "./api.js";

/** "#/a/b?x=1&x=2" -> {path: "a/b", parts: ["a", "b"], view: "a", query: {x: ["1", "2"]}} */
export function parsed(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  const query = {};
  for (const [name, value] of new URLSearchParams(search)) (query[name] ??= []).push(value);
  return { path: parts.join("/"), parts, view: parts[0] ?? "overview", query };
}

/** The address of a view: path as text ("nodes/beta") or as parts (["nodes", name]), which are escaped. */
export function href(path, query = {}) {
  const parts = Array.isArray(path) ? path : String(path).split("/");
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== "" && one !== null && one !== undefined) search.append(name, one);
    }
  }
  const text = search.toString();
  return `#/${parts.map((part) => encodeURIComponent(part)).join("/")}${text ? `?${text}` : ""}`;
}

takeToken();
export const route = signal(parsed(location.hash));

addEventListener("hashchange", () => {
  route.value = parsed(location.hash);
});

/** Go to a view; with `replace` the step back leads to where one was before. */
export function go(path, query = {}, { replace = false } = {}) {
  goTo(href(path, query), { replace });
}

export function goTo(address, { replace = false } = {}) {
  if (address === location.hash) return;
  if (!replace) {
    location.hash = address;
    return;
  }
  history.replaceState(null, "", address);
  route.value = parsed(address);
}

/** Change some parameters of this view's address; "", null and [] take one away. */
export function setQuery(changes, { replace = true } = {}) {
  const { parts, query } = route.value;
  go(parts, { ...query, ...changes }, { replace });
}

/** The one value of a parameter of this view, "" if there is none. */
export function param(name) {
  return route.value.query[name]?.[0] ?? "";
}
