// Which lens the grid is read by, and a record's tables as one lens has them.

import type { Lens, ModelInfo, Table, TokenProb } from "../../api";
import type { Fields } from "../../state/fields";

/** The logit lens, or the tuned lens beside it. */
export type Reading = "logit" | "tuned";

export const LENS_NAMES: Readonly<Record<Reading, string>> = { logit: "logit lens", tuned: "tuned lens" };

/** The tuned lens of this name, else the first that is open beside the model; null where none is. */
export function openLens(model: Pick<ModelInfo, "tuned_lenses"> | null, name: string): string | null {
  const open = model?.tuned_lenses ?? [];
  return (open.find((lens) => lens.name === name) ?? open[0])?.name ?? null;
}

/** Whether translators have rows to read: the stream between layers, each row with its own scale. */
export function takesTuned({ rows, norm }: Pick<Fields, "rows" | "norm">): boolean {
  return rows === "layers" && (norm === "" || norm === "final");
}

/** The lenses a table tells apart: in front of its other axes stands that of lenses where there are two. */
export function readingsOf(table: Table | undefined): readonly Reading[] {
  return table?.axes[0]?.name === "lens" ? ["logit", "tuned"] : ["logit"];
}

/** A table as one lens has it, without the axis of lenses. */
export function ofLens(table: Table, reading: Reading): Table {
  const readings = readingsOf(table);
  if (readings.length === 1) return table;
  const n = table.values.length / readings.length;
  const first = n * Math.max(0, readings.indexOf(reading));
  return { ...table, axes: table.axes.slice(1), values: table.values.slice(first, first + n) };
}

/** The five tokens of a cell. */
export function topOf(lens: Lens | null | undefined, reading: Reading, layer: number, pos: number): readonly TokenProb[] {
  const top = reading === "tuned" ? lens?.tuned_top : lens?.top;
  return top?.[layer]?.[pos] ?? [];
}
