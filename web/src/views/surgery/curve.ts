// A token's probability layer by layer, taken out of a logit lens.

import type { ExperimentRecord, TokenProb } from "../../api/schema";

export interface Curve {
  layers: readonly string[];
  probs: readonly number[];
  /** The most probable token at each layer. */
  tops: readonly (TokenProb | undefined)[];
}

/** The answer's probability at the last position, by layer; null where the record has none. */
export function curveOf(record: ExperimentRecord): Curve | null {
  const table = (record.results.tables ?? []).find(({ metric }) => metric === "prob");
  const [layers, positions] = table?.axes ?? [];
  if (!table || !layers || !positions) return null;
  const width = positions.labels.length;
  const probs = layers.labels.map((_, layer) => table.values[layer * width + width - 1]);
  if (probs.some((prob) => prob === null || prob === undefined)) return null;
  const tops = layers.labels.map((_, layer) => record.results.lens?.top[layer]?.[width - 1]?.[0]);
  return { layers: layers.labels, probs: probs as number[], tops };
}
