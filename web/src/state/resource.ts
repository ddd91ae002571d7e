// An answer of the server that follows what is asked: asks again when the key changes, gives the old
// question up, keeps the old answer on show until the new one is there, and tells how far it is.

import { effect, signal, untracked } from "@preact/signals";
import type { ReadonlySignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { asApiError, isAbort } from "../api";
import type { ApiError, JobEvent, Table } from "../api";
import { typing } from "./workspace";

/** idle: nothing asked; brief: under 100 ms; working: over it; long: over half a second. */
export type Phase = "idle" | "brief" | "working" | "long";

/** How far a running experiment is. */
export interface Far {
  runs: number;
  runs_wanted: number;
  /** It waits for others to end and has not begun. */
  queued?: boolean;
}

export interface Fetching {
  signal: AbortSignal;
  /** To be called with what a running experiment reports: it feeds `progress` and `partial`. */
  onEvent: (event: JobEvent) => void;
}

export interface Resource<T> {
  data: ReadonlySignal<T | null>;
  /** `data` answers an older question, or the one on its way. */
  stale: ReadonlySignal<boolean>;
  error: ReadonlySignal<ApiError | null>;
  phase: ReadonlySignal<Phase>;
  progress: ReadonlySignal<Far | null>;
  /** Tables of the running experiment as far as they are computed; null where no rows came yet. */
  partial: ReadonlySignal<Table[] | null>;
  /** How long the last answer took, request and all. */
  elapsed_ms: ReadonlySignal<number | null>;
  /** The user stopped it: `data` is still of the older question. */
  cancelled: ReadonlySignal<boolean>;
  cancel: () => void;
  /** Asks the same question once more. */
  retry: () => void;
  dispose: () => void;
}

export interface Pace {
  /** How long to wait for the next keystroke while the user types. */
  typing_ms: number;
}

const TYPING_MS = 250;
const WORKING_MS = 100;
const LONG_MS = 500;

export function resource<K, T>(
  key: ReadonlySignal<K | null>,
  fetcher: (key: K, fetching: Fetching) => Promise<T>,
  pace: Pace = { typing_ms: TYPING_MS },
): Resource<T> {
  const data = signal<T | null>(null);
  const stale = signal(false);
  const error = signal<ApiError | null>(null);
  const phase = signal<Phase>("idle");
  const progress = signal<Far | null>(null);
  const partial = signal<Table[] | null>(null);
  const elapsed_ms = signal<number | null>(null);
  const cancelled = signal(false);
  const attempt = signal(0);

  let asked: string | null = null;
  let running: AbortController | null = null;
  let timers: ReturnType<typeof setTimeout>[] = [];

  const stop = (): void => {
    running?.abort();
    running = null;
    timers.forEach(clearTimeout);
    timers = [];
    phase.value = "idle";
    progress.value = null;
    partial.value = null;
  };

  const start = async (key: K): Promise<void> => {
    const controller = new AbortController();
    running = controller;
    const current = (): boolean => running === controller;
    const began = performance.now();
    phase.value = "brief";
    timers.push(setTimeout(() => (phase.value = "working"), WORKING_MS));
    timers.push(setTimeout(() => (phase.value = "long"), LONG_MS));
    const onEvent = (event: JobEvent): void => {
      if (!current()) return;
      if (event.type === "queued") progress.value = { runs: 0, runs_wanted: 0, queued: true };
      if (event.type === "started") progress.value = null;
      if (event.type === "progress") progress.value = { runs: event.runs, runs_wanted: event.runs_wanted };
      if (event.type === "partial") partial.value = event.tables;
    };
    try {
      const answer = await fetcher(key, { signal: controller.signal, onEvent });
      if (!current()) return;
      data.value = answer;
      error.value = null;
      stale.value = false;
      elapsed_ms.value = performance.now() - began;
    } catch (thrown) {
      if (!current() || isAbort(thrown)) return;
      error.value = asApiError(thrown);
    } finally {
      if (current()) stop();
    }
  };

  const dispose = effect(() => {
    const wanted = key.value;
    const question = wanted === null ? null : JSON.stringify(wanted) + attempt.value;
    if (question === asked) return;
    asked = question;
    untracked(() => {
      stop();
      cancelled.value = false;
      error.value = null;
      if (wanted === null) {
        stale.value = data.value !== null;
        return;
      }
      stale.value = data.value !== null;
      if (typing.peek()) timers.push(setTimeout(() => void start(wanted), pace.typing_ms));
      else void start(wanted);
    });
  });

  return {
    data, stale, error, phase, progress, partial, elapsed_ms, cancelled,
    cancel: () => {
      stop();
      cancelled.value = true;
    },
    retry: () => {
      attempt.value += 1;
    },
    dispose: () => {
      dispose();
      stop();
    },
  };
}

/** A resource that lives as long as the component; `key` must be the same signal on every render. */
export function useResource<K, T>(
  key: ReadonlySignal<K | null>,
  fetcher: (key: K, fetching: Fetching) => Promise<T>,
  pace?: Pace,
): Resource<T> {
  // The fetcher is taken from the first render: a fetcher depends on its key alone.
  const made = useMemo(() => resource(key, fetcher, pace), [key]);
  useEffect(() => made.dispose, [made]);
  return made;
}
