// Reading composition scores: what one head has most to do with.

import type { Table } from "../../api";

export const KINDS = [
  { metric: "q_composition", text: "Queries" },
  { metric: "k_composition", text: "Keys" },
  { metric: "v_composition", text: "Values" },
] as const;

export interface Partner {
  name: string;
  value: number;
}

/** The heads that compose most with one: earlier ones it reads from, later ones that read from it. */
export function partners(table: Table, head: string, side: "from" | "to", count: number): Partner[] {
  const names = table.axes[0]?.labels ?? [];
  const n = names.length;
  const own = names.indexOf(head);
  if (own < 0) return [];
  const found = names.flatMap((name, other) => {
    const value = table.values[side === "from" ? other * n + own : own * n + other];
    return value == null ? [] : [{ name, value }];
  });
  return found.sort((a, b) => b.value - a.value).slice(0, count);
}
