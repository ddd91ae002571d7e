import { useEffect, useRef, useState } from "preact/hooks";
import { HoverCard, percent, readable } from "../../components";
import type { Curve } from "./curve";

export interface NamedCurve {
  name: "Control" | "Cut";
  curve: Curve;
}

interface LensPlotProps {
  curves: readonly NamedCurve[];
  label: string;
  dim: boolean;
}

const LEFT = 46;
const RIGHT = 112;
const TOP = 10;
const ROW = 17;

/** A token's probability by layer, one line per run, each named at its end; below, what the layers say. */
export function LensPlot({ curves, label, dim }: LensPlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  const [over, setOver] = useState<{ layer: number; x: number; y: number } | null>(null);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setSize({ width: element.clientWidth, height: element.clientHeight }));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const layers = curves[0]?.curve.layers ?? [];
  const { width, height } = size;
  const right = width - (width < 420 ? 92 : RIGHT);
  const bottom = height - 26 - ROW * curves.length;
  const x = (layer: number): number => LEFT + (layer * (right - LEFT)) / Math.max(1, layers.length - 1);
  const y = (prob: number): number => bottom - prob * (bottom - TOP);
  const gap = (right - LEFT) / Math.max(1, layers.length - 1);
  const every = Math.max(1, Math.ceil(44 / Math.max(1, gap)));
  const letters = Math.max(2, Math.floor((gap * every) / 7) - 1);
  const follow = (event: PointerEvent): void => {
    const at = event.clientX - (box.current?.getBoundingClientRect().left ?? 0);
    const layer = Math.round(((at - LEFT) / (right - LEFT)) * (layers.length - 1));
    setOver(layer >= 0 && layer < layers.length ? { layer, x: event.clientX, y: event.clientY } : null);
  };
  const ends = spreadOut(curves.map(({ curve }) => y(curve.probs.at(-1) ?? 0)), 16);
  return (
    <figure class={dim ? "lensplot dim" : "lensplot"} aria-label={label}>
      <div class="box" ref={box} onPointerMove={follow} onPointerLeave={() => setOver(null)}>
        {width > 0 && bottom > TOP + 20 && (
          <svg width={width} height={height} aria-hidden="true">
            {[0, 0.25, 0.5, 0.75, 1].map((prob) => (
              <g key={prob}>
                <line class="rule" x1={LEFT} x2={right} y1={y(prob)} y2={y(prob)} />
                <text class="tick" x={LEFT - 8} y={y(prob) + 4} text-anchor="end">{100 * prob} %</text>
              </g>
            ))}
            {layers.map((name, layer) => layer % every === 0 && (
              <text class="tick" key={name} x={x(layer)} y={bottom + 17} text-anchor="middle">{name}</text>
            ))}
            {over && <line class="rule" x1={x(over.layer)} x2={x(over.layer)} y1={TOP} y2={bottom} />}
            {curves.map(({ name, curve }, i) => (
              <g class={name === "Cut" ? "cut" : "control"} key={name}>
                <polyline points={curve.probs.map((prob, layer) => `${x(layer)},${y(prob)}`).join(" ")} />
                {curve.probs.map((prob, layer) => <circle key={layer} cx={x(layer)} cy={y(prob)} r={over?.layer === layer ? 4 : 2.5} />)}
                <text class="end" x={right + 10} y={(ends[i] ?? 0) + 4}>{name} {percent(curve.probs.at(-1) ?? 0)}</text>
                {curve.tops.map((top, layer) => layer % every === 0 && (
                  <text class="says" key={layer} x={x(layer)} y={bottom + 34 + ROW * i} text-anchor="middle">{short(top?.token ?? "", letters)}</text>
                ))}
                <text class="says end" x={right + 40} y={bottom + 34 + ROW * i}>{width < 420 ? "" : "top token"}</text>
              </g>
            ))}
          </svg>
        )}
      </div>
      <figcaption class="hidden-text">
        {curves.map(({ name, curve }) => `${name}: ${curve.probs.map((prob, i) => `${layers[i] ?? i} ${percent(prob)}`).join(", ")}. `)}
      </figcaption>
      {over && (
        <HoverCard at={over}>
          <div><strong>{layers[over.layer]}</strong> <span class="soft">probability, and the most probable token</span></div>
          {curves.map(({ name, curve }) => {
            const top = curve.tops[over.layer];
            return (
              <div key={name}>
                <span class={name === "Cut" ? "against" : "for"}>{name}</span> {percent(curve.probs[over.layer] ?? 0)}
                {top && <span class="soft mono"> {readable(top.token)} {percent(top.prob)}</span>}
              </div>
            );
          })}
        </HoverCard>
      )}
    </figure>
  );
}

function short(token: string, letters: number): string {
  const text = readable(token);
  return text.length > letters ? `${text.slice(0, letters - 1)}…` : text;
}

/** Heights moved apart as little as needed for labels of this height not to cover each other. */
function spreadOut(heights: readonly number[], apart: number): number[] {
  const [a, b] = heights;
  if (a === undefined || b === undefined || Math.abs(a - b) >= apart) return [...heights];
  const middle = (a + b) / 2;
  const up = a <= b ? -1 : 1;
  return [middle + (up * apart) / 2, middle - (up * apart) / 2];
}
