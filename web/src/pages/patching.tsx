// Patching: activations of one prompt put into the run of another, one by one and together.

import { useComputed } from "@preact/signals";
import { runExperiment } from "../api";
import type { Experiment, Patch } from "../api";
import { Empty, Panel, Progress, Result, Working, duration } from "../components";
import { PairMissing, PairStrip } from "../inputs";
import { useRun } from "../shell/useRun";
import { asked, experiment, useResource, useShown, useTokens, workspace } from "../state";
import type { Asked } from "../state";
import { LengthsDiffer } from "../views/patching/LengthsDiffer";
import { PatchGrid } from "../views/patching/PatchGrid";
import { PatchSettings } from "../views/patching/PatchSettings";
import { PatchedHere } from "../views/patching/PatchedHere";
import { Strongest } from "../views/patching/Strongest";
import { gridOf, layoutOf, patchOf } from "../views/patching/layouts";
import { patchMetric, quantities, scaleOf } from "../views/patching/reading";
import { findTable } from "../views/tables";

function patching(inputs: Asked | null, patch: Patch | null): Experiment | null {
  if (!inputs || !patch || inputs.prompt === "" || inputs.corrupt === "" || inputs.target === "") return null;
  return experiment(inputs, { patch }, { metrics: inputs.foil ? ["logit_diff", "prob"] : ["prob"] });
}

export function PatchingPage() {
  const { site, layout, direction } = workspace;
  const sweepKey = useComputed(() => patching(asked.value, { site: site.value, by: layout.value, direction: direction.value }));
  const sweep = useResource(sweepKey, runExperiment);
  const chosenKey = useComputed(() => patching(asked.value, patchOf(workspace.patch.value, site.value, direction.value)));
  const chosen = useResource(chosenKey, runExperiment);
  const clean = useTokens(workspace.prompt);
  const corrupt = useTokens(workspace.corrupt);

  const inputs = asked.value;
  const record = sweep.data.value;
  const partial = sweep.partial.value;
  const tables = partial ?? record?.results.tables ?? [];
  const found = findTable(tables, patchMetric(Boolean(inputs?.foil), workspace.metric.value), quantities(workspace.quantity.value));
  const grid = found && gridOf(found.table);
  const old = sweep.stale.value && !partial;
  const prompt = record?.results.prompts[0] ?? null;
  useShown({ experiment: sweepKey.value, record: sweep.stale.value ? null : record, table: found?.index ?? 0 });

  const run = useRun(sweep);

  const [a, b] = [clean.data.value?.labels ?? [], corrupt.data.value?.labels ?? []];
  const error = sweep.error.value;
  const apart = error !== null && !error.passing && inputs?.corrupt !== "" && a.length !== b.length;
  const heatmap = (dim: boolean) => found && grid && (
    <PatchGrid tables={tables} table={found.table} grid={grid} clean={partial ? clean.data.value : (prompt?.clean ?? null)} corrupt={partial ? corrupt.data.value : (prompt?.corrupt ?? null)} dim={dim} />
  );
  return (
    <>
      <PairStrip clean={clean} corrupt={corrupt} action={{ text: "Sweep", onPress: run }} />
      <PatchSettings />
      <div class="columns patching">
        <Panel
          fill class="main" title={layoutOf(site.value, layout.value).title}
          note={record && !old && !partial ? `${record.results.runs} runs, ${duration(record.elapsed_secs)}` : ""}
          aside={<Progress phase={sweep.phase.value} progress={sweep.progress.value} onStop={sweep.cancel} />}
        >
          <Working phase={sweep.phase.value} progress={sweep.progress.value} />
          {apart && error
            ? <LengthsDiffer clean={a} corrupt={b} error={error} />
            : sweepKey.value === null
              ? <PairMissing inputs={inputs} answer="whose return is measured" />
              : partial ? heatmap(false) : <Result of={sweep}>{(_, stale) => heatmap(stale)}</Result>}
        </Panel>
        <div class="stack">
          <Panel title="Strongest" note={found?.table.quantity === "recovery" ? "recovery" : (found?.table.unit ?? "")}>
            {found && grid && sweepKey.value !== null
              ? <Strongest grid={grid} clean={prompt?.clean ?? clean.data.value} unsigned={scaleOf(found.table).kind === "sequential"} max={scaleOf(found.table).max} dim={old} />
              : <Empty title="The patches that bring most back." />}
          </Panel>
          <PatchedHere of={chosen} unpatched={sweepKey.value === null ? null : prompt} />
        </div>
      </div>
    </>
  );
}
