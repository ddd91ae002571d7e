// The strengths of the curve.

/** How many: 0 is among them. */
const POINTS = 21;

/** Numbers from `-reach` to `reach` in equal steps, as short as they can be written. */
export function strengthsOf(reach: number): number[] {
  const half = (POINTS - 1) / 2;
  return Array.from({ length: POINTS }, (_, i) => Number((((i - half) / half) * reach).toPrecision(6)));
}
