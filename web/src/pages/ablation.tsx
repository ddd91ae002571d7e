// Ablation: every head cut by itself, and the chosen ones together.

import { useComputed } from "@preact/signals";
import { runExperiment } from "../api";
import type { Experiment } from "../api";
import { Empty, Panel, Progress, Result, Working, duration } from "../components";
import { InputStrip } from "../inputs";
import { useRun } from "../shell/useRun";
import { asked, experiment, metricsFor, replacement, useResource, useRoles, useShown, usesSeed, workspace } from "../state";
import type { Asked } from "../state";
import { CutSettings } from "../views/ablation/CutSettings";
import { SweepGrid } from "../views/ablation/SweepGrid";
import { Together } from "../views/ablation/Together";
import { TopHeads } from "../views/ablation/TopHeads";
import { QUANTITIES, metricShown } from "../views/ablation/metrics";
import { findTable } from "../views/tables";

type Targets = "heads" | { together: string[] };

/** The experiment that cuts these as the settings say; null while something it needs is missing. */
function cutting(inputs: Asked | null, targets: Targets): Experiment | null {
  if (!inputs || inputs.prompt === "") return null;
  const how = workspace.how.value;
  if (how === "resample" && inputs.corrupt === "") return null;
  const clamp = workspace.clamp.value;
  const method = { ablate: { targets, with: replacement(how), at: workspace.at.value, ...(clamp ? { clamp } : {}) } };
  // The corrupt prompt is part of the question only where something is taken from it.
  const asking = how === "resample" ? inputs : { ...inputs, corrupt: "" };
  return experiment(asking, method, { metrics: metricsFor(asking), ...(usesSeed(how) ? { seed: workspace.seed.value } : {}) });
}

export function AblationPage() {
  const sweepKey = useComputed(() => cutting(asked.value, "heads"));
  const sweep = useResource(sweepKey, runExperiment);
  const togetherKey = useComputed(() => (workspace.cut.value.length > 0 ? cutting(asked.value, { together: [...workspace.cut.value] }) : null));
  const together = useResource(togetherKey, runExperiment);

  const roles = useRoles().data.value;
  const inputs = asked.value;
  const metric = inputs ? metricShown(inputs, workspace.metric.value) : "entropy";
  const record = sweep.data.value;
  // Rows of the sweep under way take the old answer's place as they come.
  const partial = sweep.partial.value;
  const found = findTable(partial ?? record?.results.tables, metric, QUANTITIES);
  const old = sweep.stale.value && !partial;
  useShown({ experiment: sweepKey.value, record: sweep.stale.value ? null : record, table: found?.index ?? 0 });

  const run = useRun(sweep);

  const missing = workspace.how.value === "resample" && inputs?.corrupt === "";
  const note = record && !old && !partial ? `${record.results.runs} runs, ${duration(record.elapsed_secs)}` : "";
  return (
    <>
      <InputStrip fields={["target", "foil"]} action={{ text: "Sweep", onPress: run }} />
      <CutSettings />
      <div class="columns ablation">
        <Panel
          fill title={found?.table.title ?? "Every head cut by itself"} note={note} class="main"
          aside={<Progress phase={sweep.phase.value} progress={sweep.progress.value} onStop={sweep.cancel} />}
        >
          <Working phase={sweep.phase.value} progress={sweep.progress.value} />
          {missing
            ? <Empty fill title="Resampling takes a head's output from another prompt.">Give the corrupt prompt in Patching, or choose another replacement.</Empty>
            : partial && found
              ? <SweepGrid tables={partial} table={found.table} roles={roles} dim={false} />
              : (
                <Result of={sweep} empty={<Empty fill title="Type a prompt to see what each head is worth to it." />}>
                  {(data, stale) => found && <SweepGrid tables={data.results.tables ?? []} table={found.table} roles={roles} dim={stale} />}
                </Result>
              )}
        </Panel>
        <div class="stack">
          <Panel title="Strongest" note={found ? found.table.quantity === "change" ? "edited − original" : found.table.unit : ""}>
            {found && !missing ? <TopHeads table={found.table} dim={old} /> : <Empty title="The ten heads that matter most." />}
          </Panel>
          <Together of={together} blocked={missing || sweep.error.value !== null} />
        </div>
      </div>
    </>
  );
}
