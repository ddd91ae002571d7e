import type { Remeasured } from "../../api";
import { plain, signed, signedExact } from "../../components";
import { scatterOf } from "./scatter";

const SIDE = 232;
const [LEFT, BELOW, EDGE] = [46, 34, 6];

interface AgreementProps {
  of: Remeasured;
  /** The axes: what is across and what is up. */
  axes?: readonly [string, string];
  /** A cell as it is chosen by, from its label. */
  keyOf: (label: string) => string;
  chosen: string;
  onPick: (key: string) => void;
}

/** What was measured against what was estimated; on the diagonal they agree. */
export function Agreement({ of, axes: [estimated, measured] = ["estimated", "measured"], keyOf, chosen, onPick }: AgreementProps) {
  const { dots, low, high, zero } = scatterOf(of);
  const unit = of.unit === "" ? "" : `, ${of.unit}`;
  const across = (x: number): number => LEFT + x * SIDE;
  const up = (y: number): number => EDGE + (1 - y) * SIDE;
  const [width, height] = [LEFT + SIDE + EDGE, EDGE + SIDE + BELOW];
  const correlation = (name: string, value: number | null | undefined, title: string) => (
    <div><dt title={title}>{name}</dt><dd>{value == null ? "–" : value.toFixed(3).replace("-", "−")}</dd></div>
  );
  const ticks = [low + (high - low) * 0.03, 0, high - (high - low) * 0.03].filter((value, i) => i === 1 || Math.abs((value - low) / (high - low) - zero) > 0.12);
  const place = (value: number): number => (value - low) / (high - low);
  return (
    <>
      <svg
        class="scatter" viewBox={`0 0 ${width} ${height}`} role="img"
        aria-label={`${dots.length} estimates against what was measured${of.pearson == null ? "" : `; Pearson ${of.pearson.toFixed(3)}`}; the list below has the numbers`}
      >
        <rect x={LEFT} y={EDGE} width={SIDE} height={SIDE} rx={5} />
        <line class="axis" x1={across(zero)} x2={across(zero)} y1={EDGE} y2={EDGE + SIDE} />
        <line class="axis" x1={LEFT} x2={LEFT + SIDE} y1={up(zero)} y2={up(zero)} />
        <line class="equal" x1={LEFT} y1={EDGE + SIDE} x2={LEFT + SIDE} y2={EDGE} />
        {ticks.map((value) => (
          <g key={value}>
            <text x={across(place(value))} y={EDGE + SIDE + 14} text-anchor="middle">{plain(value)}</text>
            <text x={LEFT - 6} y={up(place(value)) + 4} text-anchor="end">{plain(value)}</text>
          </g>
        ))}
        <text x={LEFT + SIDE / 2} y={height - 4} text-anchor="middle">{estimated}{unit}; dashed: equal</text>
        <text transform={`translate(11 ${EDGE + SIDE / 2}) rotate(-90)`} text-anchor="middle">{measured}{unit}</text>
        {dots.map(({ label, x, y, estimate, exact }) => {
          const key = keyOf(label);
          return (
            <circle key={label} class={key === chosen ? "dot chosen" : "dot"} cx={across(x)} cy={up(y)} r={key === chosen ? 6 : 4} onClick={() => onPick(key)}>
              <title>{label}: {estimated} {signedExact(estimate)}, {measured} {signedExact(exact)} {of.unit}</title>
            </circle>
          );
        })}
      </svg>
      <dl class="facts" aria-label="Agreement">
        {correlation("Pearson", of.pearson, "Correlation of estimates and measurements over the cells that were measured")}
        {correlation("Spearman", of.spearman, "Correlation of their ranks")}
        <div><dt title="Mean of measured minus estimated">Mean error</dt><dd>{signed(of.cells.reduce((sum, { estimate, exact }) => sum + exact - estimate, 0) / of.cells.length)}</dd></div>
      </dl>
    </>
  );
}
