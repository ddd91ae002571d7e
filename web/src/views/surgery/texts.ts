// The two texts token by token: what was added to the prompt, where they part, and what a lens reads.

import type { GeneratedToken, JobEvent, Replacement, Text } from "../../api/schema";
import type { Cut } from "../../state";

export type Stream = "control" | "ablated";

export interface Texts {
  control: readonly GeneratedToken[];
  ablated: readonly GeneratedToken[];
}

export const NO_TEXTS: Texts = { control: [], ablated: [] };

/** The texts after one more event of a running generation. */
export function withEvent(texts: Texts, event: JobEvent): Texts {
  if (event.type !== "token") return texts;
  const grown = [...texts[event.stream]];
  grown[event.index] = event.token;
  return { ...texts, [event.stream]: grown };
}

/** How many tokens of a text are the prompt's. */
export function promptLength(tokens: readonly GeneratedToken[]): number {
  const first = tokens.findIndex((token) => !token.is_prompt);
  return first < 0 ? tokens.length : first;
}

/** The place of the first token that differs, counted from the start of the prompt; null while none does. */
export function divergence({ control, ablated }: Texts): number | null {
  const shared = Math.min(control.length, ablated.length);
  for (let i = 0; i < shared; i += 1) if (control[i]?.id !== ablated[i]?.id) return i;
  return null;
}

/** What the logit lens of a token reads: the text before it, with the token as the answer. */
export interface LensQuestion {
  before: number[];
  answer: number;
}

export function lensQuestion(tokens: readonly GeneratedToken[], pos: number): LensQuestion | null {
  const token = tokens[pos];
  if (!token || pos === 0) return null;
  return { before: tokens.slice(0, pos).map(({ id }) => id), answer: token.id };
}

/**
 * What takes the place of a cut head while a generated text is read again. A mean stays that over the
 * prompt, as it was when the text was generated; left alone it would be that over the longer text.
 */
export function replacementWhileReading(how: Cut, prompt: Text): Replacement {
  if (how === "mean") return { mean: { reference: [prompt] } };
  return how === "resample" ? { resample: {} } : how;
}
