import type { Table, Tokens } from "../../api";
import { Heatmap, Legend, TokenText, diverging, readable, signed, signedExact, symmetricMax } from "../../components";
import type { CellAnchor } from "../../components";
import { openPressed } from "../../shell/componentCard";
import { change, parseComponent, workspace } from "../../state";
import { headRows } from "../tables";
import { partGrid } from "./parts";

const LINE = "logits; 0 = writes nothing towards the answer. The final LayerNorm's scale is held at this run's, so that all shares add up";

/** A part of the model that is pressed is chosen, and its card opens. */
function open(name: string, anchor: CellAnchor, byKeyboard: boolean): void {
  change({ part: name });
  if (parseComponent(name)) openPressed({ name, anchor }, byKeyboard);
}

/** The bias of an attention layer is no component: it has no name of its own. */
export function partName(name: string): string {
  const bias = /^b(\d+)$/.exec(name);
  return bias ? `b_O of layer ${bias[1] ?? ""}` : name;
}

/** Heads, MLPs and attention biases of every layer. */
export function ShareGrid({ tables, dim }: { tables: readonly Table[]; dim: boolean }) {
  const grid = partGrid(tables);
  if (!grid) return null;
  const scale = diverging(symmetricMax(grid.values));
  const chosen = grid.names.indexOf(workspace.part.value);
  return (
    <>
      <Heatmap
        fit="both" minCell={20} maxCell={150} single rows={{ name: "layer", labels: grid.rows }} columns={{ name: "part", labels: grid.columns }}
        values={grid.values} scale={scale} format={signed} dim={dim} label="Share of the answer's logit, by layer and part"
        chosen={new Set(chosen < 0 ? [] : [chosen])} describe={(cell) => `${partName(grid.names[cell] ?? "")}: ${signedExact(grid.values[cell] ?? 0)} logits`}
        onPick={() => undefined} onOpen={(cell, anchor, byKeyboard) => open(grid.names[cell] ?? "", anchor, byKeyboard)}
      />
      <Legend scale={scale} line={LINE} />
    </>
  );
}

/** Every head by the position it looks at. */
export function SourceGrid({ table, tokens, dim }: { table: Table; tokens: Tokens | null; dim: boolean }) {
  const { rows, values } = headRows(table);
  const columns = table.axes[1]?.labels ?? [];
  const labels = tokens ? tokens.labels.map(readable) : columns;
  const n = columns.length;
  const scale = diverging(symmetricMax(values));
  const head = rows.indexOf(workspace.part.value);
  const nameOf = (cell: number): string => rows[Math.floor(cell / n)] ?? "";
  const says = (cell: number): string => `${signedExact(values[cell] ?? 0)} logits`;
  return (
    <>
      <Heatmap
        fit="both" minCell={15} maxCell={110} minRow={3} single rows={{ name: "head", labels: rows, }} columns={{ name: "position", labels, tokens: true }}
        values={values} scale={scale} format={signed} dim={dim} label="Share of the answer's logit, by head and the position it looks at"
        chosen={new Set(head < 0 ? [] : Array.from({ length: n }, (_, i) => head * n + i))}
        describe={(cell) => `${nameOf(cell)} from ${labels[cell % n] ?? ""} ${cell % n}: ${says(cell)}`}
        tip={(cell) => (
          <div>
            <div class="row tight"><strong>{nameOf(cell)}</strong><span class="soft">from {cell % n}</span><TokenText text={tokens?.labels[cell % n] ?? ""} /></div>
            <div>{says(cell)}</div>
          </div>
        )}
        onPick={() => undefined} onOpen={(cell, anchor, byKeyboard) => open(nameOf(cell), anchor, byKeyboard)}
      />
      <Legend scale={scale} line={`${LINE}. Positions: those that a head looks at from the one attributed`} />
    </>
  );
}
