/** Which module shows which address. A view is the default export of views/NAME.js: a component that is given `args`,
 * the parts of the address behind its first word: `#/nodes/beta` -> views/node.js with args ["beta"]. */

/** The main ways, in order: what stands in the navigation. `keys`: the second of "g n". */
export const WAYS = [
  { path: "overview", title: "Overview", keys: "o" },
  { path: "grid", title: "Grid", keys: "m" },
  { path: "nodes", title: "Nodes", keys: "n" },
  { path: "agents", title: "Agents", keys: "a" },
  { path: "clusters", title: "Clusters", keys: "c" },
  { path: "skills", title: "Skills", keys: "s" },
  { path: "events", title: "Events", keys: "e" },
  { path: "conflicts", title: "Conflicts", keys: "x" },
  { path: "commands", title: "Requests", keys: "r" },
];

const MODULES = {
  overview: () => import("../views/overview.js"),
  grid: () => import("../views/grid.js"),
  nodes: () => import("../views/nodes.js"),
  node: () => import("../views/node.js"),
  agents: () => import("../views/agents.js"),
  agent: () => import("../views/agent.js"),
  instance: () => import("../views/instance.js"),
  clusters: () => import("../views/clusters.js"),
  cluster: () => import("../views/cluster.js"),
  skills: () => import("../views/skills.js"),
  events: () => import("../views/events.js"),
  journal: () => import("../views/journal.js"),
  conflicts: () => import("../views/conflicts.js"),
  commands: () => import("../views/commands.js"),
};
// Words under which one thing has a view of its own; the way that is lit, when its name is another one.
const ONE = { nodes: "node", agents: "agent", instances: "instance", clusters: "cluster" };
const WAY_OF = { instances: "agents", journal: "nodes" };

/** parts of an address -> {name, args, way}; name "" when there is no such view. */
export function viewOf(parts) {
  const [word = "overview", ...args] = parts;
  const name = (args.length && ONE[word]) || (word === "instances" ? "agents" : word);
  return { name: name in MODULES ? name : "", args, way: WAY_OF[word] ?? word };
}

const loaded = new Map();

/** The component of a view, loaded once. A load that failed is tried again the next time. */
export function load(name) {
  if (!loaded.has(name)) {
    const module = MODULES[name]().then((one) => one.default);
    module.catch(() => loaded.delete(name));
    loaded.set(name, module);
  }
  return loaded.get(name);
}
