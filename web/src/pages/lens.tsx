// Logit lens: what every layer would say at every position.

import { useComputed } from "@preact/signals";
import { asApiError, isAbort, runExperiment } from "../api";
import type { Experiment, Quantity } from "../api";
import { Empty, Panel, Progress, Result, Segmented, Working, duration } from "../components";
import { InputStrip } from "../inputs";
import { useRun } from "../shell/useRun";
import { asked, change, model, useResource, useShown, useTokens, workspace } from "../state";
import type { Fetching } from "../state";
import { CellCard } from "../views/lens/CellCard";
import { Curves } from "../views/lens/Curves";
import type { Other } from "../views/lens/Curves";
import { LensGrid } from "../views/lens/LensGrid";
import { LensSettings } from "../views/lens/LensSettings";
import { colourOptions, colourShown, colours } from "../views/lens/colour";
import { LENS_NAMES, ofLens, openLens, readingsOf } from "../views/lens/lenses";
import { lensQuestion } from "../views/lens/questions";
import type { Lensed } from "../views/lens/questions";
import { findTable } from "../views/tables";

const ALONE: Lensed = { rows: "layers", norm: "", compare: "alone" };

/** Further prompts are read one by one: one that cannot be read spoils no other. */
async function readAll(experiments: Experiment[], { signal }: Fetching): Promise<Other[]> {
  return Promise.all(experiments.map(async (experiment): Promise<Other> => {
    const prompt = String(experiment.prompts[0]?.clean ?? "");
    try {
      return { prompt, record: await runExperiment(experiment, { signal }), error: null };
    } catch (error) {
      if (isAbort(error)) throw error;
      return { prompt, record: null, error: asApiError(error) };
    }
  }));
}

export function LensPage() {
  const { rows, norm, compare, tuned } = workspace;
  const open = useComputed(() => openLens(model.value, tuned.value));
  const key = useComputed(() => lensQuestion(asked.value, { rows: rows.value, norm: norm.value, compare: compare.value }, open.value));
  const lens = useResource(key, runExperiment);
  const othersKey = useComputed(() => {
    const inputs = asked.value;
    if (!inputs || (inputs.target === "" && workspace.curve.value === "prob") || workspace.others.value.length === 0) return null;
    const how = rows.value === "contributions" ? ALONE : { rows: rows.value, norm: norm.value, compare: "alone" as const };
    return workspace.others.value.flatMap((prompt) => lensQuestion({ ...inputs, prompt }, how, open.value) ?? []);
  });
  const others = useResource(othersKey, readAll);
  const tokens = useTokens(workspace.prompt);
  const corruptTokens = useTokens(workspace.corrupt);

  const inputs = asked.value;
  const answered = Boolean(inputs?.target);
  const record = lens.data.value;
  const partial = lens.partial.value;
  const read = partial ?? record?.results.tables ?? [];
  const reading = tuned.value !== "" && readingsOf(read[0]).includes("tuned") ? "tuned" : "logit";
  const tables = read.map((table) => ofLens(table, reading));
  const names = colours(rows.value, answered, Boolean(inputs?.foil));
  const colour = colourShown(workspace.metric.value, names, answered);
  const compared = compare.value === "corrupt" && inputs?.corrupt !== "";
  const quantities: Quantity[] = compared || rows.value === "contributions" ? ["change", "value"] : ["value"];
  const found = findTable(tables, colour, quantities) ?? findTable(tables, "top1_prob", ["value"]);
  const n = found?.table.axes[1]?.labels.length ?? 1;
  const last = (found?.table.axes[0]?.labels.length ?? 1) - 1;
  const chosen = { layer: Math.min(workspace.layer.value ?? last, last), pos: Math.min(workspace.pos.value ?? n - 1, n - 1) };
  // The last position is every prompt's own last; any other is the same place in all of them.
  const shownOthers = workspace.others.value.map((prompt) => others.data.value?.find((other) => other.prompt === prompt) ?? { prompt, record: null, error: null });
  useShown({ experiment: key.value, record: lens.stale.value ? null : record, table: found?.index ?? 0 });

  const run = useRun(lens);

  const grid = (dim: boolean) => found && (
    <LensGrid
      tables={tables} table={found.table} lens={partial ? null : (record?.results.lens ?? null)} reading={reading} chosen={chosen} dim={dim}
      tokens={partial ? tokens.data.value : (record?.results.prompts[0]?.clean ?? null)}
    />
  );
  return (
    <>
      <InputStrip fields={rows.value === "contributions" ? ["target", "foil"] : ["target"]} action={{ text: "Read", onPress: run }} />
      <LensSettings tokens={corruptTokens} onRun={run} />
      <div class="columns lens">
        <Panel
          fill class="main" title={rows.value === "contributions" ? "What each part adds" : `What each layer would say next${reading === "tuned" ? `, ${LENS_NAMES.tuned}` : ""}`}
          note={record && !lens.stale.value && !partial ? duration(record.elapsed_secs) : ""}
          aside={(
            <>
              <Progress phase={lens.phase.value} progress={lens.progress.value} onStop={lens.cancel} />
              <Segmented label="Colour by" options={colourOptions(names, answered)} value={colour} onChange={(metric) => change({ metric })} />
            </>
          )}
        >
          <Working phase={lens.phase.value} progress={lens.progress.value} />
          {partial ? grid(false) : <Result of={lens} empty={<Empty fill title="Type a prompt to read the model's mind layer by layer." />}>{(_, stale) => grid(stale)}</Result>}
        </Panel>
        <div class="stack">
          {record
            ? (
              <>
                <CellCard record={record} {...chosen} dim={lens.stale.value} />
                {rows.value !== "contributions" && <Curves record={record} others={shownOthers} pos={chosen.pos === n - 1 ? null : chosen.pos} answer={inputs?.target ?? ""} />}
              </>
            )
            : <Panel fill title="Chosen cell"><Empty fill title="Click a cell to see its five most probable tokens." /></Panel>}
        </div>
      </div>
    </>
  );
}
