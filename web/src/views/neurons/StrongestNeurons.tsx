import type { ExperimentRecord } from "../../api";
import { TopList, signed, signedExact } from "../../components";
import { cardHandlers } from "../../shell/componentCard";
import { change } from "../../state";
import { findTable } from "../tables";

/** Neurons by what they are ranked by, with the other number told on hovering. */
export function StrongestNeurons({ record, neuron, dim }: { record: ExperimentRecord; neuron: string; dim: boolean }) {
  const [ranked] = record.results.tables ?? [];
  if (!ranked) return null;
  const activation = findTable(record.results.tables, "neuron_activation", ["value"])?.table;
  const share = findTable(record.results.tables, "direct_neurons", ["change"])?.table;
  const entries = (ranked.axes[0]?.labels ?? []).map((name, i) => {
    const value = ranked.values[i] ?? 0;
    const told = [activation && `activation ${signedExact(activation.values[i] ?? 0)}`, share && `writes ${signedExact(share.values[i] ?? 0)} logits`];
    return { key: name, name, value, text: signed(value), pressed: name === neuron, title: told.filter(Boolean).join(", "), pointing: cardHandlers(name) };
  });
  return <div class={dim ? "dimmed" : ""}><TopList label="Strongest neurons" entries={entries} unsigned={ranked.metric === "neuron_activation"} onPress={(neuron) => change({ neuron })} /></div>;
}

/** The first of the list, shown while none is chosen. */
export function firstOf(record: ExperimentRecord | null): string {
  return record?.results.tables?.[0]?.axes[0]?.labels[0] ?? "";
}
