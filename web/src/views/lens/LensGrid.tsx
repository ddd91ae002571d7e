import type { Lens, Table, Tokens } from "../../api";
import { Heatmap, Legend, TokenText, exact, percent, plain, readable } from "../../components";
import { stepped } from "../../state";
import { colouring } from "./colour";
import { topOf } from "./lenses";
import type { Reading } from "./lenses";

interface LensGridProps {
  /** As the lens on show has them. */
  tables: readonly Table[];
  /** The table the cells are coloured by. */
  table: Table;
  /** null while rows are still being read. */
  lens: Lens | null;
  reading: Reading;
  tokens: Tokens | null;
  chosen: { layer: number; pos: number };
  dim: boolean;
}

/** What every layer would say at every position. */
export function LensGrid({ tables, table, lens, reading, tokens, chosen, dim }: LensGridProps) {
  const [layers, positions] = table.axes;
  if (!layers || !positions) return null;
  const { values, scale, low, high, line } = colouring(table);
  const n = positions.labels.length;
  const labels = tokens ? tokens.labels.map(readable) : positions.labels;
  const top = (cell: number) => topOf(lens, reading, Math.floor(cell / n), cell % n);
  const where = (cell: number): string => `${layers.labels[Math.floor(cell / n)] ?? ""} at ${labels[cell % n] ?? ""} ${cell % n}`;
  const numbers = (cell: number): string[] => tables.filter(({ quantity, axes }) => quantity === table.quantity && axes.length === 2).flatMap(({ metric, unit, values }) => {
    const value = values[cell];
    if (value === null || value === undefined) return [];
    if (table.quantity === "change") return [`${metric} ${value < 0 ? "" : "+"}${exact(value)}${unit === "" ? "" : ` ${unit}`}`];
    if (metric === "prob" || metric === "top1_prob") return [`${metric === "prob" ? "answer" : "top"} ${exact(value)}`];
    return [metric === "rank" ? `rank of the answer ${plain(value)}` : `${metric} ${exact(value)} ${unit}`];
  });
  const first = (cell: number): string => {
    const best = top(cell)[0];
    return best ? `says ${readable(best.token)} ${percent(best.prob)}; ` : "";
  };
  const cell = chosen.layer * n + chosen.pos;
  return (
    <>
      <Heatmap
        fit="both" minCell={44} maxCell={130} rows={layers} single walkPicks
        columns={{ name: "position", labels, tokens: true, marks: labels.map((_, i) => (i === chosen.pos ? "chosen" : null)) }}
        values={values} scale={scale} format={plain} dim={dim} chosen={new Set([cell])} focus={cell}
        label={`${reading === "tuned" ? "Tuned" : "Logit"} lens, by layer and position`} texts={values.map((_, i) => readable(top(i)[0]?.token ?? ""))}
        describe={(i) => `${where(i)}: ${first(i)}${numbers(i).join(", ")}`}
        tip={(i) => (
          <div>
            <div class="row tight"><strong>{layers.labels[Math.floor(i / n)]}</strong><span class="soft">after</span>{tokens && <TokenText text={tokens.labels[i % n] ?? ""} />}</div>
            {top(i).slice(0, 5).map(({ id, token, prob }) => <div class="row tight spread" key={id}><TokenText text={token} plain /><span>{percent(prob)}</span></div>)}
            {numbers(i).map((text) => <div class="soft small" key={text}>{text}</div>)}
          </div>
        )}
        onPick={(cells) => stepped({ layer: Math.floor((cells[0] ?? 0) / n), pos: (cells[0] ?? 0) % n })}
      />
      <Legend scale={scale} low={low} high={high} line={line} />
    </>
  );
}
