import type { Remeasured, Table, Tokens } from "../../api";
import { Heatmap, Legend, TokenText, diverging, exact, plain, readable, sequential, signed, symmetricMax } from "../../components";
import { openPressed } from "../../shell/componentCard";
import { change, parseComponent, workspace } from "../../state";
import { nameOf } from "../patching/layouts";
import type { Grid } from "../patching/layouts";
import { scaleOf } from "../patching/reading";

interface EstimateGridProps {
  table: Table;
  grid: Grid;
  clean: Tokens | null;
  remeasured: Remeasured | null;
  /** Estimates are sizes: they have no sign. */
  sizes: boolean;
  dim: boolean;
}

/** Every patch of the layout, estimated; pressing a cell chooses it, and opens the card of a head. */
export function EstimateGrid({ table, grid, clean, remeasured, sizes, dim }: EstimateGridProps) {
  const recovery = table.quantity === "recovery";
  const scale = recovery ? scaleOf(table) : sizes ? sequential(symmetricMax(table.values)) : diverging(symmetricMax(table.values));
  const labels = grid.positions && clean ? clean.labels.map(readable) : grid.columns;
  const n = grid.columns.length;
  const chosen = grid.values.findIndex((_, cell) => nameOf(grid, cell) === workspace.part.value);
  const measured = new Map(remeasured?.cells.map(({ label, exact }) => [label, exact]));
  const where = (cell: number): string => {
    const row = grid.rows[Math.floor(cell / n)] ?? "";
    return grid.positions ? `${row} at ${labels[cell % n] ?? ""} ${cell % n}` : nameOf(grid, cell);
  };
  const says = (cell: number): string => {
    const value = grid.values[cell];
    if (value === null || value === undefined) return "no estimate";
    const real = measured.get(labelOf(grid, cell));
    const patched = real === undefined ? "" : `; the patch changes it by ${exact(real)} ${table.unit === "recovery" ? "" : table.unit}`.trimEnd();
    return `estimated ${exact(value)} ${recovery ? "recovered" : table.unit}${patched}`;
  };
  return (
    <>
      <Heatmap
        fit="both" minCell={grid.positions ? 15 : 20} maxCell={grid.positions ? 110 : 150} minRow={grid.rowName === "head" ? 3 : 14} single
        rows={{ name: grid.rowName, labels: grid.rows }} columns={{ name: grid.columnName, labels, tokens: grid.positions }} values={grid.values} scale={scale}
        format={recovery || sizes ? plain : signed} dim={dim} label={`${table.title}, by ${grid.rowName} and ${grid.columnName}`} chosen={new Set(chosen < 0 ? [] : [chosen])}
        describe={(cell) => `${where(cell)}: ${says(cell)}`}
        tip={(cell) => (
          <div>
            <div class="row tight"><strong>{grid.positions ? grid.rows[Math.floor(cell / n)] : nameOf(grid, cell)}</strong>{grid.positions && clean && <><span class="soft">at {cell % n}</span><TokenText text={clean.labels[cell % n] ?? ""} /></>}</div>
            <div>{says(cell)}</div>
          </div>
        )}
        onPick={() => undefined}
        onOpen={(cell, anchor, byKeyboard) => {
          const name = nameOf(grid, cell);
          change({ part: name });
          const head = name.split("@")[0] ?? "";
          if (parseComponent(head)) openPressed({ name: head, anchor }, byKeyboard);
        }}
      />
      <Legend scale={scale} line={`Estimated, not measured: ${sizes ? "mean size of the change" : recovery ? "recovery" : "change"} of ${table.metric === "prob" ? "the probability of the answer" : "the logit difference"}; ${table.baseline.replace(/-(?=\d)/g, "−")}`} />
    </>
  );
}

/** A cell's label as the API writes it among what was measured. */
function labelOf(grid: Grid, cell: number): string {
  const n = grid.columns.length;
  return grid.positions ? `${grid.rows[Math.floor(cell / n)] ?? ""} ${grid.columns[cell % n] ?? ""}` : nameOf(grid, cell);
}
