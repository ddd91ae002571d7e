// How heads are cut, as two questions a person answers: on what, and with what.

import type { Cut } from "../../state";

export type On = "pattern" | "output";

interface Way {
  how: Cut;
  label: string;
  /** What happens to the head, in words. */
  means: string;
}

export const WAYS: Readonly<Record<On, readonly Way[]>> = {
  pattern: [
    { how: "zero_pattern", label: "Zero", means: "the head attends to nothing" },
    { how: "uniform", label: "Mean", means: "the head attends to every position it sees alike" },
    { how: "random", label: "Random", means: "its attention is the softmax of noise from the seed" },
    { how: "previous", label: "Previous layer", means: "its attention is that of the same head one layer below" },
  ],
  output: [
    { how: "zero", label: "Zero", means: "what the head writes is set to 0" },
    { how: "mean", label: "Mean", means: "what the head writes is set to its mean over the prompt" },
    { how: "resample", label: "Resample", means: "what the head writes is taken from its run on the other prompt" },
  ],
};

export function onOf(how: Cut): On {
  return WAYS.output.some((way) => way.how === how) ? "output" : "pattern";
}

/** The nearest way on the other side: what is zero stays zero, what is a mean a mean. */
export function moved(how: Cut, to: On): Cut {
  if (onOf(how) === to) return how;
  const label = wayOf(how).label;
  const same = WAYS[to].find((way) => way.label === label);
  return (same ?? WAYS[to][0] ?? wayOf(how)).how;
}

export function wayOf(how: Cut): Way {
  const way = [...WAYS.pattern, ...WAYS.output].find((one) => one.how === how);
  if (!way) throw new Error(`no way to cut is called ${how}`);
  return way;
}
