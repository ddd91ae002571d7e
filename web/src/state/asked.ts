// What is being asked about: the inputs as they stand where the model is quick enough to answer while
// the user types, the inputs as last run where it is not.

import { computed, effect, signal } from "@preact/signals";
import type { ReadonlySignal } from "@preact/signals";
import type { Precision, Weights } from "../api";
import { model, modelId } from "./model";
import { typing, workspace } from "./workspace";

export interface Asked {
  model: string;
  /** How the model's weights were processed: an experiment must ask for what is served. */
  weights: Weights;
  /** How its matrices are kept; f32 where left out. */
  precision?: Precision | undefined;
  prompt: string;
  corrupt: string;
  target: string;
  foil: string;
}

const live = computed<Asked | null>(() => {
  const about = model.value;
  if (about === null || about.id !== modelId.value) return null;
  const { prompt, corrupt, target, foil } = workspace;
  return { model: about.id, weights: about.weights, precision: about.precision, prompt: prompt.value, corrupt: corrupt.value, target: target.value, foil: foil.value };
});

const run = signal<Asked | null>(null);

/** What views ask the server about; null until a model is known. */
export const asked: ReadonlySignal<Asked | null> = run;

/** Whether the inputs were changed since they were run, so that pressing Run would do something. */
export const awaitingRun = computed(() => JSON.stringify(live.value) !== JSON.stringify(run.value));

/** Runs the inputs as they are now. */
export function runNow(): void {
  run.value = live.peek();
}

/** Keeps `asked` up with the inputs. */
export function followInputs(): () => void {
  return effect(() => {
    const now = live.value;
    // On a large model only a deliberate change (an example, undo, Enter) runs by itself.
    const quick = model.value?.quick ?? true;
    if (quick || !typing.peek() || run.peek() === null) run.value = now;
  });
}
