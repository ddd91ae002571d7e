// The models the server offers, facts about the chosen one, and the examples.

import { batch, computed, effect, signal } from "@preact/signals";
import type { ReadonlySignal } from "@preact/signals";
import { asApiError, fetchExamples, fetchModel, fetchModels, isAbort } from "../api";
import type { ApiError, Example, ModelInfo, ModelList } from "../api";
import { saysPrompt } from "./fields";
import type { Fields } from "./fields";
import { change, settle, workspace } from "./workspace";

const list = signal<ModelList | null>(null);
const info = signal<ModelInfo | null>(null);
const examplesSeen = signal<Example[]>([]);
const failure = signal<ApiError | null>(null);
const attempt = signal(0);

export const models: ReadonlySignal<ModelList | null> = list;
export const examples: ReadonlySignal<Example[]> = examplesSeen;
/** Facts about the chosen model; null until they are there. */
export const model: ReadonlySignal<ModelInfo | null> = info;
/** Why there is no model. */
export const modelError: ReadonlySignal<ApiError | null> = failure;
/** The id requests carry; null until the server told its default. */
export const modelId = computed(() => workspace.model.value || list.value?.default || null);

/** Asks for models and examples, and fills the first example in where the address names no prompt. */
export async function openModels(): Promise<void> {
  failure.value = null;
  try {
    const [offered, taught] = await Promise.all([fetchModels(), fetchExamples()]);
    examplesSeen.value = taught;
    const first = taught[0];
    if (first && !saysPrompt(window.location.search)) settle(textsOf(first));
    batch(() => {
      list.value = offered;
      // Asks for the model once more, also where it is the one that could not be had.
      attempt.value += 1;
    });
  } catch (thrown) {
    failure.value = asApiError(thrown);
  }
}

/** Follows the choice of model. */
export function followModel(): () => void {
  let running: AbortController | null = null;
  return effect(() => {
    const id = modelId.value;
    void attempt.value;
    running?.abort();
    if (id === null) return;
    const controller = new AbortController();
    running = controller;
    fetchModel(id, { signal: controller.signal }).then(
      (found) => {
        if (running !== controller) return;
        failure.value = null;
        info.value = found;
      },
      (thrown: unknown) => {
        if (running !== controller || isAbort(thrown)) return;
        info.value = null;
        failure.value = asApiError(thrown);
      },
    );
  });
}

export function chooseExample(example: Example): void {
  // What was chosen in the old prompt means nothing in the new one.
  change({ ...textsOf(example), cut: [], patch: [], pos: null, layer: null, clamp: "", head: "", part: "", neuron: "", towards: "", away: "", others: [] });
}

function textsOf(example: Example): Partial<Fields> {
  return { prompt: example.prompt, corrupt: example.corrupt ?? "", target: example.target, foil: example.foil ?? "" };
}
