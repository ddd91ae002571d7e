import { theme } from "../state";
import { plain } from "./number";
import { ramp } from "./scale";
import type { Scale } from "./scale";

interface LegendProps {
  scale: Scale;
  /** Unit and baseline, in words. */
  line: string;
  low?: string;
  high?: string;
}

/** The scale of a heatmap with its unit and its baseline. */
export function Legend({ scale, line, low, high }: LegendProps) {
  const signed = scale.kind === "diverging";
  return (
    <div class="legend">
      <span class="bar">
        <span>{low ?? plain(scale.min)}</span>
        <span class="ramp" style={{ background: ramp(scale, theme.value) }} />
        <span>{high ?? (signed ? `+${plain(scale.max)}` : plain(scale.max))}</span>
      </span>
      <span class="line">{line}</span>
    </div>
  );
}
