// Shares of direct attribution read out of their tables: as a grid, as a list, as a sum.

import type { Table } from "../../api";
import { findTable } from "../tables";

export interface PartGrid {
  rows: readonly string[];
  columns: readonly string[];
  values: readonly (number | null)[];
  /** Names of the cells as the API writes them: `L1H2`, `m1`; the output bias of attention layer 1, which is no component: `b1`. */
  names: readonly string[];
}

/** Heads, the MLP and the attention bias of every layer side by side. */
export function partGrid(tables: readonly Table[]): PartGrid | null {
  const of = (metric: string) => findTable(tables, metric, ["change"])?.table;
  const [heads, mlps, biases] = [of("direct_heads"), of("direct_mlps"), of("direct_biases")];
  const [layers, each] = heads?.axes ?? [];
  if (!heads || !layers || !each) return null;
  const n = each.labels.length;
  const cells = layers.labels.flatMap((layer, l) => [
    ...each.labels.map((head, h) => ({ name: layer + head, value: heads.values[l * n + h] ?? null })),
    ...(mlps ? [{ name: `m${l}`, value: mlps.values[l] ?? null }] : []),
    { name: `b${l}`, value: biases?.values[l] ?? null },
  ]);
  return {
    rows: layers.labels, columns: [...each.labels, ...(mlps ? ["MLP"] : []), "b_O"],
    values: cells.map(({ value }) => value), names: cells.map(({ name }) => name),
  };
}

/** One line of the sum. */
export interface Term {
  name: string;
  value: number;
  title: string;
}

export interface Sum {
  terms: readonly Term[];
  /** All terms together. */
  total: number;
  /** The logit, or logit difference, that the model gives. */
  model: number;
}

/** What adds up to the logit. */
export function sumOf(tables: readonly Table[]): Sum | null {
  const total = (metric: string): number | null => {
    const table = findTable(tables, metric, ["change"])?.table;
    return table ? table.values.reduce<number>((sum, value) => sum + (value ?? 0), 0) : null;
  };
  const outside = findTable(tables, "direct_outside", ["change"])?.table;
  const part = (name: string): number => outside?.values[outside.axes[0]?.labels.indexOf(name) ?? -1] ?? Number.NaN;
  if (!outside) return null;
  const mlps = total("direct_mlps");
  return {
    terms: [
      { name: "Heads", value: total("direct_heads") ?? 0, title: "All heads' outputs, b_O left out" },
      ...(mlps === null ? [] : [{ name: "MLPs", value: mlps, title: "All MLPs' outputs, their biases included" }]),
      { name: "Attention biases", value: total("direct_biases") ?? 0, title: "b_O of every layer" },
      { name: "Token embedding", value: part("embed"), title: "The embedding of the token at the position attributed" },
      { name: "Position embedding", value: part("pos_embed"), title: "The embedding of that position" },
      { name: "Constant", value: part("constant"), title: "Biases of the final LayerNorm and of the unembedding: the same for every prompt" },
    ],
    total: part("all shares"), model: part("model"),
  };
}

/** The stream read as the answer, from the embedding up, as it is called on the page: `before L0`, `mid L0`, .. `end`. */
export function accumulated(tables: readonly Table[]): { labels: string[]; values: (number | null)[] } | null {
  const table = findTable(tables, "direct_accumulated", ["change"])?.table;
  const labels = table?.axes[0]?.labels;
  if (!table || !labels) return null;
  return { labels: labels.map((label) => label.replace(/^(\d+)_pre$/, "L$1").replace(/^(\d+)_mid$/, "L$1 MLP").replace("final_post", "end")), values: [...table.values] };
}
