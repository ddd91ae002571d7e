// What the Surgery page asks the server, and what is on show of its answers.

import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import type { ReadonlySignal } from "@preact/signals";
import { runExperiment } from "../api";
import type { ExperimentRecord } from "../api";
import { asked, model, runNow, useResource, workspace } from "../state";
import type { Resource } from "../state";
import { curveOf } from "../views/surgery/curve";
import type { LensCurves } from "../views/surgery/LensPanel";
import { controlAlone, generation, importance, lenses, singleStep } from "../views/surgery/questions";
import type { Setup } from "../views/surgery/questions";
import { NO_TEXTS, divergence, lensQuestion, promptLength, withEvent } from "../views/surgery/texts";
import type { Texts } from "../views/surgery/texts";
import type { ChosenToken } from "../views/surgery/TextsPanel";

/** A few clicks in a row ask once. */
const CLICKS_MS = 160;

export interface Running {
  /** What is run, or was last. */
  setup: ReadonlySignal<Setup | null>;
  /** What would be run now differs. */
  waiting: ReadonlySignal<boolean>;
  /** Runs what would be run now; true where that was not so already. */
  run: () => boolean;
}

/** Follows prompt and settings; on a large model changes of the cut wait for `run`. */
export function useSetup(): Running {
  const live = useComputed<Setup | null>(() => {
    const inputs = asked.value;
    const { cut, how, temperature, seed, length } = workspace;
    if (!inputs || inputs.prompt === "") return null;
    return {
      model: inputs.model, prompt: inputs.prompt, corrupt: how.value === "resample" ? inputs.corrupt : "",
      cut: cut.value, how: how.value, temperature: temperature.value, seed: seed.value, length: length.value,
    };
  });
  const setup = useSignal<Setup | null>(null);
  const differs = (a: Setup | null, b: Setup | null): boolean => JSON.stringify(a) !== JSON.stringify(b);
  const waiting = useComputed(() => differs(live.value, setup.value));
  useSignalEffect(() => {
    const next = live.value;
    const before = setup.peek();
    const quick = model.value?.quick ?? true;
    if (!differs(next, before)) return;
    if (!next || !before || next.prompt !== before.prompt || next.model !== before.model) {
      setup.value = next;
      return;
    }
    if (!quick) return;
    const timer = setTimeout(() => (setup.value = next), CLICKS_MS);
    return () => clearTimeout(timer);
  });
  const run = (): boolean => {
    runNow();
    const changed = differs(live.peek(), setup.peek());
    setup.value = live.peek();
    return changed;
  };
  return { setup, waiting, run };
}

/** The generation, and its texts as far as they have come. */
export function useTexts(setup: ReadonlySignal<Setup | null>) {
  const streamed = useSignal<Texts>(NO_TEXTS);
  const generated = useResource(setup, (now, { signal, onEvent }) => {
    streamed.value = NO_TEXTS;
    return runExperiment(generation(now), {
      signal,
      onEvent: (event) => {
        onEvent(event);
        if (!signal.aborted) streamed.value = withEvent(streamed.value, event);
      },
    });
  });
  // Resampled heads have no values for tokens that are yet to come: the prompt alone is compared.
  const single = useComputed(() => (setup.value?.how === "resample" && setup.value.cut.length > 0 ? setup.value : null));
  const step = useResource(single, async (now, fetching) => {
    const control = await runExperiment(controlAlone(now), fetching);
    return { control, compared: await runExperiment(singleStep(now), fetching) };
  });
  const texts = useComputed<Texts>(() => {
    const arriving = generated.stale.value || generated.data.value === null;
    if (arriving && streamed.value.control.some((token) => !token.is_prompt)) return streamed.value;
    const alone = generated.error.value ? step.data.value?.control : null;
    return (alone ?? generated.data.value)?.results.generation ?? NO_TEXTS;
  });
  /** Whether the texts answer an older question and nothing newer has come yet. */
  const dim = useComputed(() => generated.stale.value && texts.value !== streamed.value && !generated.error.value);
  return { generated, step, texts, dim };
}

/** The token the lens is on: the one chosen, else where the texts part, else the first new one. */
export function chosenIn(texts: Texts, stream: ChosenToken["stream"], pos: number | null): ChosenToken | null {
  const tokens = texts[stream].length > 0 ? texts[stream] : texts.control;
  const start = promptLength(tokens);
  if (start === 0 || start >= tokens.length) return null;
  const of = texts[stream].length > 0 ? stream : "control";
  if (pos !== null && pos >= start && pos < tokens.length) return { stream: of, pos };
  return { stream: of, pos: divergence(texts) ?? start };
}

/** The logit lens of a token in both runs; nothing new is asked while the texts are being written. */
export function useLens(
  setup: ReadonlySignal<Setup | null>,
  texts: ReadonlySignal<Texts>,
  chosen: ReadonlySignal<ChosenToken | null>,
  ready: ReadonlySignal<boolean>,
): Resource<LensCurves | null> {
  const key = useComputed(() => {
    const [now, token] = [setup.value, chosen.value];
    const question = token && lensQuestion(texts.value[token.stream], token.pos);
    return now && question && ready.value ? { now, question } : null;
  });
  return useResource(key, async ({ now, question }, { signal }) => {
    const { control, cut } = lenses(now, question);
    const [whole, less] = await Promise.all([
      runExperiment(control, { signal }),
      cut ? runExperiment(cut, { signal }) : Promise.resolve(null),
    ]);
    const curve = curveOf(whole);
    return curve && { control: curve, cut: less && curveOf(less) };
  });
}

/** Importance of every head; on a small model also while it is not painted, for "Cut top 5". */
export function useImportance(): Resource<ExperimentRecord> {
  const key = useComputed(() => {
    const inputs = asked.value;
    const by = workspace.importance.value || (model.value?.quick ? "gradient" : null);
    return inputs && inputs.prompt !== "" && by ? importance(inputs, by) : null;
  });
  return useResource(key, (experiment, fetching) => runExperiment(experiment, fetching));
}
