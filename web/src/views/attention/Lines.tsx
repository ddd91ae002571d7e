import { useState } from "preact/hooks";
import { plain, readable } from "../../components";
import { stepped } from "../../state";

interface LinesProps {
  head: string;
  labels: readonly string[];
  pattern: Float32Array;
  pos: number | null;
  /** The weight of a full line. */
  max: number;
}

type Side = "query" | "key";
interface Focus {
  side: Side;
  pos: number;
}

/** Weights below this share of a full line cannot be seen and are not drawn. */
const LEAST = 0.02;
const WIDTH = 320;
const EDGE = 104;

/** Lines from every token to those it looks at, as opaque as it looks. Pointing at one leaves its lines alone. */
export function Lines({ head, labels, pattern, pos, max }: LinesProps) {
  const [hover, setHover] = useState<Focus | null>(null);
  const n = labels.length;
  const line = n > 34 ? 13 : n > 24 ? 17 : 24;
  const height = n * line + 30;
  const y = (i: number): number => 30 + (i + 0.5) * line;
  const focus: Focus | null = hover ?? (pos === null ? null : { side: "query", pos });
  const mine = (query: number, key: number): boolean => focus === null || (focus.side === "query" ? focus.pos === query : focus.pos === key);
  const drawn: { query: number; key: number; weight: number }[] = [];
  for (let query = 0; query < n; query++) {
    for (let key = 0; key <= query; key++) {
      const weight = pattern[query * n + key] ?? 0;
      if (weight >= LEAST * max && mine(query, key)) drawn.push({ query, key, weight });
    }
  }
  const weightAt = (side: Side, i: number): number | null => {
    if (!focus || side === focus.side) return null;
    const [query, key] = focus.side === "query" ? [focus.pos, i] : [i, focus.pos];
    return key > query ? null : (pattern[query * n + key] ?? 0);
  };
  const walk = (event: KeyboardEvent): void => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    stepped({ pos: Math.min(n - 1, Math.max(0, (pos ?? (step > 0 ? -1 : n)) + step)) });
  };
  const side = (which: Side, x: number) => labels.map((label, i) => {
    const weight = weightAt(which, i);
    const chosen = focus?.side === which && focus.pos === i;
    return (
      <g key={i} class={chosen ? "linetoken chosen" : "linetoken"} onPointerEnter={() => setHover({ side: which, pos: i })} onClick={() => which === "query" && stepped({ pos: pos === i ? null : i })}>
        <rect x={which === "query" ? 0 : WIDTH - EDGE} y={y(i) - line / 2} width={EDGE} height={line} />
        <text x={x} y={y(i)} text-anchor={which === "query" ? "end" : "start"} opacity={weight === null || weight >= LEAST * max ? 1 : 0.45} font-size={line < 16 ? 10 : 12}>
          {short(readable(label))}
        </text>
        {weight !== null && weight >= LEAST * max && <text class="weight" x={WIDTH - 2} y={y(i)} text-anchor="end">{which === "key" ? plain(weight) : ""}</text>}
      </g>
    );
  });
  const said = focus ? drawn.map(({ query, key, weight }) => `${readable(labels[query] ?? "")} ${query} looks at ${readable(labels[key] ?? "")} ${key}: ${plain(weight)}`).join("; ") : "";
  return (
    <div class="lines" tabIndex={0} role="group" aria-label={`${head}, token to token: up and down choose the token looked from`} onKeyDown={walk} onPointerLeave={() => setHover(null)}>
      <svg viewBox={`0 0 ${WIDTH} ${height}`} width={WIDTH} height={height} aria-hidden="true">
        <text class="head" x={EDGE - 8} y="14" text-anchor="end">from</text>
        <text class="head" x={WIDTH - EDGE + 8} y="14">looks at</text>
        {drawn.map(({ query, key, weight }) => (
          <path key={`${query}-${key}`} d={curve(y(query), y(key))} stroke-opacity={Math.min(1, 0.06 + (0.94 * weight) / max)} stroke-width={0.8 + (2.4 * weight) / max} />
        ))}
        {side("query", EDGE - 8)}
        {side("key", WIDTH - EDGE + 8)}
      </svg>
      <div class="hidden-text" aria-live="polite">{said}</div>
    </div>
  );
}

function curve(from: number, to: number): string {
  const [a, b] = [EDGE, WIDTH - EDGE];
  const bend = (b - a) * 0.45;
  return `M${a} ${from} C${a + bend} ${from} ${b - bend} ${to} ${b} ${to}`;
}

const short = (label: string): string => (label.length > 11 ? `${label.slice(0, 10)}…` : label);
