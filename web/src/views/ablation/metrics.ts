// The metrics the Ablation view switches between, and how each is read.

import type { Quantity, Table } from "../../api";
import type { Option, Scale } from "../../components";
import { plain, signed } from "../../components/number";
import { diverging, largest, sequential, symmetricMax } from "../../components/scale";
import type { Asked } from "../../state";

const NAMES = {
  logit_diff: "Logit difference", prob: "Probability", rank: "Rank", margin: "Margin", entropy: "Entropy", kl: "KL",
} as const;
export type MetricName = keyof typeof NAMES;

/** A change is shown where there is one; KL is a difference by itself. */
export const QUANTITIES: readonly Quantity[] = ["change", "value"];

export function metricOptions(asked: Asked): Option<MetricName>[] {
  const need = (name: MetricName): string | null => {
    if (name === "entropy" || name === "kl") return null;
    if (!asked.target) return "Give an answer to measure this";
    return name === "logit_diff" && !asked.foil ? "Give a wrong answer (Not) to measure this" : null;
  };
  return (Object.keys(NAMES) as MetricName[]).map((value) => {
    const missing = need(value);
    return { value, text: NAMES[value], disabled: missing !== null, ...(missing ? { title: missing } : {}) };
  });
}

/** The metric on show: the one asked for where the inputs allow it, or else the first they allow. */
export function metricShown(asked: Asked, wanted: string): MetricName {
  const open = metricOptions(asked).filter((option) => !option.disabled).map((option) => option.value);
  return open.find((name) => name === wanted) ?? open[0] ?? "entropy";
}

/** Effects are symmetric about 0; a higher rank is further from the answer, so its colours are turned. */
export function scaleOf(table: Table): Scale {
  if (table.quantity === "value") return sequential(largest(table.values));
  return { ...diverging(symmetricMax(table.values)), flip: table.metric === "rank" };
}

export function formatOf(table: Table): (value: number) => string {
  return table.quantity === "value" ? plain : signed;
}

/** Whether a metric's high values speak against the answer, so that its colours are turned. */
export const turned = (metric: string): boolean => metric === "rank" || metric === "entropy" || metric === "kl";

/** What the colours say, to stand before the table's own baseline. */
export function reading(table: Table): string {
  switch (table.metric) {
    case "prob":
    case "logit_diff":
    case "margin": return "Red: the answer loses when the head is cut. ";
    case "rank": return "Red: the answer falls in rank when the head is cut. ";
    case "entropy": return "Blue: less certain when the head is cut. ";
    default: return "";
  }
}
