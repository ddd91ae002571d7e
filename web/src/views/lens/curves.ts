// Curves by layer, one for each lens of a prompt.

import type { ExperimentRecord } from "../../api";
import { findTable } from "../tables";
import { ofLens, readingsOf } from "./lenses";
import type { Reading } from "./lenses";

export interface Curve {
  layers: readonly string[];
  values: (number | null)[];
  /** The lens it is read by. */
  reading: Reading;
}

/** The curves of a metric at a position, the last where none is chosen; none where the prompt is shorter or has no answer. */
export function curvesOf(record: ExperimentRecord, metric: string, pos: number | null): Curve[] {
  const found = findTable(record.results.tables, metric, ["value"])?.table;
  if (!found) return [];
  return readingsOf(found).flatMap((reading) => {
    const { axes: [layers, positions], values } = ofLens(found, reading);
    const n = positions?.labels.length ?? 0;
    const at = pos ?? n - 1;
    if (!layers || at >= n) return [];
    return [{ layers: layers.labels, reading, values: layers.labels.map((_, layer) => values[layer * n + at] ?? null) }];
  });
}
