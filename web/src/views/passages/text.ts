// The text that neurons and features are looked for in. It may be long, so it is no part of the address; it outlives the view.

import { signal } from "@preact/signals";
import type { Example } from "../../api";

/** What is typed or pasted. */
export const ownText = signal("");

/** What is scanned of it; null: the prompts of the examples. */
export const scanned = signal<string | null>(null);

/** Documents stand between these, and nothing looks across. */
const END = "<|endoftext|>";

/** The text to scan. */
export function textOf(examples: readonly Example[]): string {
  return scanned.value ?? [...new Set(examples.flatMap(({ prompt, target, corrupt }) => [prompt + target, ...(corrupt ? [corrupt] : [])]))].join(END);
}
