// What running a view means: ask about the inputs as they are now, once more if need be.

import { useEffect } from "preact/hooks";
import { runNow } from "../state";
import type { Resource } from "../state";
import { onRunKey } from "./keys";

/** Runs a view's main question, by its button and by Ctrl+Enter. */
export function useRun<T>(of: Resource<T>): () => void {
  const run = (): void => {
    runNow();
    // New inputs have set it going already; the same ones are asked about again.
    if (of.phase.peek() === "idle") of.retry();
  };
  useEffect(() => onRunKey(run), [of]);
  return run;
}
