// A short word at the bottom of the page about something just done.

import { signal } from "@preact/signals";
import type { ReadonlySignal } from "@preact/signals";

const text = signal("");
let timer: ReturnType<typeof setTimeout> | undefined;

export const notice: ReadonlySignal<string> = text;

export function say(words: string): void {
  text.value = words;
  clearTimeout(timer);
  timer = setTimeout(() => (text.value = ""), 2500);
}

/** Puts text on the clipboard and says so; where the browser forbids it, says that. */
export async function copy(what: string, words: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(what);
    say(words);
  } catch {
    say("The browser does not let this page use the clipboard");
  }
}
