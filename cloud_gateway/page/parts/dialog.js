/** A question over the page; Escape leaves it. */
import { html, useEffect, useRef } from "../lib/html.js";

export function Dialog({ title, close, children, wide = false }) {
  const box = useRef(null);
  useEffect(() => {
    const dialog = box.current;
    dialog.showModal();
    return () => dialog.close();
  }, []);
  const outside = (event) => event.target === box.current && close();
  return html`<dialog ref=${box} class=${wide ? "dialog is-wide" : "dialog"} aria-label=${title} onClick=${outside}
    onClose=${close}>
    <div class="dialog-box">
      <header class="dialog-head"><h2>${title}</h2>
        <button class="icon-button" onClick=${close} aria-label="Close">✕</button></header>
      ${children}
    </div>
  </dialog>`;
}
