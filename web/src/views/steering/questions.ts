// What the Steering view asks: the prompt's metrics over strengths, and two texts.

import type { Experiment, SaeReport, Steering, SteeringDirection } from "../../api";
import { experiment, parseComponent } from "../../state";
import type { Asked, Fields } from "../../state";
import { featureNumber } from "../features/questions";
import { strengthsOf } from "./strengths";

/** `autoencoder` is the one whose feature is steered with. */
export type Direction = Pick<Fields, "along" | "towards" | "away" | "over" | "neuron" | "feature" | "into" | "sized"> & { autoencoder?: SaeReport | null };

/** Where the direction comes from; null while something of it is missing. */
export function directionOf(inputs: Asked, { along, towards, away, over, neuron, autoencoder = null, feature }: Direction): SteeringDirection | null {
  if (along === "feature") {
    const number = featureNumber(feature, autoencoder);
    return autoencoder && number !== null ? { feature: { sae: autoencoder.name, feature: number } } : null;
  }
  if (along === "neuron") return parseComponent(neuron)?.kind === "neuron" ? { neuron } : null;
  const [to, from] = [towards || inputs.corrupt, away || inputs.prompt];
  return to === "" || from === "" || to === from ? null : { difference: { towards: [to], away: [from], ...(over === "all" ? { over } : {}) } };
}

/** The layer in front of which it is added: the one chosen, else that after the neuron's or where the feature is written, else the middle one. */
export function layerOf({ into, along, neuron, autoencoder }: Pick<Direction, "into" | "along" | "neuron" | "autoencoder">, layers: number): number {
  if (into !== null && into < layers) return into;
  const [, layer, site] = /^blocks\.(\d+)\.(.+)$/.exec(along === "feature" ? (autoencoder?.hook_out ?? autoencoder?.hook ?? "") : "") ?? [];
  if (layer !== undefined) return Math.min(layers - 1, Number(layer) + (site === "hook_resid_pre" ? 0 : 1));
  const own = along === "neuron" ? parseComponent(neuron) : null;
  return own ? Math.min(layers - 1, own.layer + 1) : Math.floor(layers / 2);
}

function steered(inputs: Asked | null, direction: Direction, layers: number, more: Pick<Steering, "strengths" | "max_new_tokens" | "temperature">): Steering | null {
  if (!inputs || inputs.prompt === "") return null;
  const along = directionOf(inputs, direction);
  return along && { along, layer: layerOf(direction, layers), ...(direction.sized === "one" ? { length: "one" as const } : {}), ...more };
}

/** What the prompt's metrics become, strength by strength. */
export function strengthCurve(inputs: Asked | null, direction: Direction, layers: number, reach: number): Experiment | null {
  const steering = reach > 0 ? steered(inputs, direction, layers, { strengths: strengthsOf(reach) }) : null;
  return inputs && steering && experiment({ ...inputs, corrupt: "" }, { steering }, { metrics: metrics(inputs) });
}

export type Writing = Pick<Fields, "strength" | "length" | "temperature" | "seed">;

/** The prompt written on, without the direction and with it. */
export function steeredTexts(inputs: Asked | null, direction: Direction, layers: number, { strength, length, temperature, seed }: Writing): Experiment | null {
  const sampled = temperature > 0 ? { temperature } : {};
  const steering = length > 0 ? steered(inputs, direction, layers, { strengths: [0, ...(strength === 0 ? [] : [strength])], max_new_tokens: length, ...sampled }) : null;
  const seeded = temperature > 0 ? { seed } : {};
  return inputs && steering && experiment({ ...inputs, corrupt: "", target: "", foil: "" }, { steering }, { metrics: ["kl"], ...seeded });
}

function metrics(inputs: Asked): string[] {
  return [...(inputs.target && inputs.foil ? ["logit_diff"] : []), ...(inputs.target ? ["prob"] : []), "kl"];
}
