import type { Table } from "../../api";
import { TopList, signed, signedExact } from "../../components";
import { cardHandlers, openPressed } from "../../shell/componentCard";
import { change, workspace } from "../../state";
import { strongest } from "../tables";

const SHOWN = 24;

/** The neurons of one layer that write most, and what the others and the bias come to. */
export function NeuronShares({ table, dim }: { table: Table; dim: boolean }) {
  const [layer] = table.axes[0]?.labels ?? [];
  const labels = table.axes[1]?.labels ?? [];
  const n = labels.length - 1;
  const top = strongest(table.values.slice(0, n), SHOWN);
  const all = table.values.reduce<number>((sum, value) => sum + (value ?? 0), 0);
  const shown = top.reduce((sum, { value }) => sum + value, 0);
  const bias = table.values[n] ?? 0;
  const entries = top.map(({ cell, value }) => {
    const name = `${layer ?? ""}${labels[cell] ?? ""}`;
    return { key: name, name, value, text: signed(value), title: `${signedExact(value)} logits`, pressed: workspace.part.value === name, pointing: cardHandlers(name) };
  });
  const press = (name: string, event: MouseEvent): void => {
    change({ part: name });
    if (event.currentTarget instanceof HTMLElement) openPressed({ name, anchor: event.currentTarget }, event.detail === 0);
  };
  return (
    <div class={`scrolly${dim ? " dimmed" : ""}`} tabIndex={0} role="group" aria-label="Neurons">
      <TopList label="Strongest neurons" entries={entries} onPress={press} />
      <p class="soft small">
        The MLP of {layer} in all: {signed(all)} logits = these {top.length} neurons {signed(shown)}, the other {n - top.length} {signed(all - shown - bias)}, its bias {signed(bias)}.
      </p>
    </div>
  );
}
