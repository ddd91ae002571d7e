// What the view on show is about, for the top bar's Copy as and Export.

import { signal } from "@preact/signals";
import type { ReadonlySignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Experiment, ExperimentRecord } from "../api";

export interface Shown {
  /** The question, also while its answer is on its way. */
  experiment: Experiment | null;
  record: ExperimentRecord | null;
  /** Which of the record's tables is drawn. */
  table: number;
  /** What else the view can save. */
  files?: readonly ShownFile[];
}

/** A file that a view makes by itself. */
export interface ShownFile {
  label: string;
  save: () => Promise<void>;
}

const NOTHING: Shown = { experiment: null, record: null, table: 0 };
const current = signal<Shown>(NOTHING);

export const shown: ReadonlySignal<Shown> = current;

export function show(what: Partial<Shown>): void {
  current.value = { ...NOTHING, ...what };
}

/** `show` for a component, taken back when it goes. */
export function useShown(what: Shown): void {
  useEffect(() => show(what), [what.experiment, what.record, what.table, what.files]);
  useEffect(() => () => show({}), []);
}
