// Reading head scores: which heads play which role.

import type { ExperimentRecord, Table } from "../api";
import { parseHead } from "../state";
import { findTable, strongest } from "./tables";

export const SCORES = [
  { value: "previous_token", text: "Previous", name: "previous token", title: "Attention to the token just before" },
  { value: "duplicate_token", text: "Duplicate", name: "duplicate token", title: "Attention to an earlier occurrence of the same token" },
  { value: "induction", text: "Induction", name: "induction", title: "Attention to the token after an earlier occurrence of the same token" },
  { value: "positional", text: "Position", name: "positional", title: "Attention that two unrelated texts share" },
] as const;

export function scoreTable(record: ExperimentRecord | null, score: string): Table | null {
  return findTable(record?.results.tables, score, ["value"])?.table ?? null;
}

/** A head's share in a score table. */
export function scoreOf(table: Table | null, name: string): number | null {
  const head = parseHead(name);
  return head && table ? (table.values[head.layer * (table.axes[1]?.labels.length ?? 0) + head.head] ?? null) : null;
}

/** The head with the highest score, to begin with. */
export function bestHead(table: Table | null): string | null {
  const first = table && strongest(table.values, 1)[0];
  return first ? headOf(table, first.cell) : null;
}

export function headOf(table: Table, cell: number): string {
  const n = table.axes[1]?.labels.length ?? 1;
  return `${table.axes[0]?.labels[Math.floor(cell / n)] ?? ""}${table.axes[1]?.labels[cell % n] ?? ""}`;
}

/** A head's roles in words: `induction 0.90`; of a head without one, what it is nearest to. */
export function rolesOf(record: ExperimentRecord | null, head: string, format: (value: number) => string): string {
  const found = record?.results.roles?.heads.find((one) => one.head === head);
  if (!found) return "";
  if (found.has.length === 0) return `no role; ${found.nearest.role} ${format(found.nearest.score)}`;
  return found.has.map(({ role, score }) => `${role} ${format(score)}`).join(" · ");
}
