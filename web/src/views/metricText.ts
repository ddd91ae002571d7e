// Values of metrics as they stand in tables.

import { percent, plain } from "../components/number";

/** Small divergences keep two figures. */
export function shownMetric(metric: string, value: number): string {
  if (metric === "prob") return percent(value);
  return value !== 0 && Math.abs(value) < 0.095 ? Number(value.toPrecision(2)).toString().replace("-", "−") : plain(value);
}
