import type { Weighting } from "../../api";
import { Heatmap, Legend, TokenText, exact, largest, plain, readable, sequential } from "../../components";
import { stepped } from "../../state";

interface MatrixProps {
  head: string;
  labels: readonly string[];
  pattern: Float32Array;
  /** The query looked from; null: none is chosen. */
  pos: number | null;
  dim: boolean;
  /** What entries are multiplied by. */
  weighting: Weighting;
}

const LINES: Readonly<Record<Weighting, string>> = {
  pattern: "Share of the row's attention; every row sums to 1",
  value: "Attention times the norm of the value vector",
  output: "Attention times the norm of the value vector after W_O",
};

/** A head's pattern: from every query (row) to every key (column). */
export function Matrix({ head, labels, pattern, pos, dim, weighting }: MatrixProps) {
  const n = labels.length;
  const shown = labels.map(readable);
  const values = Array.from(pattern);
  const scale = sequential(weighting === "pattern" ? 1 : largest(values));
  const says = (cell: number): string => {
    const [query, key] = [Math.floor(cell / n), cell % n];
    if (key > query) return `${shown[query] ?? ""} ${query} cannot see ${shown[key] ?? ""} ${key}, which comes later`;
    return `${shown[query] ?? ""} ${query} looks at ${shown[key] ?? ""} ${key}: ${exact(values[cell] ?? 0)}`;
  };
  return (
    <div class="matrix">
      <Heatmap
        fit="both" square minCell={9} maxCell={60} topDown causal single label={`Attention of ${head}: queries down, keys across`}
        rows={{ name: "query", labels: shown, marks: shown.map((_, i) => (i === pos ? "chosen" : null)) }} columns={{ name: "key", labels: shown, tokens: true }}
        values={values} scale={scale} format={plain} dim={dim} describe={says} onPick={(cells) => stepped({ pos: Math.floor((cells[0] ?? 0) / n) })}
        tip={(cell) => (
          <div>
            <div class="row tight"><TokenText text={labels[Math.floor(cell / n)] ?? ""} /><span class="soft">looks at</span><TokenText text={labels[cell % n] ?? ""} /></div>
            <div class="value">{cell % n > Math.floor(cell / n) ? "later: not seen" : exact(values[cell] ?? 0)}</div>
          </div>
        )}
      />
      <Legend scale={scale} line={LINES[weighting]} />
    </div>
  );
}
