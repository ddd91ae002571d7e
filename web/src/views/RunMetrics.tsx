import type { RunReport } from "../api";
import { exact, plain } from "../components";

interface RunMetricsProps {
  runs: readonly { name: string; run: RunReport }[];
}

/** Metrics of whole runs: one column a metric, so that runs stand above each other. */
export function RunMetrics({ runs }: RunMetricsProps) {
  const metrics = runs[0]?.run.metrics ?? [];
  return (
    <table class="metrictable">
      <thead>
        <tr>
          <td />
          {metrics.map(({ metric, unit }) => <th scope="col" key={metric}>{shortName(metric)}<br />{unit === "probability" ? "" : unit}</th>)}
        </tr>
      </thead>
      <tbody>
        {runs.map(({ name, run }) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            {metrics.map(({ metric }) => {
              const found = run.metrics.find((other) => other.metric === metric);
              return <td key={metric} title={found ? `${exact(found.value)} ${found.unit}` : ""}>{found ? plain(found.value) : "–"}</td>;
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const SHORT: Readonly<Record<string, string>> = { logit_diff: "Logit diff.", prob: "Prob.", kl: "KL" };
const shortName = (metric: string): string => SHORT[metric] ?? metric.charAt(0).toUpperCase() + metric.slice(1);
