// Experiments made of what the workspace says.

import { CUTS } from "./fields";
import type { Cut } from "./fields";
import type { Asked } from "./asked";
import type { Experiment, Method, Precision, Prompt, Replacement } from "../api";

/** The prompt of an experiment; empty inputs are left out. */
export function promptOf(asked: Asked): Prompt {
  return {
    clean: asked.prompt,
    ...(asked.corrupt ? { corrupt: asked.corrupt } : {}),
    ...(asked.target ? { answers: [asked.target] } : {}),
    // The wrong answer means nothing without the right one.
    ...(asked.target && asked.foil ? { wrong_answers: [asked.foil] } : {}),
  };
}

/** Every metric these inputs allow, so that switching between them asks for nothing. */
export function metricsFor(asked: Asked): string[] {
  const answer = asked.target ? ["prob", "rank", "margin"] : [];
  return [...(asked.target && asked.foil ? ["logit_diff"] : []), ...answer, "entropy", "kl"];
}

/** What an experiment says about a model's precision: nothing where it is f32. */
export function rounding(precision: Precision | undefined): Pick<Experiment, "precision"> {
  return precision === "bf16" ? { precision } : {};
}

export function experiment(asked: Asked, method: Method, more: Partial<Experiment> = {}): Experiment {
  return { model: asked.model, weights: asked.weights, ...rounding(asked.precision), prompts: [promptOf(asked)], method, ...more };
}

export function replacement(how: Cut): Replacement {
  switch (how) {
    case "mean": return { mean: {} };
    case "resample": return { resample: {} };
    default: return how;
  }
}

export const CUT_NAMES: Readonly<Record<Cut, string>> = {
  zero: "Zero", mean: "Mean", resample: "Resample", uniform: "Uniform",
  zero_pattern: "Zero pattern", random: "Random", previous: "Previous layer",
};

/** Whether what replaces a head depends on the seed. */
export function usesSeed(how: Cut): boolean {
  return how === "random";
}

export function isCut(name: string): name is Cut {
  return (CUTS as readonly string[]).includes(name);
}
