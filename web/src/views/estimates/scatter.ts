// Estimates against what was measured, as points in a square.

import type { Remeasured } from "../../api";

export interface Dot {
  label: string;
  x: number;
  y: number;
  estimate: number;
  exact: number;
}

export interface Scatter {
  dots: readonly Dot[];
  /** Both axes run from `low` to `high`, so that the diagonal is where the two agree. */
  low: number;
  high: number;
  /** Where 0 lies along either axis, from 0 to 1. */
  zero: number;
}

/** Places from 0 to 1, upwards; both axes have one scale, which holds 0. */
export function scatterOf({ cells }: Remeasured): Scatter {
  const all = cells.flatMap(({ estimate, exact }) => [estimate, exact]);
  const [least, most] = [Math.min(0, ...all), Math.max(0, ...all)];
  const margin = (most - least || 1) * 0.06;
  const [low, high] = [least === 0 ? -margin / 2 : least - margin, most === 0 ? margin / 2 : most + margin];
  const place = (value: number): number => (value - low) / (high - low);
  return {
    dots: cells.map(({ label, estimate, exact }) => ({ label, estimate, exact, x: place(estimate), y: place(exact) })),
    low, high, zero: place(0),
  };
}

/** The name of a measured cell as the address and Patching have it: `L3H1@10` for `L3H1 John@10`. */
export function partOf(label: string): string {
  const found = /^(L\d+(?:H\d+)?)(?:[\s\S]*@(\d+))?$/.exec(label);
  return found?.[1] ? found[1] + (found[2] === undefined ? "" : `@${found[2]}`) : label;
}
