import type { Table, Tokens } from "../../api";
import { Heatmap, Legend, TokenText, exact, readable } from "../../components";
import { differing } from "../../inputs";
import { change, picked, workspace } from "../../state";
import { findTable, withUnit } from "../tables";
import { completed, nameOf } from "./layouts";
import type { Grid } from "./layouts";
import { format, line, scaleOf } from "./reading";

interface PatchGridProps {
  tables: readonly Table[];
  table: Table;
  grid: Grid;
  clean: Tokens | null;
  corrupt: Tokens | null;
  dim: boolean;
}

/** What every patch brings back; clicking chooses cells to be patched in one run. */
export function PatchGrid({ tables, table, grid, clean, corrupt, dim }: PatchGridProps) {
  const scale = scaleOf(table);
  const value = findTable(tables, table.metric, ["value"])?.table;
  const labels = grid.positions && clean ? clean.labels.map(readable) : grid.columns;
  const odd = clean && corrupt ? differing(clean.labels, corrupt.labels)[0] : [];
  const n = grid.columns.length;
  const cells = new Map(grid.values.map((_, cell) => [nameOf(grid, cell), cell]));
  const chosen = new Set(workspace.patch.value.flatMap((name) => cells.get(name) ?? []));
  const where = (cell: number): string => {
    const row = grid.rows[Math.floor(cell / n)] ?? "";
    return grid.positions ? `${row} at ${labels[cell % n] ?? ""} ${cell % n}` : nameOf(grid, cell);
  };
  const says = (cell: number): string => {
    const number = grid.values[cell];
    if (number === null || number === undefined) return "not computed yet";
    // Over three axes the value's table has another order than the grid.
    const raw = table.quantity === "recovery" && grid.values.length === value?.values.length && table.axes.length === 2 ? value.values[cell] : null;
    return `${exact(number)} ${table.quantity === "recovery" ? "recovered" : table.unit}${raw === null || raw === undefined ? "" : `, ${withUnit(exact(raw), value?.unit ?? "")} in the patched run`}`;
  };
  const pick = (picks: number[], how: Parameters<typeof picked>[2]): void => {
    const next = picked(workspace.patch.peek(), picks.map((cell) => nameOf(grid, cell)), how);
    change({ patch: completed(next), ...(grid.positions && picks.length === 1 ? { pos: (picks[0] ?? 0) % n } : {}) });
  };
  return (
    <>
      <Heatmap
        fit="both" minCell={grid.positions ? 15 : 20} maxCell={grid.positions ? 110 : 150} minRow={grid.rowName === "head" ? 3 : 14} rows={{ name: grid.rowName, labels: grid.rows }}
        columns={{ name: grid.columnName, labels, tokens: grid.positions, marks: odd.map((is) => (is && grid.positions ? "against" : null)) }}
        values={grid.values} scale={scale} format={format} chosen={chosen} dim={dim} onPick={pick} label={`${table.title}, by ${grid.rowName} and ${grid.columnName}`}
        describe={(cell) => `${where(cell)}: ${says(cell)}`}
        tip={(cell) => (
          <div>
            <div class="row tight"><strong>{grid.positions ? grid.rows[Math.floor(cell / n)] : nameOf(grid, cell)}</strong>{grid.positions && clean && <><span class="soft">at {cell % n}</span><TokenText text={clean.labels[cell % n] ?? ""} />{odd[cell % n] && corrupt && <><span class="soft">corrupt</span><TokenText text={corrupt.labels[cell % n] ?? ""} /></>}</>}</div>
            <div>{says(cell)}</div>
          </div>
        )}
      />
      <Legend scale={scale} line={line(table)} />
    </>
  );
}
