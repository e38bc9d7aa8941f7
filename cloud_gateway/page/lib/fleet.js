/** Every node, small: what the grid is drawn from. Asked whole, then changed in place by the live feed. */
import { useEffect, useRef, useState } from "preact/hooks";
import { useAnswer } from "./answer.js";
import { onChanged } from "./live.js";

const WHOLE_AGAIN_MS = 15_000;
const NEW_NODES_MS = 2_000;

export const STATES = ["ready", "suspect", "unreachable", "down", "left"];

/** -> {regions: [[name, cells], ...] or null, turn, problem, loading, reload}; cells: [name, state, cpu or -1, units
 * not well]. `turn` grows whenever a cell changed: the cells themselves are changed in place. */
export function useFleet() {
  const { answer, problem, loading, reload } = useAnswer("grid");
  const [turn, setTurn] = useState(0);
  const held = useRef({ answer: null, cells: new Map() });
  if (answer && held.current.answer !== answer) held.current = { answer, ...indexed(answer) };
  useEffect(() => {
    let timer = setInterval(() => document.hidden || reload(), WHOLE_AGAIN_MS);
    let soon = 0;
    const off = onChanged("nodes", ({ rows, gone, reset }) => {
      const { cells } = held.current;
      const news = rows.nodes ?? [];
      const unknown = reset || gone.nodes?.length || news.some((row) => !cells.has(row.name));
      if (unknown) soon ||= setTimeout(() => (soon = void reload() ?? 0), NEW_NODES_MS);
      if (news.map((row) => changed(cells.get(row.name), row)).some(Boolean)) setTurn((number) => number + 1);
    });
    return () => {
      clearInterval(timer);
      clearTimeout(soon);
      timer = 0;
      off();
    };
  }, [reload]);
  return { regions: held.current.answer ? held.current.regions : null, turn, problem, loading, reload };
}

function indexed(answer) {
  const regions = Object.entries(answer.regions).sort(([one], [other]) => one.localeCompare(other));
  const cells = new Map();
  for (const [, list] of regions) for (const cell of list) cells.set(cell[0], cell);
  return { regions, cells };
}

function changed(cell, row) {
  if (!cell) return false;
  const cpu = row.cpu_percent === null || row.cpu_percent === undefined ? -1 : Math.round(row.cpu_percent);
  const differs = cell[1] !== row.state || cell[2] !== cpu;
  cell[1] = row.state;
  cell[2] = cpu;
  return differs;
}

/** How many cells are in each state, in the order of STATES, and others behind. */
export function counted(regions) {
  const counts = Object.fromEntries(STATES.map((state) => [state, 0]));
  for (const [, cells] of regions) for (const [, state] of cells) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}
