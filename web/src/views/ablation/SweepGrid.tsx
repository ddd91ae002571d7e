import type { ExperimentRecord, Table } from "../../api";
import { Heatmap, Legend, exact, plain } from "../../components";
import { change, picked, workspace } from "../../state";
import { rolesOf } from "../roles";
import { findTable, withUnit } from "../tables";
import { formatOf, reading, scaleOf } from "./metrics";

interface SweepGridProps {
  /** All tables of the sweep: the card tells the value beside the change. */
  tables: readonly Table[];
  table: Table;
  /** Head scores, where they are known already: the card tells a head's roles. */
  roles: ExperimentRecord | null;
  dim: boolean;
}

/** The effect of every head on the metric on show; clicking chooses heads to be cut together. */
export function SweepGrid({ tables, table, roles, dim }: SweepGridProps) {
  const [layers, heads] = table.axes;
  if (!layers || !heads) return null;
  const n = heads.labels.length;
  const nameOf = (cell: number): string => `${layers.labels[Math.floor(cell / n)] ?? ""}${heads.labels[cell % n] ?? ""}`;
  const cells = new Map(table.values.map((_, cell) => [nameOf(cell), cell]));
  const chosen = new Set(workspace.cut.value.flatMap((name) => cells.get(name) ?? []));
  const format = formatOf(table);
  const cut = findTable(tables, table.metric, ["value"])?.table;
  const sign = table.quantity === "change" ? (value: number) => (value > 0 ? `+${exact(value)}` : exact(value)) : exact;
  const describe = (cell: number): string => {
    const value = table.values[cell];
    if (value === null || value === undefined) return `${nameOf(cell)}: not computed yet`;
    const after = table.quantity === "change" ? cut?.values[cell] : null;
    return `${nameOf(cell)}: ${withUnit(sign(value), table.unit)}${after === null || after === undefined ? "" : `, ${exact(after)} when cut`}`;
  };
  const scale = scaleOf(table);
  return (
    <>
      <Heatmap
        fit="both" minCell={20} maxCell={150} rows={layers} columns={heads} values={table.values} scale={scale} format={format} describe={describe}
        label={`${table.title}, by layer and head`} chosen={chosen} dim={dim}
        tip={(cell) => (
          <>
            <div>{describe(cell)}</div>
            <div class="soft small">{rolesOf(roles, nameOf(cell), plain)}</div>
          </>
        )}
        onPick={(picks, pick) => change({ cut: picked(workspace.cut.peek(), picks.map(nameOf), pick) })}
      />
      <Legend scale={scale} line={`${withUnit("", table.unit).trim()}: ${table.baseline.replace(" - ", " − ")}. ${reading(table)}`} />
    </>
  );
}
