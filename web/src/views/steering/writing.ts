// The two texts of Steering, as they are written.

import { useComputed, useSignal } from "@preact/signals";
import type { ReadonlySignal } from "@preact/signals";
import { runExperiment } from "../../api";
import type { Experiment, ExperimentRecord } from "../../api";
import { useResource } from "../../state";
import { NO_TEXTS, withEvent } from "../surgery/texts";
import type { Texts } from "../surgery/texts";

/** The run, and its texts as far as they have come. */
export function useWriting(key: ReadonlySignal<Experiment | null>) {
  const streamed = useSignal<Texts>(NO_TEXTS);
  const of = useResource(key, (experiment, { signal, onEvent }) => {
    streamed.value = NO_TEXTS;
    return runExperiment(experiment, {
      signal,
      onEvent: (event) => {
        onEvent(event);
        if (!signal.aborted) streamed.value = withEvent(streamed.value, event);
      },
    });
  });
  const arriving = useComputed(() => (of.stale.value || of.data.value === null) && streamed.value.control.some((token) => !token.is_prompt));
  const texts = useComputed<Texts>(() => (arriving.value ? streamed.value : textsOf(of.data.value)));
  return { of, texts, arriving };
}

/** The text as it is, and the one that is not. */
export function textsOf(record: ExperimentRecord | null): Texts {
  const steered = record?.results.steered ?? [];
  return {
    control: steered.find(({ strength }) => strength === 0)?.tokens ?? [],
    ablated: steered.find(({ strength }) => strength !== 0)?.tokens ?? [],
  };
}
