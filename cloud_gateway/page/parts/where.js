/** Constraints on nodes, as people write them: "gpu_mem>=2Gi,site=plant-7". The same rules as `meshnode find --where`. */
const PART = /^\s*([A-Za-z_][A-Za-z0-9_./-]{0,62})\s*(>=|<=|!=|==|=|>|<)\s*([^<>=!,]*[^<>=!,\s])\s*$/;
const QUANTITY = /^(\d+(\.\d*)?|\.\d+)([A-Za-z]{0,2}|[eE][+-]?\d{1,2}|%)$/; // loosely: the gateway has the last word
const PARTS_MAX = 16;

export const EXAMPLES = [
  ["gpu_mem>=2Gi", "at least 2 GiB of accelerator memory"],
  ["cpus>=4,arch=x86_64", "four cores or more, on x86"],
  ["site=plant-7", "a label with this value"],
  ["region!=lagos", "anywhere but there"],
];

/** {parts: [[name, operator, value]], wrong}: `wrong` says which part is none, and why; "" = all are. */
export function constraints(text) {
  const parts = text.split(",").filter((part) => part.trim());
  if (parts.length > PARTS_MAX) return { parts: [], wrong: `${parts.length} constraints; the most is ${PARTS_MAX}` };
  const found = [];
  for (const part of parts) {
    const match = PART.exec(part);
    if (!match) return { parts: [], wrong: `“${part.trim().slice(0, 60)}” is no constraint: write NAME=VALUE or NAME>=NUMBER` };
    const [, name, operator, value] = match;
    if (/[<>]/.test(operator) && !QUANTITY.test(value)) return { parts: [], wrong: `“${value.slice(0, 60)}” is no number: write 4, 500m or 2Gi` };
    found.push([name, operator, value]);
  }
  return { parts: found, wrong: "" };
}
