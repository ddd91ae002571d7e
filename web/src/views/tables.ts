// Reading the API's tables.

import type { Quantity, Table } from "../api";

export interface Found {
  table: Table;
  /** Its place among the record's tables. */
  index: number;
}

/** The table of a metric, by the first of these quantities that there is. */
export function findTable(tables: readonly Table[] | undefined, metric: string, quantities: readonly Quantity[]): Found | null {
  for (const quantity of quantities) {
    const index = tables?.findIndex((table) => table.metric === metric && table.quantity === quantity) ?? -1;
    const table = tables?.[index];
    if (table) return { table, index };
  }
  return null;
}

export interface Entry {
  cell: number;
  value: number;
}

/** The cells with the largest absolute values, largest first. */
export function strongest(values: readonly (number | null)[], count: number): Entry[] {
  const entries = values.flatMap((value, cell) => (value === null ? [] : [{ cell, value }]));
  return entries.sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, count);
}

/** A table over layers, positions and heads as rows of heads: `values[(layer * heads + head) * positions + position]`. */
export function headRows(table: Table): { rows: string[]; values: (number | null)[] } {
  const [layers, positions, heads] = table.axes;
  if (!layers || !positions || !heads) return { rows: [], values: [] };
  const rows: string[] = [];
  const values: (number | null)[] = [];
  layers.labels.forEach((layer, l) => {
    heads.labels.forEach((head, h) => {
      rows.push(layer + head);
      positions.labels.forEach((_, p) => {
        values.push(table.values[(l * positions.labels.length + p) * heads.labels.length + h] ?? null);
      });
    });
  });
  return { rows, values };
}

/** A number with its unit, where it has one that is worth saying. */
export function withUnit(number: string, unit: string): string {
  return unit === "" || unit === "recovery" ? number : `${number} ${unit}`;
}
