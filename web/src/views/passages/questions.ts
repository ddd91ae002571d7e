// What a scan of a text asks: where neurons or features of an autoencoder are most active in it.

import type { Experiment, SaeReport } from "../../api";
import { parseComponent, rounding } from "../../state";
import type { Asked } from "../../state";

/** Passages shown, and tokens on either side of the most active one. */
const [PASSAGES, AROUND] = [8, 8];

/** Of so many features the server gives that at once: 500,000 tokens of passages. */
const MOST_FEATURES = Math.floor(500_000 / (PASSAGES * (2 * AROUND + 1)));

/** Where in a text a neuron is most active; null where there is no text or no neuron. */
export function neuronPassages(inputs: Asked | null, neuron: string, text: string): Experiment | null {
  if (parseComponent(neuron)?.kind !== "neuron") return null;
  return passagesOf(inputs, text, { neurons: [neuron] });
}

/** Where in a text features are most active; all of the autoencoder's where none is named. */
export function featurePassages(inputs: Asked | null, sae: SaeReport | null, features: readonly number[] | null, text: string): Experiment | null {
  if (!sae || !features) return null;
  return passagesOf(inputs, text, { sae: sae.name, ...(features.length > 0 ? { features: [...features] } : {}) });
}

/** Features of an autoencoder that a text was scanned for. */
export interface Scanned {
  sae: string;
  features: readonly number[];
}

/**
 * The features to scan a text for, so that choosing another asks nothing anew: all, said as none, where their passages fit into one
 * answer; else the ones listed beside the chosen one, and no others until one is chosen that is not among them.
 */
export function scannedFeatures({ name, d_sae }: SaeReport, chosen: number, listed: readonly number[], before: Scanned | null): Scanned {
  if (d_sae <= MOST_FEATURES) return { sae: name, features: [] };
  if (before?.sae === name && before.features.includes(chosen)) return before;
  return { sae: name, features: [...new Set([chosen, ...listed])].slice(0, MOST_FEATURES).sort((a, b) => a - b) };
}

function passagesOf(inputs: Asked | null, text: string, of: { neurons: string[] } | { sae: string; features?: number[] }): Experiment | null {
  if (!inputs || text.trim() === "") return null;
  const { model, weights, precision } = inputs;
  return { model, weights, ...rounding(precision), prompts: [], method: { text_scan: { text, ...of, top: PASSAGES, context: AROUND } } };
}
