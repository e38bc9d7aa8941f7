/** One door to the libraries: the template tag, hooks and signals. */
import { h, render, Fragment } from "preact";
import htm from "htm";

export { h, render, Fragment };
export { useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export { batch, computed, effect, signal, useComputed, useSignal, useSignalEffect } from "@preact/signals";
export const html = htm.bind(h);
