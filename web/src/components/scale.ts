// Colour scales. Diverging: red, ground, blue, symmetric about 0. Sequential: teal, from the ground
// towards what stands out, which in the dark theme is light.

import type { Theme } from "../state";

export type Rgb = readonly [number, number, number];

export interface Scale {
  kind: "diverging" | "sequential";
  /** The value of the last colour. */
  max: number;
  /** The value of the first colour; a diverging scale's is `-max`. */
  min: number;
  /** Red at the high end: where more is further from the answer. */
  flip?: boolean;
}

export function diverging(max: number): Scale {
  return { kind: "diverging", max, min: -max };
}

export function sequential(max: number, min = 0): Scale {
  return { kind: "sequential", max, min };
}

/** The end of a symmetric scale that holds these values; 1 where all of them are 0 or missing. */
export function symmetricMax(values: readonly (number | null)[]): number {
  return largest(values.map((value) => (value === null ? null : Math.abs(value))));
}

/** The largest value; 1 where there is none above 0, so that a scale has a width. */
export function largest(values: readonly (number | null)[]): number {
  let max = 0;
  for (const value of values) if (value !== null && value > max) max = value;
  return max > 0 ? max : 1;
}

const STOPS: Readonly<Record<Theme, Readonly<Record<Scale["kind"], readonly Rgb[]>>>> = {
  light: {
    diverging: [[176, 46, 37], [219, 128, 114], [240, 239, 234], [124, 165, 214], [28, 92, 163]],
    sequential: [[240, 239, 234], [163, 210, 205], [58, 154, 148], [13, 84, 83]],
  },
  dark: {
    diverging: [[250, 150, 138], [166, 72, 63], [38, 40, 44], [52, 104, 164], [139, 193, 250]],
    sequential: [[36, 39, 43], [28, 84, 84], [46, 154, 149], [172, 234, 226]],
  },
};

/** The colour of a value; values past the ends get the ends' colours. */
export function colourOf(scale: Scale, value: number, theme: Theme): Rgb {
  const share = (value - scale.min) / (scale.max - scale.min);
  const kept = Math.min(1, Math.max(0, share));
  return between(STOPS[theme][scale.kind], scale.flip ? 1 - kept : kept);
}

/** Steps of the scale from its low to its high end, for a legend. */
export function ramp({ kind, flip }: Scale, theme: Theme): string {
  return `linear-gradient(to ${flip ? "left" : "right"}, ${STOPS[theme][kind].map(css).join(", ")})`;
}

export function css([r, g, b]: Rgb): string {
  return `rgb(${r} ${g} ${b})`;
}

/** Black or white, whichever reads better on a colour (WCAG relative luminance). */
export function inkOn(colour: Rgb): string {
  const [r, g, b] = colour.map(linear) as [number, number, number];
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return luminance > 0.179 ? "#000000" : "#ffffff";
}

function linear(channel: number): number {
  const c = channel / 255;
  return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
}

function between(stops: readonly Rgb[], share: number): Rgb {
  const at = share * (stops.length - 1);
  const below = Math.min(Math.floor(at), stops.length - 2);
  const [a, b] = [stops[below] as Rgb, stops[below + 1] as Rgb];
  const mix = (i: 0 | 1 | 2): number => Math.round(a[i] + (at - below) * (b[i] - a[i]));
  return [mix(0), mix(1), mix(2)];
}
