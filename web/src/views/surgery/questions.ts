// The experiments behind the Surgery view.

import type { Experiment, ImportanceBy, Text } from "../../api/schema";
import { replacement } from "../../state/prompt";
import type { Cut } from "../../state/fields";
import { replacementWhileReading } from "./texts";
import type { LensQuestion } from "./texts";

/** Everything a surgery depends on. */
export interface Setup {
  model: string;
  prompt: string;
  /** What `resample` takes values from; empty: none. */
  corrupt: string;
  cut: readonly string[];
  how: Cut;
  temperature: number;
  seed: number;
  length: number;
}

/** Both texts; the control text alone while nothing is cut. */
export function generation(setup: Setup): Experiment {
  const { cut, how, temperature, length } = setup;
  const more = cut.length > 0 ? { cut: [...cut], with: replacement(how) } : {};
  return ask(setup, prompt(setup), { generate: { max_new_tokens: length, temperature, ...more } });
}

/** The control text alone, for ways to cut that cannot be kept up while a text grows. */
export function controlAlone(setup: Setup): Experiment {
  return generation({ ...setup, cut: [] });
}

/** The prompt read once with the heads cut: what is left to compare where no text can be generated. */
export function singleStep(setup: Setup): Experiment {
  const ablate = { targets: { together: [...setup.cut] }, with: replacement(setup.how) };
  return { ...ask(setup, prompt(setup), { ablate }), metrics: ["kl_mean", "perplexity", "top1_changed"] };
}

export function importance(setup: Pick<Setup, "model" | "prompt">, by: ImportanceBy): Experiment {
  return { model: setup.model, prompts: [{ clean: setup.prompt }], method: { importance: { by } } };
}

/** What every layer would give a token, in the whole model and, with heads cut, in the cut one. */
export function lenses(setup: Setup, { before, answer }: LensQuestion): { control: Experiment; cut: Experiment | null } {
  const of = (logit_lens: { cut?: string[]; with?: ReturnType<typeof replacement> }): Experiment => ({
    ...ask(setup, { clean: before, answers: [answer] }, { logit_lens }),
    metrics: ["prob"],
  });
  // Another prompt's values fit that prompt's positions alone, not those of a text that has grown.
  if (setup.cut.length === 0 || setup.how === "resample") return { control: of({}), cut: null };
  return { control: of({}), cut: of({ cut: [...setup.cut], with: replacementWhileReading(setup.how, setup.prompt) }) };
}

function prompt({ prompt, corrupt, cut, how }: Setup): { clean: Text; corrupt?: Text } {
  return { clean: prompt, ...(cut.length > 0 && how === "resample" && corrupt !== "" ? { corrupt } : {}) };
}

function ask({ model, seed }: Setup, prompt: Experiment["prompts"][number], method: Experiment["method"]): Experiment {
  return { model, prompts: [prompt], method, ...(seed === 0 ? {} : { seed }) };
}
