// Which part of the model the card is about, and where it hangs. There is one card, for all names on the page.

import { signal } from "@preact/signals";
import type { ReadonlySignal } from "@preact/signals";

/** What a card hangs on: a name, or a place in a picture. */
export interface Anchor {
  getBoundingClientRect: () => DOMRect;
  focus: () => void;
}

export interface OpenCard {
  name: string;
  /** The name it belongs to. */
  anchor: Anchor;
}

const OPEN_MS = 280;
const CLOSE_MS = 220;

const current = signal<OpenCard | null>(null);
let timer: ReturnType<typeof setTimeout> | undefined;

export const openCard: ReadonlySignal<OpenCard | null> = current;

/** Opens it at once, as the keyboard and a finger do. */
export function openNow(card: OpenCard): void {
  clearTimeout(timer);
  current.value = card;
}

/** Opens it for a name or a place that was pressed; from the keyboard, its first link is gone to. */
export function openPressed(card: OpenCard, byKeyboard: boolean): void {
  openNow(card);
  if (byKeyboard) requestAnimationFrame(() => document.querySelector<HTMLElement>(".componentcard a")?.focus());
}

/** Opens it when the pointer stays. */
export function openSoon(card: OpenCard): void {
  clearTimeout(timer);
  timer = setTimeout(() => (current.value = card), current.peek() ? 0 : OPEN_MS);
}

/** Closes it unless the pointer comes back, or into the card. */
export function closeSoon(): void {
  clearTimeout(timer);
  timer = setTimeout(() => (current.value = null), CLOSE_MS);
}

export function keepOpen(): void {
  clearTimeout(timer);
}

export function closeNow(): void {
  clearTimeout(timer);
  current.value = null;
}

/** What an element does that names a part without being a link itself, such as a row of a list. */
export function cardHandlers(name: string) {
  return {
    onPointerEnter: (event: PointerEvent): void => {
      if (event.pointerType === "mouse" && event.currentTarget instanceof HTMLElement) openSoon({ name, anchor: event.currentTarget });
    },
    onPointerLeave: closeSoon,
  };
}
