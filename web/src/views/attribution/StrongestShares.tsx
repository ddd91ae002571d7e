import type { Table } from "../../api";
import { TopList, signed, signedExact } from "../../components";
import { cardHandlers, openPressed } from "../../shell/componentCard";
import { change, parseComponent, workspace } from "../../state";
import { headRows, strongest } from "../tables";
import { partName } from "./ShareGrid";
import { partGrid } from "./parts";

const SHOWN = 16;

/** The parts that write most towards the answer, or against it; a press opens the card of one. */
export function StrongestShares({ tables, found, dim }: { tables: readonly Table[]; found: Table; dim: boolean }) {
  const entries = strongestOf(tables, found).map(({ key, part, name, value }) => ({
    key, name, value, text: signed(value), title: `${signedExact(value)} logits`, pressed: workspace.part.value === part,
    ...(parseComponent(part) ? { pointing: cardHandlers(part) } : {}),
  }));
  const press = (key: string, event: MouseEvent): void => {
    const part = key.split("@")[0] ?? key;
    change({ part });
    if (parseComponent(part) && event.currentTarget instanceof HTMLElement) openPressed({ name: part, anchor: event.currentTarget }, event.detail === 0);
  };
  return <div class={dim ? "dimmed" : ""}><TopList label="Strongest parts" entries={entries} onPress={press} /></div>;
}

function strongestOf(tables: readonly Table[], found: Table): { key: string; part: string; name: string; value: number }[] {
  if (found.metric === "direct_sources") {
    const { rows, values } = headRows(found);
    const positions = found.axes[1]?.labels ?? [];
    return strongest(values, SHOWN).map(({ cell, value }) => {
      const [part, at] = [rows[Math.floor(cell / positions.length)] ?? "", positions[cell % positions.length] ?? ""];
      return { key: `${part}@${cell}`, part, name: `${part} ${at.replace(/@(\d+)$/, " $1").replace(/ /g, "·").replace(/·(\d+)$/, " $1")}`, value };
    });
  }
  const grid = partGrid(tables);
  return grid ? strongest(grid.values, SHOWN).map(({ cell, value }) => {
    const part = grid.names[cell] ?? "";
    return { key: part, part, name: partName(part).replace("b_O of layer ", "b_O "), value };
  }) : [];
}
