// What the cells of the logit lens are coloured by.

import type { Table } from "../../api";
import type { Option, Scale } from "../../components";
import { percent, plain } from "../../components/number";
import { diverging, largest, sequential, symmetricMax } from "../../components/scale";
import type { Fields } from "../../state/fields";

const NAMES = {
  top1_prob: "Top probability", prob: "Answer probability", entropy: "Entropy", rank: "Answer rank", kl: "KL to the output",
  logit_diff: "Logit difference", logit: "Answer logit",
} as const;
export type Colour = keyof typeof NAMES;

/** What a lens measures of each cell, the first shown first. */
export function colours(rows: Fields["rows"], hasAnswer: boolean, hasFoil: boolean): readonly Colour[] {
  if (rows !== "contributions") return ["top1_prob", "prob", "entropy", "rank", "kl"];
  // Only what is linear in the logits can be shared out among parts.
  return hasAnswer ? [hasFoil ? "logit_diff" : "logit", "top1_prob"] : ["top1_prob"];
}

export function colourOptions(names: readonly Colour[], hasAnswer: boolean): Option<Colour>[] {
  return names.map((value) => {
    const missing = !hasAnswer && (value === "prob" || value === "rank");
    return { value, text: NAMES[value], disabled: missing, ...(missing ? { title: "Give an answer to colour by it" } : {}) };
  });
}

export function colourShown(wanted: string, names: readonly Colour[], hasAnswer: boolean): Colour {
  const open = colourOptions(names, hasAnswer).filter((option) => !option.disabled);
  return (open.find((option) => option.value === wanted) ?? open[0])?.value ?? "top1_prob";
}

export interface Colouring {
  values: (number | null)[];
  scale: Scale;
  low: string;
  high: string;
  line: string;
}

/** A table as colours. Ranks run over thousands and rank 1 matters most: they are coloured by their logarithm. */
export function colouring(table: Table): Colouring {
  const line = `${NAMES[table.metric as Colour] ?? table.title}: ${table.baseline}`;
  if (table.quantity === "change") {
    const max = symmetricMax(table.values);
    const less = table.metric === "rank" || table.metric === "entropy" || table.metric === "kl";
    return { values: table.values, scale: { ...diverging(max), flip: less }, low: plain(-max), high: `${plain(max)} ${table.unit}`, line };
  }
  if (table.metric === "rank") {
    const last = largest(table.values);
    const values = table.values.map((rank) => (rank === null ? null : -Math.log(rank)));
    return { values, scale: sequential(0, -Math.log(Math.max(2, last))), low: `rank ${last}`, high: "rank 1", line: `${line}; logarithmic` };
  }
  const nats = table.metric === "entropy" || table.metric === "kl";
  const scale = nats ? sequential(largest(table.values)) : sequential(1);
  const told = nats ? (value: number) => `${plain(value)} nats` : percent;
  return { values: table.values, scale, low: told(0), high: told(scale.max), line };
}
