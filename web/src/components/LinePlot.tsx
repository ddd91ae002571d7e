import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { theme } from "../state";

export interface LineSeries {
  name: string;
  values: readonly (number | null)[];
  /** A CSS colour or variable: `var(--for)`. */
  colour: string;
  dash?: readonly number[];
}

interface LinePlotProps {
  /** One per step along x. */
  labels: readonly string[];
  series: readonly LineSeries[];
  format: (value: number) => string;
  label: string;
  /** Takes the height that is left. */
  fill?: boolean;
  height?: number;
  range?: readonly [number, number];
  onPick?: (index: number) => void;
  /** The step under the pointer. */
  onHover?: (index: number | null) => void;
}

/** Lines over labelled steps. What a line says is said in words too, for those who cannot see it. */
export function LinePlot({ labels, series, format, label, fill, height = 200, range, onPick, onHover }: LinePlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const dark = theme.value;
  const drawn = JSON.stringify([labels, series, range, dark]);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const size = () => ({ width: element.clientWidth, height: fill ? Math.max(140, element.clientHeight) : height });
    const plot = new uPlot({ ...options({ labels, series, format, range, colour: colours(element) }), ...size() }, data(labels, series), element);
    const pick = (): void => {
      if (plot.cursor.idx !== null && plot.cursor.idx !== undefined) onPick?.(plot.cursor.idx);
    };
    const leave = (): void => onHover?.(null);
    const move = (): void => onHover?.(plot.cursor.idx ?? null);
    plot.over.addEventListener("mousemove", move);
    plot.over.addEventListener("mouseleave", leave);
    if (onPick) plot.over.addEventListener("click", pick);
    const observer = new ResizeObserver(() => plot.setSize(size()));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [drawn, fill, height]);
  const said = series.map((one) => `${one.name}: ${one.values.map((value, i) => `${labels[i] ?? i} ${value === null ? "none" : format(value)}`).join(", ")}`);
  return (
    <figure class={fill ? "lineplot fill" : "lineplot"} aria-label={label}>
      <div ref={box} class={fill ? "plotbox fill" : "plotbox"} />
      <figcaption class="hidden-text">{said.join("; ")}</figcaption>
    </figure>
  );
}

type Resolve = (colour: string) => string;

/** Canvas knows no CSS variables: they are looked up where the plot stands. */
function colours(element: Element): Resolve {
  const style = getComputedStyle(element);
  return (colour) => {
    const name = /^var\((--[\w-]+)\)$/.exec(colour)?.[1];
    return name ? style.getPropertyValue(name).trim() : colour;
  };
}

function data(labels: readonly string[], series: readonly LineSeries[]): uPlot.AlignedData {
  return [labels.map((_, i) => i), ...series.map((one) => [...one.values])];
}

interface Drawing {
  labels: readonly string[];
  series: readonly LineSeries[];
  format: (value: number) => string;
  range: readonly [number, number] | undefined;
  colour: Resolve;
}

function options({ labels, series, format, range, colour }: Drawing): Omit<uPlot.Options, "width" | "height"> {
  const ink = colour("var(--ink-soft)");
  const line = colour("var(--line)");
  const font = `11.5px ${colour("var(--sans)")}`;
  return {
    legend: { show: series.length > 0, live: true },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: {
      x: { time: false, range: (_plot, low, high) => [low - 0.15, high + 0.15] },
      y: range ? { range: [range[0], range[1]] } : {},
    },
    axes: [
      {
        stroke: ink, font, grid: { show: false }, ticks: { show: false }, size: 24, incrs: [1, 2, 3, 4, 6, 8, 12, 16, 24, 48], space: 42,
        values: (_plot, steps) => steps.map((step) => (Number.isInteger(step) ? (labels[step] ?? "") : "")),
      },
      { stroke: ink, font, grid: { stroke: line, width: 1 }, ticks: { show: false }, size: 56, values: (_plot, steps) => steps.map(format) },
    ],
    series: [
      { label: "layer", value: (_plot, step) => (step === null ? "–" : (labels[step] ?? "–")) },
      ...series.map((one) => ({
        label: one.name, stroke: colour(one.colour), width: 1.75, points: { size: 5, fill: colour(one.colour), space: 12 },
        ...(one.dash ? { dash: [...one.dash] } : {}),
        value: (_plot: uPlot, value: number | null) => (value === null ? "–" : format(value)),
      })),
    ],
  };
}
