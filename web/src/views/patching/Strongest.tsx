import type { Tokens } from "../../api";
import { TopList, readable } from "../../components";
import { change, picked, workspace } from "../../state";
import { strongest } from "../tables";
import { completed, nameOf } from "./layouts";
import type { Grid } from "./layouts";
import { format } from "./reading";

interface StrongestProps {
  grid: Grid;
  clean: Tokens | null;
  unsigned: boolean;
  dim: boolean;
  /** The value of a full bar. */
  max: number;
}

/** The patches that bring most back, or take most away. */
export function Strongest({ grid, clean, unsigned, dim, max }: StrongestProps) {
  const n = grid.columns.length;
  const entries = strongest(grid.values, 8).map(({ cell, value }) => {
    const key = nameOf(grid, cell);
    const at = cell % n;
    const name = grid.positions ? `${grid.rows[Math.floor(cell / n)] ?? ""} ${readable(clean?.labels[at] ?? "")} ${at}` : key;
    return { key, name, value, text: format(value), pressed: workspace.patch.value.includes(key) };
  });
  const press = (name: string, event: MouseEvent): void => {
    const several = event.ctrlKey || event.metaKey || event.shiftKey;
    change({ patch: completed(picked(workspace.patch.peek(), [name], several ? "toggle" : "replace")) });
  };
  return <div class={dim ? "dimmed" : ""}><TopList label="Strongest patches" entries={entries} unsigned={unsigned} max={max} onPress={press} /></div>;
}
