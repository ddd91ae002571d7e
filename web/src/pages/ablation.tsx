// Ablation: every head cut by itself, and the chosen ones together.

import { useComputed } from "@preact/signals";
import type { ReadonlySignal } from "@preact/signals";
import { runExperiment } from "../api";
import type { Experiment, ExperimentRecord, Quantity } from "../api";
import { Empty, Panel, Progress, Result, Working, duration } from "../components";
import { InputStrip } from "../inputs";
import { useRun } from "../shell/useRun";
import { asked, experiment, metricsFor, replacement, useResource, useRoles, useShown, usesSeed, workspace } from "../state";
import type { Asked, Resource } from "../state";
import { Backups } from "../views/ablation/Backups";
import { CutSettings } from "../views/ablation/CutSettings";
import { PairsGrid } from "../views/ablation/PairsGrid";
import { SweepGrid } from "../views/ablation/SweepGrid";
import { Together } from "../views/ablation/Together";
import { TopHeads } from "../views/ablation/TopHeads";
import { QUANTITIES, metricShown } from "../views/ablation/metrics";
import { findTable } from "../views/tables";

type What = "heads" | "pairs" | { together: string[] };

/** The experiment that cuts these as the settings say; null while something it needs is missing. */
function cutting(inputs: Asked | null, what: What): Experiment | null {
  if (!inputs || inputs.prompt === "") return null;
  const how = workspace.how.value;
  if (how === "resample" && inputs.corrupt === "") return null;
  const clamp = workspace.clamp.value;
  // The corrupt prompt is part of the question only where something is taken from it.
  const asking = how === "resample" ? inputs : { ...inputs, corrupt: "" };
  const common = { with: replacement(how), at: workspace.at.value };
  const seed = usesSeed(how) ? { seed: workspace.seed.value } : {};
  if (what === "pairs") return experiment(asking, { pairs: common }, { metrics: [metricShown(inputs, workspace.metric.value)], ...seed });
  const method = { ablate: { targets: what, ...common, ...(clamp ? { clamp } : {}) } };
  return experiment(asking, method, { metrics: metricsFor(asking), ...seed });
}

export function AblationPage() {
  const key = useComputed(() => cutting(asked.value, workspace.sweep.value === "pairs" ? "pairs" : "heads"));
  const sweep = useResource(key, runExperiment);
  const togetherKey = useComputed(() => (workspace.cut.value.length > 0 ? cutting(asked.value, { together: [...workspace.cut.value] }) : null));
  const together = useResource(togetherKey, runExperiment);
  const run = useRun(sweep);
  const missing = workspace.how.value === "resample" && asked.value?.corrupt === "";
  const Sweep = workspace.sweep.value === "pairs" ? PairSweep : HeadSweep;
  return (
    <>
      <InputStrip fields={["target", "foil"]} action={{ text: "Sweep", onPress: run }} />
      <CutSettings />
      <Sweep experiment={key} sweep={sweep} missing={missing}>
        <Together of={together} blocked={missing || sweep.error.value !== null} />
      </Sweep>
    </>
  );
}

interface SweepProps {
  experiment: ReadonlySignal<Experiment | null>;
  sweep: Resource<ExperimentRecord>;
  /** What is resampled from is not there. */
  missing: boolean;
  children: preact.ComponentChildren;
}

const Missing = () => <Empty fill title="Resampling takes a head's output from another prompt.">Give the corrupt prompt in Patching, or choose another replacement.</Empty>;

/** What the sweep has found: rows of one under way take the old answer's place as they come. */
function useFound(sweep: Resource<ExperimentRecord>, experiment: ReadonlySignal<Experiment | null>, quantities: readonly Quantity[]) {
  const inputs = asked.value;
  const record = sweep.data.value;
  const partial = sweep.partial.value;
  const found = findTable(partial ?? record?.results.tables, inputs ? metricShown(inputs, workspace.metric.value) : "entropy", quantities);
  const old = sweep.stale.value && !partial;
  useShown({ experiment: experiment.value, record: sweep.stale.value ? null : record, table: found?.index ?? 0 });
  const note = record && !old && !partial ? `${record.results.runs} runs, ${duration(record.elapsed_secs)}` : "";
  return { record, partial, found, old, note };
}

function HeadSweep({ experiment, sweep, missing, children }: SweepProps) {
  const roles = useRoles().data.value;
  const { partial, found, old, note } = useFound(sweep, experiment, QUANTITIES);
  return (
    <div class="columns ablation">
      <Panel
        fill title={found?.table.title ?? "Every head cut by itself"} note={note} class="main"
        aside={<Progress phase={sweep.phase.value} progress={sweep.progress.value} onStop={sweep.cancel} />}
      >
        <Working phase={sweep.phase.value} progress={sweep.progress.value} />
        {missing
          ? <Missing />
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
        {children}
      </div>
    </div>
  );
}

function PairSweep({ experiment, sweep, missing, children }: SweepProps) {
  const { record, partial, found, old, note } = useFound(sweep, experiment, ["interaction"]);
  return (
    <div class="columns ablation">
      <Panel
        fill title={found?.table.title ?? "Every two heads cut together"} note={note} class="main"
        aside={<Progress phase={sweep.phase.value} progress={sweep.progress.value} onStop={sweep.cancel} />}
      >
        <Working phase={sweep.phase.value} progress={sweep.progress.value} />
        {missing
          ? <Missing />
          : partial && found
            ? <PairsGrid tables={partial} table={found.table} dim={false} />
            : (
              <Result of={sweep} empty={<Empty fill title="Type a prompt to see which heads stand in for each other." />}>
                {(data, stale) => found && <PairsGrid tables={data.results.tables ?? []} table={found.table} dim={stale} />}
              </Result>
            )}
      </Panel>
      <div class="stack">
        <Panel title="Backups" note="interaction">
          {record && found && !missing && !partial
            ? <Backups backups={record.results.backups ?? []} unit={found.table.unit} dim={old} />
            : <Empty title="Heads that matter more when another is cut." />}
        </Panel>
        {children}
      </div>
    </div>
  );
}
