import type { Remeasured, Tokens } from "../../api";
import { readable } from "../../components";
import { cardHandlers } from "../../shell/componentCard";
import { change, parseComponent, workspace } from "../../state";
import { EstimateTable } from "../estimates/EstimateTable";
import { partOf } from "../estimates/scatter";

/** Each measured cell: its estimate beside its patch. */
export function MeasuredPatches({ of, clean }: { of: Remeasured; clean: Tokens | null }) {
  const shown = (part: string): string => {
    const [name, at] = part.split("@");
    return at === undefined ? part : `${name ?? ""} ${readable(clean?.labels[Number(at)] ?? "")} ${at}`;
  };
  const rows = of.cells.map(({ label, estimate, exact }) => {
    const part = partOf(label);
    const name = part.split("@")[0] ?? "";
    return { key: part, name: shown(part), estimate, exact, chosen: workspace.part.value === part, ...(parseComponent(name) ? { pointing: cardHandlers(name) } : {}) };
  });
  return <EstimateTable label="Measured again" heads={["Patch", "Estimated", "Measured"]} rows={rows} onPress={choosePart} />;
}

/** Chooses a cell; pressed again it is chosen no more. */
export function choosePart(part: string): void {
  change({ part: workspace.part.value === part ? "" : part });
}
