/** What identifies a row among those of its kind: as in the gateway's own table of keys. */

export const KEYS = {
  nodes: ["node_id"],
  instances: ["instance", "node"],
  skills: ["skill", "agent", "node"],
  wishes: ["kind", "namespace", "name"],
  clusters: ["kind", "namespace", "name"],
  conflicts: ["kind", "namespace", "name", "field"],
  problems: ["text"],
  cursors: ["node_id"],
  gaps: ["node_id", "life", "first"],
  commands: ["command_id"],
  agents: ["agent"],
  events: ["node_id", "life", "boot", "number"],
};

/** The live feed's word for the rows of a list. */
export const FEED = { clusters: "wishes", agents: "instances" };

export function keyOf(kind, row) {
  return KEYS[kind].map((name) => row[name]).join("\u0000");
}

export function keyOfValues(values) {
  return values.join("\u0000");
}
