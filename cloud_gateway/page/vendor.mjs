/** Copies what the page needs of its npm packages, with their licences, into vendor/. Run by `make setup`.
 *
 * There is no bundler: these are the packages' own ES modules, byte for byte, less the comment that would make a
 * browser ask for a source map that is not here.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const PAGE = dirname(fileURLToPath(import.meta.url));
const PACKAGES = [
  { name: "preact", files: { "dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "hooks.js" } },
  { name: "htm", files: { "dist/htm.mjs": "htm.js" } },
  { name: "@preact/signals", files: { "dist/signals.mjs": "signals.js" } },
  { name: "@preact/signals-core", files: { "dist/signals-core.mjs": "signals-core.js" } },
  { name: "uplot", files: { "dist/uPlot.esm.js": "uplot.js", "dist/uPlot.min.css": "uplot.css" } },
];
const SOURCE_MAP = /\/\/[#@] ?sourceMappingURL=\S*/g;

const vendor = join(PAGE, "vendor");
rmSync(vendor, { recursive: true, force: true });
mkdirSync(vendor);
const licences = [];
for (const { name, files } of PACKAGES) {
  const from = join(PAGE, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(from, "package.json"), "utf8"));
  for (const [file, to] of Object.entries(files)) {
    writeFileSync(join(vendor, to), readFileSync(join(from, file), "utf8").replace(SOURCE_MAP, ""));
  }
  const text = readFileSync(join(from, "LICENSE"), "utf8");
  cpSync(join(from, "LICENSE"), join(vendor, `LICENSE.${name.replace("@", "").replace("/", "-")}.txt`));
  licences.push(`${name} ${version} (${license})\nfiles: ${Object.values(files).join(", ")}\n\n${text.trim()}\n`);
}
writeFileSync(join(vendor, "licenses.txt"), licences.join(`\n${"-".repeat(100)}\n\n`));
