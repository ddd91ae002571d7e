// What the Features view asks: which features of an autoencoder are active, what one of them is, what each is worth.

import type { Experiment, ModelInfo, SaeReport } from "../../api";
import { experiment, rounding } from "../../state";
import type { Asked, Fields } from "../../state";

/** Features listed, tokens at either end, features near one. */
const [LISTED, TOKENS, NEAREST] = [24, 8, 8];

/** Features set to 0 at most, those that are most active. */
const MOST = 1000;

/** Features whose estimates are listed, and how many of them are measured. */
const [ESTIMATED, MEASURED] = [32, 20];

/** The autoencoder of this name, else the first that is open beside the model. */
export function saeOf(model: ModelInfo | null, name: string): SaeReport | null {
  return model?.saes.find((sae) => sae.name === name) ?? model?.saes[0] ?? null;
}

/** A feature by its number; null for what is none. */
export function featureNumber(text: string, sae: SaeReport | null): number | null {
  const number = /^\d+$/.test(text) ? Number(text) : null;
  return number !== null && sae !== null && number < sae.d_sae ? number : null;
}

/** The strongest features, token by token and overall, and what the autoencoder keeps of the prompt. */
export function activeFeatures(inputs: Asked | null, sae: SaeReport | null): Experiment | null {
  if (!inputs || inputs.prompt === "" || !sae) return null;
  return experiment(alone(inputs), { features: { sae: sae.name, top: LISTED, losses: "measured" } }, { metrics: [] });
}

/** One feature's activation at every token. */
export function oneFeature(inputs: Asked | null, sae: SaeReport | null, feature: number | null): Experiment | null {
  if (!inputs || inputs.prompt === "" || !sae || feature === null) return null;
  return experiment(alone(inputs), { features: { sae: sae.name, top: 1, watch: [feature], losses: "left_out" } }, { metrics: [] });
}

/** What one feature is by the weights. */
export function featureProfile(inputs: Asked | null, sae: SaeReport | null, feature: number | null): Experiment | null {
  if (!inputs || !sae || feature === null) return null;
  const { model, weights, precision } = inputs;
  return { model, weights, ...rounding(precision), prompts: [], method: { feature_profile: { sae: sae.name, feature, tokens: TOKENS, nearest: NEAREST } } };
}

/** What is lost when each active feature is set to 0 by itself, what the features do not explain kept. */
export function featureWorth(inputs: Asked | null, sae: SaeReport | null): Experiment | null {
  if (!inputs || inputs.prompt === "" || !sae) return null;
  return experiment({ ...inputs, corrupt: "" }, { feature_sweep: { sae: sae.name, features: "active", change: "ablate", by: "feature", error: "keep", most: MOST } }, { metrics: [worthMetric(inputs)] });
}

/** What each active feature is worth, estimated, and the strongest measured; null while there is no answer whose logit it is about. */
export function featureEstimates(inputs: Asked | null, sae: SaeReport | null, estimated: Fields["estimated"]): Experiment | null {
  if (!inputs || inputs.prompt === "" || inputs.target === "" || !sae) return null;
  const method = { sae: sae.name, estimate: estimated, change: "ablate" as const, by: "feature" as const, error: "keep" as const, top: ESTIMATED, check: { top: MEASURED } };
  return experiment({ ...inputs, corrupt: "" }, { feature_attribution: method }, { metrics: estimated === "direct" ? [] : [worthMetric(inputs)] });
}

export function worthMetric({ target, foil }: Pick<Asked, "target" | "foil">): string {
  return target && foil ? "logit_diff" : target ? "prob" : "kl";
}

const alone = (inputs: Asked): Asked => ({ ...inputs, corrupt: "", target: "", foil: "" });
