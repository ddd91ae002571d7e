// The layouts of a patch sweep, and the cells of each by name: heads `L4H1`, a head at a position
// `L4H1@9`, a layer at a position `L4@9`.

import type { Patch, Positions, Table } from "../../api";
import type { Fields } from "../../state";
import { headRows } from "../tables";

export interface LayoutChoice {
  key: string;
  text: string;
  title: string;
  site: string;
  layout: Fields["layout"];
}

export const LAYOUTS: readonly LayoutChoice[] = [
  { key: "heads", text: "Heads", title: "Each head's output, patched at all positions", site: "z", layout: "head" },
  { key: "headpos", text: "Head × position", title: "Each head's output, patched at one position", site: "z", layout: "head_position" },
  { key: "resid", text: "Residual × position", title: "Residual stream before each layer, patched at one position", site: "resid_pre", layout: "layer_position" },
  { key: "attn", text: "Attention out", title: "Each layer's attention output, patched at one position", site: "attn_out", layout: "layer_position" },
  { key: "mlp", text: "MLP out", title: "Each layer's MLP output, patched at one position", site: "mlp_out", layout: "layer_position" },
];

/** Layouts that Attribution offers as well: a link from there shows them here. */
const MORE: readonly LayoutChoice[] = [
  ...([["q", "Queries", "query"], ["k", "Keys", "key"], ["v", "Values", "value"]] as const).flatMap(([site, text, word]): LayoutChoice[] => [
    { key: site, text, title: `Each head's ${word}, patched at all positions`, site, layout: "head" },
    { key: `${site}pos`, text: `${text} × position`, title: `Each head's ${word}, patched at one position`, site, layout: "head_position" },
  ]),
  ...([["resid_pre", "Residual", "Residual stream before each layer"], ["attn_out", "Attention out", "Each layer's attention output"], ["mlp_out", "MLP out", "Each layer's MLP output"]] as const)
    .map(([site, text, words]): LayoutChoice => ({ key: `${site}all`, text, title: `${words}, patched at all positions`, site, layout: "layer" })),
];

/** The layouts to choose from, and the one that is on show. */
export function layoutsWith(shown: LayoutChoice): readonly LayoutChoice[] {
  return LAYOUTS.includes(shown) ? LAYOUTS : [...LAYOUTS, shown];
}

export function layoutOf(site: string, layout: Fields["layout"]): LayoutChoice {
  return [...LAYOUTS, ...MORE].find((choice) => choice.site === site && choice.layout === layout) ?? (LAYOUTS[2] as LayoutChoice);
}

export interface Grid {
  rowName: string;
  rows: readonly string[];
  columnName: string;
  columns: readonly string[];
  /** Columns are token positions. */
  positions: boolean;
  values: readonly (number | null)[];
}

/** A table as the grid it is drawn as. */
export function gridOf(table: Table): Grid | null {
  const [first, second, third] = table.axes;
  if (!first) return null;
  // Layers alone: one column, without a name of its own.
  if (!second) return { rowName: first.name, rows: first.labels, columnName: "all positions", columns: [""], positions: false, values: table.values };
  if (third) return { ...headRows(table), rowName: "head", columnName: second.name, columns: second.labels, positions: true };
  return {
    rowName: first.name, rows: first.labels, columnName: second.name, columns: second.labels,
    positions: second.name === "position", values: table.values,
  };
}

export function nameOf(grid: Grid, cell: number): string {
  const row = grid.rows[Math.floor(cell / grid.columns.length)] ?? "";
  const column = cell % grid.columns.length;
  return grid.positions ? `${row}@${column}` : row + (grid.columns[column] ?? "");
}

interface Part {
  row: string;
  pos: number | null;
}

function partOf(name: string): Part | null {
  const found = /^(L\d+(?:H\d+)?)(?:@(\d+))?$/.exec(name);
  return found?.[1] ? { row: found[1], pos: found[2] === undefined ? null : Number(found[2]) } : null;
}

/**
 * Chosen cells completed to what one run can patch: every chosen layer (or head) at every chosen
 * position.
 */
export function completed(names: readonly string[]): string[] {
  const parts = names.flatMap((name) => partOf(name) ?? []);
  const rows = [...new Set(parts.map((part) => part.row))];
  const positions = [...new Set(parts.map((part) => part.pos))];
  return rows.flatMap((row) => positions.map((pos) => (pos === null ? row : `${row}@${pos}`)));
}

/** The patch of all chosen cells in one run. */
export function patchOf(names: readonly string[], site: string, direction: Fields["direction"]): Patch | null {
  const parts = names.flatMap((name) => partOf(name) ?? []);
  if (parts.length === 0) return null;
  const rows = [...new Set(parts.map((part) => part.row))];
  const positions = [...new Set(parts.flatMap((part) => part.pos ?? []))].sort((a, b) => a - b);
  const at: Positions = positions.length > 0 ? { at: positions } : "all";
  const heads = rows.filter((row) => row.includes("H"));
  const layers = rows.filter((row) => !row.includes("H")).map((row) => Number(row.slice(1))).sort((a, b) => a - b);
  // Cells of two layouts cannot be patched at once: changing the layout clears the choice.
  return { site, by: heads.length > 0 ? { heads } : { layers }, direction, at };
}
