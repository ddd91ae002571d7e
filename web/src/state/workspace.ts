// The workspace: one signal per field, all of them mirrored in the address. The browser's history is
// the undo stack: what goes into it can be gone back to by the back button and by Ctrl+Z alike.

import { batch, signal } from "@preact/signals";
import type { ReadonlySignal, Signal } from "@preact/signals";
import { DEFAULTS, decode, encode } from "./fields";
import type { Fields } from "./fields";

type Signals = { readonly [K in keyof Fields]: Signal<Fields[K]> };

const names = Object.keys(DEFAULTS) as (keyof Fields)[];
const signals = Object.fromEntries(names.map((name) => [name, signal(DEFAULTS[name])])) as unknown as Signals;

/** Every field, to read. Written by `change` and `typed` alone. */
export const workspace: { readonly [K in keyof Fields]: ReadonlySignal<Fields[K]> } = signals;

/** Whether the last change was a keystroke: requests then wait for the next one. */
export const typing: ReadonlySignal<boolean> = signal(false);
const typingNow = typing as Signal<boolean>;

/** How far back undo reaches, and how far forth redo. */
const place = signal({ index: 0, last: 0 });
export const canUndo = (): boolean => place.value.index > 0;
export const canRedo = (): boolean => place.value.index < place.value.last;

const BURST_MS = 1200;
let burst: ReturnType<typeof setTimeout> | undefined;

/** A deliberate change (a view, an example, a selection, a setting): one step of undo. */
export function change(fields: Partial<Fields>): void {
  endBurst();
  if (!write(fields)) return;
  push();
}

/** A keystroke: the first of a burst is a step of undo, the rest belong to it. */
export function typed(fields: Partial<Fields>): void {
  typingNow.value = true;
  burstOf(fields);
}

/** One of many small moves, as walking cells by arrow keys: a burst of them is one step of undo. */
export function stepped(fields: Partial<Fields>): void {
  if (typingNow.peek()) endBurst();
  burstOf(fields);
}

function burstOf(fields: Partial<Fields>): void {
  const first = burst === undefined;
  clearTimeout(burst);
  burst = setTimeout(endBurst, BURST_MS);
  if (!write(fields)) return;
  if (first) push();
  else replace();
}

/** A change that is no step of its own: what the page fills in by itself. */
export function settle(fields: Partial<Fields>): void {
  if (write(fields)) replace();
}

/** The whole state, read without subscribing to it. */
export function snapshot(): Fields {
  return Object.fromEntries(names.map((name) => [name, signals[name].peek()])) as unknown as Fields;
}

export function undo(): void {
  if (canUndo()) window.history.back();
}

export function redo(): void {
  if (canRedo()) window.history.forward();
}

/** Takes the state from the address and follows the browser's history from there. */
export function openWorkspace(): void {
  write(decode(window.location.search));
  const index = historyIndex();
  place.value = { index, last: index };
  window.addEventListener("popstate", () => {
    endBurst();
    write(decode(window.location.search));
    place.value = { ...place.peek(), index: historyIndex() };
  });
}

function write(fields: Partial<Fields>): boolean {
  let changed = false;
  batch(() => {
    for (const name of Object.keys(fields) as (keyof Fields)[]) {
      const value = fields[name];
      if (value === undefined || same(signals[name].peek(), value)) continue;
      (signals[name] as Signal<unknown>).value = value;
      changed = true;
    }
  });
  return changed;
}

function same(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((x, i) => x === b[i]);
  return a === b;
}

function push(): void {
  const index = place.peek().index + 1;
  window.history.pushState({ index }, "", address());
  place.value = { index, last: index };
}

function replace(): void {
  window.history.replaceState({ index: place.peek().index }, "", address());
}

function address(): string {
  return window.location.pathname + encode(snapshot());
}

function historyIndex(): number {
  const state: unknown = window.history.state;
  return typeof state === "object" && state !== null && "index" in state ? Number(state.index) : 0;
}

function endBurst(): void {
  clearTimeout(burst);
  burst = undefined;
  typingNow.value = false;
}
