// The numbers that say how far the cut model is from the whole one: what each is called, its unit, and
// what exactly was measured.

import type { Comparison, Quantity, Table } from "../../api/schema";
import { percent } from "../../components/number";

export interface Reading {
  label: string;
  /** As shown, sign and all. */
  value: string;
  unit: string;
  /** One sentence for the hover card and the report. */
  definition: string;
}

/** In the order they are shown; without a comparison their names alone. */
export function readings(comparison: Comparison | null): Reading[] {
  if (!comparison) {
    const labels = ["KL, original from cut", "Perplexity change", "Top-1 changed", "L2 of final residual"];
    return labels.map((label) => ({ label, value: "\u2013", unit: "", definition: "cut a head to compare" }));
  }
  const { tokens, kl_mean, perplexity_control, perplexity_ablated, perplexity_change, top1_changed, l2_resid } = comparison;
  const where = `both models reading the control text, prompt included (${tokens} tokens)`;
  return [
    {
      label: "KL, original from cut",
      value: figure(kl_mean),
      unit: "nats",
      definition: `KL(original || cut) of the next-token distributions, mean over positions; ${where}`,
    },
    {
      label: "Perplexity change",
      value: change(perplexity_change),
      unit: "",
      definition: `perplexity of the cut model, ${figure(perplexity_ablated)}, minus that of the original, `
        + `${figure(perplexity_control)}; ${where}`,
    },
    {
      label: "Top-1 changed",
      value: percent(top1_changed),
      unit: "",
      definition: `share of positions whose most probable next token differs; ${where}`,
    },
    {
      label: "L2 of final residual",
      value: figure(l2_resid),
      unit: "",
      definition: `L2 norm of the difference of the last residual stream, mean over positions; ${where}`,
    },
  ];
}

/** What the numbers were measured on. */
export function measuredOn({ tokens }: Comparison): string {
  return `Both models reading the control text, prompt included: ${tokens} tokens.`;
}

/** The same from an ablation of the prompt alone; the last number is not measured there. */
export function readingsOfTables(tables: readonly Table[]): Reading[] {
  const found = (metric: string, quantity: Quantity, show: (value: number) => string): Partial<Reading> => {
    const table = tables.find((one) => one.metric === metric && one.quantity === quantity);
    const value = table?.values[0];
    if (!table || value === null || value === undefined) return {};
    return { value: show(value), definition: `${table.title}, on the prompt alone (${table.unit}); ${table.baseline}` };
  };
  const [kl, perplexity, top1, l2] = readings(null) as [Reading, Reading, Reading, Reading];
  return [
    { ...kl, ...found("kl_mean", "value", figure), unit: "nats" },
    { ...perplexity, ...found("perplexity", "change", change) },
    { ...top1, ...found("top1_changed", "value", percent) },
    { ...l2, definition: "not measured on the prompt alone" },
  ];
}

/** Three significant digits or more, and never an exponent where a person can read without. */
export function figure(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) return value.toExponential(2).replaceAll("-", "\u2212").replace("e+", "e");
  const digits = size >= 100 ? 1 : size >= 10 ? 2 : size >= 0.1 || size === 0 ? 3 : 4;
  return value.toFixed(digits).replace("-", "\u2212");
}

function change(value: number): string {
  return value > 0 ? `+${figure(value)}` : figure(value);
}

/** `1st`, `2nd`, `3rd`, `11th`, `22nd`. */
export function ordinal(count: number): string {
  const teen = count % 100 >= 11 && count % 100 <= 13;
  return `${count}${teen ? "th" : (["th", "st", "nd", "rd"][count % 10] ?? "th")}`;
}
