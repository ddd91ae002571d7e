import type { ExperimentRecord } from "../../api";
import { LinePlot, Segmented, plain } from "../../components";
import { change, workspace } from "../../state";
import { findTable } from "../tables";

const NAMES: Readonly<Record<string, string>> = { logit_diff: "Logit diff.", prob: "Probability", kl: "KL" };

/** The metrics there are, and the one on show. */
export function curveMetric(metrics: readonly string[], wanted: string): string {
  return metrics.includes(wanted) ? wanted : (metrics[0] ?? "kl");
}

/** What the prompt's metric becomes, strength by strength; a press takes that strength. */
export function Curve({ record, metrics, dim }: { record: ExperimentRecord; metrics: readonly string[]; dim: boolean }) {
  const metric = curveMetric(metrics, workspace.metric.value);
  const table = findTable(record.results.tables, metric, ["value", "change"])?.table;
  if (!table) return null;
  const labels = table.axes[0]?.labels ?? [];
  const at = labels.map(Number);
  const whole = record.results.prompts[0]?.runs[0]?.metrics.find((one) => one.metric === metric)?.value;
  const chosen = at.reduce((best, value, i) => (Math.abs(value - workspace.strength.value) < Math.abs((at[best] ?? 0) - workspace.strength.value) ? i : best), 0);
  return (
    <div class={dim ? "curve dimmed" : "curve"}>
      <Segmented label="Measure" value={metric} onChange={(metric) => change({ metric })} options={metrics.map((value) => ({ value, text: NAMES[value] ?? value }))} />
      <LinePlot
        fill label={`${NAMES[metric] ?? metric} by strength`} labels={labels.map((label) => label.replace("-", "−"))} format={plain}
        series={[{ name: NAMES[metric] ?? metric, values: [...table.values], colour: "var(--accent)" }]}
        {...(metric === "prob" ? { range: [0, 1] as const } : {})} onPick={(i) => change({ strength: at[i] ?? 0 })}
      />
      <p class="soft small">
        {`At ${(labels[chosen] ?? "").replace("-", "−")}: ${plain(table.values[chosen] ?? 0)}${table.unit === "probability" ? "" : ` ${table.unit}`}. `}
        {metric === "kl" ? "KL of the prompt's next token from the model as it is, which is 0. " : whole === undefined ? "" : `Strength 0, the model as it is: ${plain(whole)}. `}
        Press the curve to write with that strength.
      </p>
    </div>
  );
}
