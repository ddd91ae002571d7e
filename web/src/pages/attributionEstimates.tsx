// Attribution patching: every patch of a layout estimated by derivatives, and the strongest measured beside it.

import { useComputed } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { runExperiment } from "../api";
import { Button, Empty, Panel, Progress, Result, Working, duration } from "../components";
import { scatterFiles } from "../export";
import { PairMissing, PairStrip } from "../inputs";
import { useRun } from "../shell/useRun";
import { asked, change, useResource, useShown, useTokens, workspace } from "../state";
import { EstimateGrid } from "../views/attribution/EstimateGrid";
import { EstimateSettings } from "../views/attribution/EstimateSettings";
import { MeasuredPatches, choosePart } from "../views/attribution/MeasuredPatches";
import { PositionChoice } from "../views/attribution/PositionChoice";
import { correctionsOf, estimate, positionOf } from "../views/attribution/questions";
import { Agreement } from "../views/estimates/Agreement";
import { partOf } from "../views/estimates/scatter";
import { LengthsDiffer } from "../views/patching/LengthsDiffer";
import { gridOf, layoutOf } from "../views/patching/layouts";
import { findTable } from "../views/tables";

export function EstimatesFace() {
  const { site, layout, direction, steps, fixes, check, quantity } = workspace;
  const clean = useTokens(workspace.prompt);
  const at = useComputed(() => positionOf(workspace.pos.value, clean.data.value?.ids.length ?? Infinity));
  const key = useComputed(() => estimate(asked.value, {
    site: site.value, layout: layout.value, direction: direction.value, steps: steps.value, fixes: fixes.value, check: check.value, at: at.value,
  }));
  const of = useResource(key, runExperiment);
  const corrupt = useTokens(workspace.corrupt);
  const run = useRun(of);

  const record = of.data.value;
  const partial = of.partial.value;
  const inputs = asked.value;
  const tables = partial ?? record?.results.tables ?? [];
  const metric = inputs?.foil ? "logit_diff" : "prob";
  // Sizes, as GradDrop gives them, have no recovery.
  const found = findTable(tables, metric, quantity.value === "value" || quantity.value === "change" ? ["change"] : ["recovery", "change"]);
  const grid = found && gridOf(found.table);
  const remeasured = of.stale.value ? null : (record?.results.remeasured ?? null);
  const files = useMemo(() => (record?.results.remeasured ? scatterFiles(record) : []), [record]);
  useShown({ experiment: key.value, record: of.stale.value ? null : record, table: found?.index ?? 0, files });

  const [a, b] = [clean.data.value?.labels ?? [], corrupt.data.value?.labels ?? []];
  const error = of.error.value;
  const apart = error !== null && !error.passing && inputs?.corrupt !== "" && a.length !== b.length;
  const heatmap = (dim: boolean) => found && grid && (
    <EstimateGrid table={found.table} grid={grid} clean={clean.data.value} remeasured={record?.results.remeasured ?? null} sizes={correctionsOf({ site: site.value, fixes: fixes.value }).includes("grad_drop")} dim={dim} />
  );
  return (
    <>
      <PairStrip clean={clean} corrupt={corrupt} action={{ text: "Estimate", onPress: run }} />
      <EstimateSettings />
      <PositionChoice tokens={clean.data.value} />
      <div class="columns attribution">
        <Panel
          fill class="main" title={`${layoutOf(site.value, layout.value).title}, estimated`}
          note={record && !of.stale.value && !partial ? `${record.results.runs} runs, ${duration(record.elapsed_secs)}` : ""}
          aside={(
            <>
              <Progress phase={of.phase.value} progress={of.progress.value} onStop={of.cancel} />
              {key.value && at.value === null && <Button small title="The same patches, each of them run" onPress={() => change({ view: "patching", patch: workspace.part.value === "" ? [] : [workspace.part.value] })}>Measure in Patching</Button>}
            </>
          )}
        >
          <Working phase={of.phase.value} progress={of.progress.value} />
          {key.value === null
            ? <PairMissing inputs={inputs} answer="whose return is estimated" />
            : apart && error
              ? <LengthsDiffer clean={a} corrupt={b} error={error} />
              : partial ? heatmap(false) : <Result of={of}>{(_, stale) => heatmap(stale)}</Result>}
        </Panel>
        <div class="stack">
          <Panel title="Estimate against exact" label="Agreement" note={remeasured ? `${remeasured.cells.length} measured` : ""}>
            {remeasured && key.value
              ? <Agreement of={remeasured} keyOf={partOf} chosen={workspace.part.value} onPick={choosePart} />
              : <Empty title={check.value === "off" ? "Nothing is measured: choose how many under Measure." : error ? "" : "The strongest cells are run as patches, to see how far to trust the estimates."} />}
          </Panel>
          <Panel fill scroll title="Measured again" label="Measured again" note="strongest first">
            {remeasured && key.value ? <MeasuredPatches of={remeasured} clean={clean.data.value} /> : <Empty title="Each estimate beside its patch." />}
          </Panel>
        </div>
      </div>
    </>
  );
}
