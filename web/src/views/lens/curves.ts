// Curves of the answer's probability by layer, one a prompt.

import type { ExperimentRecord } from "../../api";
import { findTable } from "../tables";

export interface Curve {
  layers: readonly string[];
  values: (number | null)[];
  /** The position it is read at. */
  pos: number;
}

/** The curve at a position, the last where none is chosen; null where the prompt is shorter or has no answer. */
export function curveOf(record: ExperimentRecord, pos: number | null): Curve | null {
  const table = findTable(record.results.tables, "prob", ["value"])?.table;
  const [layers, positions] = table?.axes ?? [];
  if (!table || !layers || !positions) return null;
  const n = positions.labels.length;
  const at = pos ?? n - 1;
  if (at >= n) return null;
  return { layers: layers.labels, pos: at, values: layers.labels.map((_, layer) => table.values[layer * n + at] ?? null) };
}
