import type { Table } from "../../api";
import { TopList } from "../../components";
import { cardHandlers } from "../../shell/componentCard";
import { change, picked, workspace } from "../../state";
import { strongest } from "../tables";
import { formatOf } from "./metrics";

/** The ten heads with the largest effects; pressing one chooses it as in the grid. */
export function TopHeads({ table, dim }: { table: Table; dim: boolean }) {
  const [layers, heads] = table.axes;
  if (!layers || !heads) return null;
  const format = formatOf(table);
  const entries = strongest(table.values, 10).map(({ cell, value }) => {
    const name = `${layers.labels[Math.floor(cell / heads.labels.length)] ?? ""}${heads.labels[cell % heads.labels.length] ?? ""}`;
    return { key: name, name, value: table.metric === "rank" ? -value : value, text: format(value), pressed: workspace.cut.value.includes(name), pointing: cardHandlers(name) };
  });
  const press = (name: string, event: MouseEvent): void => {
    const several = event.ctrlKey || event.metaKey || event.shiftKey;
    change({ cut: picked(workspace.cut.peek(), [name], several ? "toggle" : "replace") });
  };
  return (
    <div class={dim ? "dimmed" : ""}>
      <TopList label="Strongest heads" entries={entries} unsigned={table.quantity === "value"} onPress={press} />
    </div>
  );
}
