import type { Table } from "../../api";
import { Heatmap, Legend, diverging, exact, signed, symmetricMax } from "../../components";
import { change, workspace } from "../../state";
import { findTable, withUnit } from "../tables";
import { turned } from "./metrics";

/** `L4H6` as `4.6`, which fits below a narrow column. */
const short = (name: string): string => name.replace(/^L(\d+)H(\d+)$/, "$1.$2");

interface PairsGridProps {
  /** All tables of the sweep: the card tells the effects beside the interaction. */
  tables: readonly Table[];
  /** Interactions; every pair stands once. */
  table: Table;
  dim: boolean;
}

/** What cutting two heads does beyond cutting each; a click cuts the pair. */
export function PairsGrid({ tables, table, dim }: PairsGridProps) {
  const [rows, columns] = table.axes;
  if (!rows || !columns) return null;
  const n = columns.labels.length;
  const joint = findTable(tables, table.metric, ["change", "value"])?.table;
  const pairOf = (cell: number): string[] => [rows.labels[Math.floor(cell / n)] ?? "", columns.labels[cell % n] ?? ""];
  const effect = (row: number, column: number): string => {
    const value = joint?.values[row * n + column];
    return value === null || value === undefined ? "not computed yet" : signed(value);
  };
  // On the diagonal stand the effects of single heads.
  const alone = (name: string): string => {
    const row = rows.labels.indexOf(name);
    const column = columns.labels.indexOf(name);
    return row < 0 || column < 0 ? "" : effect(row, column);
  };
  const describe = (cell: number): string => {
    const [a, b] = pairOf(cell) as [string, string];
    const value = table.values[cell];
    if (a === b) return `${a} alone: ${alone(a)}`;
    if (value === null || value === undefined) return `${a} with ${b}: stands at ${b} with ${a}`;
    const sign = value > 0 ? "+" : "";
    return `${a} with ${b}: ${withUnit(sign + exact(value), table.unit)}; both cut ${effect(Math.floor(cell / n), cell % n)}, alone ${alone(a)} and ${alone(b)}`;
  };
  const cut = workspace.cut.value;
  const chosen = new Set(table.values.flatMap((_, cell) => {
    const pair = pairOf(cell);
    return cut.length === 2 && pair.every((name) => cut.includes(name)) && pair[0] !== pair[1] && table.values[cell] !== null ? [cell] : [];
  }));
  const scale = { ...diverging(symmetricMax(table.values)), flip: turned(table.metric) };
  return (
    <>
      <Heatmap
        fit="both" minCell={n > 40 ? 5 : 16} maxCell={48} rows={{ ...rows, name: "head" }} columns={{ name: "head", labels: columns.labels.map(short) }} values={table.values}
        scale={scale} format={signed} describe={describe} label={`${table.title}, by head and head`} chosen={chosen} dim={dim} single
        onPick={(picks) => {
          const [cell] = picks;
          if (cell !== undefined && table.values[cell] !== null) change({ cut: pairOf(cell) });
        }}
      />
      <Legend scale={scale} line={`${withUnit("", table.unit).trim()}: ${table.baseline.replaceAll(" - ", " − ")}. Red: cutting both does more harm than one by one.`} />
    </>
  );
}
