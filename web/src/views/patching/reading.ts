// Which number of a patch sweep is shown, and on which scale.

import type { Quantity, Table } from "../../api";
import { diverging, plain, sequential, symmetricMax } from "../../components";
import type { Scale } from "../../components";

export type PatchMetric = "logit_diff" | "prob";

/** The metric on show: the one wanted where there is one, the logit difference where there is a wrong answer. */
export function patchMetric(foil: boolean, wanted: string): PatchMetric {
  return foil && wanted !== "prob" ? "logit_diff" : "prob";
}

export function quantities(wanted: string): readonly Quantity[] {
  return wanted === "value" ? ["value"] : ["recovery"];
}

/** Recovery runs from the corrupt run's 0 to the clean run's 1, and further where a patch overshoots. */
export function scaleOf(table: Table): Scale {
  if (table.quantity === "recovery") return diverging(Math.max(1, symmetricMax(table.values)));
  return table.metric === "prob" ? sequential(1) : diverging(symmetricMax(table.values));
}

export const format = plain;

const NAMES: Readonly<Record<string, string>> = { logit_diff: "logit difference", prob: "probability of the answer" };

/** The line below the heatmap: what is shown, against what. */
export function line(table: Table): string {
  const name = NAMES[table.metric] ?? table.metric;
  const what = table.quantity === "recovery" ? `recovery of the ${name}` : name;
  return `${what.charAt(0).toUpperCase()}${what.slice(1)}: ${table.baseline.replace(/-(?=\d)/g, "−")}`;
}
