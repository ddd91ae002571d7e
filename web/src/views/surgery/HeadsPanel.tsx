import type { ImportanceBy, Table } from "../../api/schema";
import { Button, ErrorBox, Legend, Panel, Segmented, Working, largest, sequential } from "../../components";
import type { ApiError, Config } from "../../api";
import type { Cut, Phase } from "../../state";
import { HeadGrid } from "./HeadGrid";
import type { Painted } from "./HeadGrid";
import { NumberField } from "./NumberField";
import { brief, strongest } from "./painting";
import { WAYS, moved, onOf } from "./settings";

export interface ImportanceShown {
  by: ImportanceBy;
  table: Table | null;
  error: ApiError | null;
  stale: boolean;
  phase: Phase;
  retry: () => void;
}

interface HeadsPanelProps {
  config: Config;
  cut: readonly string[];
  how: Cut;
  painted: boolean;
  importance: ImportanceShown;
  sampling: { temperature: number; seed: number; length: number };
  onCut: (cut: readonly string[]) => void;
  onHow: (how: Cut) => void;
  onImportance: (by: ImportanceBy | "") => void;
  onSampling: (change: { temperature?: number; seed?: number; length?: number }) => void;
}

const TOP = 5;

const MEASURES: readonly { value: ImportanceBy; text: string; title: string }[] = [
  { value: "gradient", text: "Gradient", title: "How steeply the loss hangs on where the head looks; an estimate" },
  { value: "output_norm", text: "L2 norm", title: "How much the head writes" },
  { value: "ablation_kl", text: "Ablation KL", title: "How far the prediction moves without the head; measured" },
];

/** All heads and how they are cut. */
export function HeadsPanel(props: HeadsPanelProps) {
  const { config: { n_layers, n_heads }, cut, how, painted, importance, sampling } = props;
  const { table } = importance;
  const on = onOf(how);
  const top = table ? strongest(table.values, n_heads, TOP) : [];
  return (
    <Panel
      class="heads" title="Heads" note={`${cut.length} of ${n_layers * n_heads} cut`}
      aside={
        <Segmented
          label="Paint the grid" value={painted ? "importance" : "plain"} onChange={(shown) => props.onImportance(shown === "plain" ? "" : importance.by)}
          options={[{ value: "plain", text: "Plain" }, { value: "importance", text: "Importance" }]}
        />
      }
    >
      <Working phase={painted ? importance.phase : "idle"} />
      <HeadGrid
        nLayers={n_layers} nHeads={n_heads} cut={cut} dim={painted && importance.stale} onCut={props.onCut}
        painted={painted && table ? paint(table, top) : null}
      />
      {painted && importance.error && <ErrorBox error={importance.error} {...(importance.error.passing ? { onRetry: importance.retry } : {})} />}
      {painted && table && (
        <Legend scale={scaleOf(table)} low="0" high={brief(largest(table.values))} line={`${table.title}, ${table.unit}. ${formula(table)}`} />
      )}
      <div class="ways">
        <Segmented showLabel label="Cut with" value={how} onChange={props.onHow} options={WAYS[on].map(({ how: value, label: text, means: title }) => ({ value, text, title }))} />
        <Segmented
          showLabel label="On" value={on} onChange={(to) => props.onHow(moved(how, to))}
          options={[{ value: "pattern", text: "Pattern", title: "Where the head looks" }, { value: "output", text: "Output", title: "What the head writes" }]}
        />
        <Segmented showLabel label="Importance" value={importance.by} onChange={props.onImportance} options={MEASURES} />
        <div class="setting">
          <NumberField label="Temperature" value={sampling.temperature} max={5} step={0.1} title="0 takes the most probable token each time" onInput={(temperature) => props.onSampling({ temperature })} />
          <NumberField label="Seed" value={sampling.seed} max={Number.MAX_SAFE_INTEGER} step={1} onInput={(seed) => props.onSampling({ seed })} />
          <NumberField label="Length" value={sampling.length} min={1} max={props.config.n_ctx} step={1} title="Tokens to add at most" onInput={(length) => props.onSampling({ length })} />
        </div>
      </div>
      <footer class="row">
        <Button onPress={() => props.onCut(top)} disabled={top.length === 0} title="Cut the heads of the largest importance">Cut top {TOP}</Button>
        <Button onPress={() => props.onCut([])} disabled={cut.length === 0}>Clear</Button>
        <span class="soft small hint">Drag to select; <kbd>shift</kbd> row, <kbd>alt</kbd> column</span>
      </footer>
    </Panel>
  );
}

function scaleOf(table: Table) {
  return sequential(largest(table.values));
}

function paint(table: Table, printed: readonly string[]): Painted {
  return { values: table.values, scale: scaleOf(table), unit: table.unit, printed };
}

/** What was computed, and whether it was measured. */
function formula({ baseline, basis }: Table): string {
  const sentence = baseline.charAt(0).toUpperCase() + baseline.slice(1);
  return basis === "estimate" && !baseline.includes("estimate") ? `${sentence}; an estimate` : sentence;
}
