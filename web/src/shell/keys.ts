// Keys that work everywhere: undo, redo, run.

import { redo, runNow, undo } from "../state";

/** What the view on show does when it is run; the inputs are run where it says nothing. */
let main: (() => void) | null = null;

/** Gives Ctrl+Enter to a view while it is on show. */
export function onRunKey(run: () => void): () => void {
  main = run;
  return () => {
    if (main === run) main = null;
  };
}

export function followKeys(): () => void {
  const listen = (event: KeyboardEvent): void => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    if (event.key === "Enter") {
      event.preventDefault();
      (main ?? runNow)();
      return;
    }
    // In a text, undo is the text's own.
    if (event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    if (key === "y" || event.shiftKey) redo();
    else undo();
  };
  window.addEventListener("keydown", listen);
  return () => window.removeEventListener("keydown", listen);
}
