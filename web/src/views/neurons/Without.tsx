import type { ExperimentRecord } from "../../api";
import { exact } from "../../components";
import { shownMetric } from "../metricText";
import { findTable } from "../tables";

const NAMES: Readonly<Record<string, string>> = { logit_diff: "Logit diff.", prob: "Prob.", kl: "KL" };

/** The metrics of the prompt as it is, and with the neuron set to 0 and to its mean at all positions. */
export function Without({ record }: { record: ExperimentRecord }) {
  const clean = record.results.prompts[0]?.runs.find(({ name }) => name === "clean");
  const metrics = clean?.metrics ?? [];
  const row = (name: string, of: (metric: string) => number | null | undefined) => (
    <tr>
      <th scope="row">{name}</th>
      {metrics.map(({ metric }) => {
        const value = of(metric);
        return <td key={metric} title={value == null ? "" : exact(value)}>{value == null ? "–" : shownMetric(metric, value)}</td>;
      })}
    </tr>
  );
  // The table has a row for either replacement; KL is from the whole model, 0 of itself.
  const edited = (place: number) => (metric: string): number | null | undefined => findTable(record.results.tables, metric, ["value", "change"])?.table.values[place];
  return (
    <div class="ends">
      <h3 class="small">Without it <span class="soft">at all positions; exact</span></h3>
      <table class="metrictable" aria-label="Without the neuron">
        <thead><tr><td />{metrics.map(({ metric }) => <th scope="col" key={metric}>{NAMES[metric] ?? metric}</th>)}</tr></thead>
        <tbody>
          {row("As it is", (metric) => metrics.find((one) => one.metric === metric)?.value)}
          {row("Set to 0", edited(0))}
          {row("To its mean", edited(1))}
        </tbody>
      </table>
    </div>
  );
}
