/** Constraints on nodes, as people write them: "gpu_mem>=2Gi,site=plant-7". The same rules as `meshnode find --where`;
 * the gateway has the last word. */
const PART = /^\s*([A-Za-z_][A-Za-z0-9_./-]{0,62})\s*(>=|<=|!=|==|=|>|<)\s*([^<>=!,]*[^<>=!,\s])\s*$/;
const QUANTITY = /^(\d+(?:\.\d*)?|\.\d+)(|[numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,2})$/;
const DECIMAL = { n: 1e-9, u: 1e-6, m: 1e-3, "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 };
const BINARY = { Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60 };
const ORDERED = { ">=": "less than", "<=": "more than", ">": "not more than", "<": "not less than" };
const PARTS_MAX = 16;

export const EXAMPLES = [
  ["gpu_mem>=2Gi", "at least 2 GiB of accelerator memory"],
  ["cpus>=4,arch=x86_64", "four cores or more, on x86"],
  ["site=plant-7", "a label with this value"],
  ["region!=lagos", "anywhere but there"],
];

/** 2, "500m" (0.5) or "4Gi" as a number; NaN when it is none. */
export function quantity(value) {
  const match = QUANTITY.exec(String(value));
  if (!match) return NaN;
  const [, number, suffix] = match;
  return Number(number) * (BINARY[suffix] ?? DECIMAL[suffix] ?? 10 ** Number(suffix.slice(1)));
}

/** {parts: [[name, operator, value]], wrong}: `wrong` says which part is none, and why; "" = all are. */
export function constraints(text) {
  const parts = text.split(",").filter((part) => part.trim());
  if (parts.length > PARTS_MAX) return { parts: [], wrong: `${parts.length} constraints; the most is ${PARTS_MAX}` };
  const found = [];
  for (const part of parts) {
    const match = PART.exec(part);
    if (!match) return { parts: [], wrong: `“${part.trim().slice(0,
      60)}” is no constraint: write NAME=VALUE or NAME>=NUMBER` };
    const [, name, operator, value] = match;
    if (operator in ORDERED && Number.isNaN(quantity(value))) {
      return { parts: [], wrong: `“${value.slice(0, 60)}” is no number: write one like 4, 500m or 2Gi` };
    }
    found.push([name, operator === "==" ? "=" : operator, value]);
  }
  return { parts: found, wrong: "" };
}

/** Why a node with these attributes does not fit, "" if it does. */
export function unfit(parts, attributes) {
  for (const [name, operator, wanted] of parts) {
    if (!(name in attributes)) return `${name} is not known of it`;
    const reason = broken(name, operator, wanted, attributes[name]);
    if (reason) return reason;
  }
  return "";
}

function broken(name, operator, wanted, has) {
  const mine = quantity(has), theirs = quantity(wanted);
  const numbers = !Number.isNaN(mine) && !Number.isNaN(theirs);
  if (operator === "=" || operator === "!=") {
    const same = numbers ? mine === theirs : String(has) === wanted;
    if (same === (operator === "=")) return "";
    return operator === "=" ? `${name} is ${has}, not ${wanted}` : `${name} is ${wanted}`;
  }
  if (!numbers) return `${name} is ${has}, which is no number`;
  const holds = { ">=": mine >= theirs, "<=": mine <= theirs, ">": mine > theirs, "<": mine < theirs }[operator];
  return holds ? "" : `${name} is ${has}, ${ORDERED[operator]} ${wanted}`;
}
