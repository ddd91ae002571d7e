// What the cells of the logit lens are coloured by.

import type { Table } from "../../api";
import type { Option, Scale } from "../../components";
import { percent, plain } from "../../components/number";
import { largest, sequential } from "../../components/scale";

const NAMES = { top1_prob: "Top probability", prob: "Answer probability", entropy: "Entropy", rank: "Answer rank" } as const;
export type Colour = keyof typeof NAMES;

export function colourOptions(hasAnswer: boolean): Option<Colour>[] {
  return (Object.keys(NAMES) as Colour[]).map((value) => {
    const missing = !hasAnswer && (value === "prob" || value === "rank");
    return { value, text: NAMES[value], disabled: missing, ...(missing ? { title: "Give an answer to colour by it" } : {}) };
  });
}

export function colourShown(wanted: string, hasAnswer: boolean): Colour {
  const found = colourOptions(hasAnswer).find((option) => option.value === wanted && !option.disabled);
  return found?.value ?? "top1_prob";
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
  if (table.metric === "rank") {
    const last = largest(table.values);
    const values = table.values.map((rank) => (rank === null ? null : -Math.log(rank)));
    return { values, scale: sequential(0, -Math.log(Math.max(2, last))), low: `rank ${last}`, high: "rank 1", line: `${line}; logarithmic` };
  }
  const scale = table.metric === "entropy" ? sequential(largest(table.values)) : sequential(1);
  const told = table.metric === "entropy" ? (value: number) => `${plain(value)} nats` : percent;
  return { values: table.values, scale, low: told(0), high: told(scale.max), line };
}
