// A table of edges for tests.

import type { Table } from "../../api";

/** Two layers of one head and an MLP each. */
export const RECEIVERS = ["a0.h0<q>", "a0.h0<v>", "m0", "a1.h0<q>", "a1.h0<v>", "m1", "logits"];
export const CHANGES: readonly (readonly (number | null)[])[] = [
  [0.1, -2, -0.3, -0.2, 0, -0.1, -0.4],
  [null, null, -0.5, -3, -1, -0.6, -0.7],
  [null, null, null, -0.05, 0.9, -0.8, -0.01],
  [null, null, null, null, null, 0.35, -4],
  [null, null, null, null, null, null, 0.02],
];
export const TABLE = {
  metric: "logit_diff", quantity: "change", unit: "logits",
  axes: [{ name: "sender", labels: ["input", "a0.h0", "m0", "a1.h0", "m1"] }, { name: "receiver", labels: RECEIVERS }],
  values: CHANGES.flat(),
} as unknown as Table;
