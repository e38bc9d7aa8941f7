/** Light or dark: as the machine says, or as the person chose. */
import { effect, signal } from "@preact/signals";

const KEY = "meshnode-theme";
const CHOICES = ["auto", "light", "dark"];
const machine = matchMedia("(prefers-color-scheme: dark)");

function remembered() {
  const found = localStorage.getItem(KEY);
  return CHOICES.includes(found) ? found : "auto";
}

export const theme = signal(remembered());
/** "light" or "dark": what is shown. Whoever draws with colours (canvas, charts) draws anew when it changes. */
export const shade = signal("light");

function apply() {
  shade.value = theme.value === "auto" ? (machine.matches ? "dark" : "light") : theme.value;
  document.documentElement.dataset.theme = shade.value;
}

effect(() => {
  localStorage.setItem(KEY, theme.value);
  apply();
});
machine.addEventListener("change", apply);

export function nextTheme() {
  theme.value = CHOICES[(CHOICES.indexOf(theme.value) + 1) % CHOICES.length];
}

/** The value of a colour of css/base.css, for a canvas: colour("accent"). */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
