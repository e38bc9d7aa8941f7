/** The fleet page: which view an address means, and the frame around it. */
import { html, render } from "./lib/html.js";
import "./lib/theme.js";
import { Shell } from "./parts/shell.js";

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${Shell} />`, root);
