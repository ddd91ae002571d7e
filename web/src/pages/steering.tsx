// Steering: a direction added to the residual stream on every token, beside the text as it is, and over strengths.

import { useComputed } from "@preact/signals";
import { runExperiment } from "../api";
import { Empty, Panel, Progress, Result, Working, duration } from "../components";
import { InputStrip } from "../inputs";
import { useRun } from "../shell/useRun";
import { asked, model, useResource, useShown, workspace } from "../state";
import { saeOf } from "../views/features/questions";
import { Curve, curveMetric } from "../views/steering/Curve";
import { DirectionSettings } from "../views/steering/DirectionSettings";
import { SteeredTexts } from "../views/steering/SteeredTexts";
import { Strength } from "../views/steering/Strength";
import { useWriting } from "../views/steering/writing";
import { steeredTexts, strengthCurve } from "../views/steering/questions";
import type { Direction } from "../views/steering/questions";
import { findTable } from "../views/tables";

function direction(): Direction {
  const { along, towards, away, over, neuron, feature, into, sized } = workspace;
  return {
    autoencoder: saeOf(model.value, workspace.sae.value), feature: feature.value, along: along.value, towards: towards.value, away: away.value, over: over.value, neuron: neuron.value, into: into.value, sized: sized.value };
}

const sentence = (words: string): string => words.charAt(0).toUpperCase() + words.slice(1);

export function SteeringPage() {
  const layers = useComputed(() => model.value?.config.n_layers ?? 1);
  const curveKey = useComputed(() => strengthCurve(asked.value, direction(), layers.value, workspace.reach.value));
  const curve = useResource(curveKey, runExperiment);
  const textsKey = useComputed(() => {
    const { strength, length, temperature, seed } = workspace;
    return steeredTexts(asked.value, direction(), layers.value, { strength: strength.value, length: length.value, temperature: temperature.value, seed: seed.value });
  });
  const { of: writing, texts, arriving } = useWriting(textsKey);
  const run = useRun(writing);
  const record = writing.data.value;
  const written = arriving.value ? [] : (record?.results.steered ?? []);
  const measured = curve.data.value;
  const metrics = curveKey.value?.metrics ?? [];
  // Copy and export are of the curve: it has the numbers. The text's question is the same with other strengths.
  const found = findTable(measured?.results.tables, curveMetric(metrics, workspace.metric.value), ["value", "change"]);
  useShown({ experiment: curveKey.value, record: curve.stale.value ? null : measured, table: found?.index ?? 0 });
  const missing = asked.value?.prompt === "" ? "Type a prompt to steer."
    : workspace.along.value === "feature" ? "Give the number of the feature that is steered with."
    : workspace.along.value === "neuron" ? "Name the neuron that is steered with, as L2N17."
      : "Give two texts that differ: the direction leads from one to the other.";
  const shown = (dim: boolean) => (
    <SteeredTexts texts={texts.value} control={written.find(({ strength }) => strength === 0) ?? null} steered={written.find(({ strength }) => strength !== 0) ?? null} dim={dim} />
  );
  return (
    <>
      <InputStrip fields={["target", "foil"]} action={{ text: "Steer", onPress: run }} />
      <DirectionSettings />
      <div class="columns steering">
        <Panel
          fill class="main texts" title="Text" label="Text" note={record && !writing.stale.value ? duration(record.elapsed_secs) : ""}
          aside={<Progress phase={writing.phase.value} progress={null} onStop={writing.cancel} />}
        >
          <Working phase={writing.phase.value} />
          <Strength />
          {record && textsKey.value && <p class={`soft small${writing.stale.value ? " dimmed" : ""}`}>{sentence(record.results.notes[0] ?? "")}.</p>}
          {textsKey.value === null ? <Empty fill title={missing} /> : arriving.value ? shown(false) : <Result of={writing}>{(_, stale) => shown(stale)}</Result>}
        </Panel>
        <Panel
          fill title="By strength" label="By strength" note={measured && !curve.stale.value ? `${measured.results.runs} runs, ${duration(measured.elapsed_secs)}` : ""}
          aside={<Progress phase={curve.phase.value} progress={curve.progress.value} onStop={curve.cancel} />}
        >
          <Working phase={curve.phase.value} progress={curve.progress.value} />
          {curveKey.value === null ? <Empty fill title="How the answer moves with the strength." /> : <Result of={curve}>{(data, stale) => <Curve record={data} metrics={metrics} dim={stale} />}</Result>}
        </Panel>
      </div>
    </>
  );
}
