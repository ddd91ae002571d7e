// Direct logit attribution: what each part writes, by itself, towards the answer, and how that adds up to its logit.

import { useComputed } from "@preact/signals";
import { runExperiment } from "../api";
import type { ExperimentRecord, Table } from "../api";
import { Empty, LinePlot, Panel, Progress, Result, Segmented, Working, duration, signed } from "../components";
import { InputStrip, LayerChoice } from "../inputs";
import { useRun } from "../shell/useRun";
import { asked, change, model, useResource, useShown, useTokens, workspace } from "../state";
import { AttributionChoice } from "../views/attribution/AttributionChoice";
import { NeuronShares } from "../views/attribution/NeuronShares";
import { PositionChoice } from "../views/attribution/PositionChoice";
import { ShareGrid, SourceGrid } from "../views/attribution/ShareGrid";
import { StrongestShares } from "../views/attribution/StrongestShares";
import { SumPanel } from "../views/attribution/SumPanel";
import { accumulated } from "../views/attribution/parts";
import { layerOf, positionOf, shares } from "../views/attribution/questions";
import { findTable } from "../views/tables";

const TABLES = { components: "direct_heads", sources: "direct_sources", neurons: "direct_neurons" } as const;
const TITLES = { components: "What each part writes towards the answer", sources: "What each head brings, by the position it looks at", neurons: "What each neuron writes towards the answer" } as const;

export function SharesFace() {
  const tokens = useTokens(workspace.prompt);
  const at = useComputed(() => positionOf(workspace.pos.value, tokens.data.value?.ids.length ?? Infinity));
  const key = useComputed(() => shares(asked.value, { parts: workspace.parts.value, mlp: workspace.mlp.value, at: at.value }, model.value?.config.n_layers ?? 1));
  const of = useResource(key, runExperiment);
  const run = useRun(of);
  const record = of.data.value;
  const parts = workspace.parts.value;
  const tables = record?.results.tables ?? [];
  const found = findTable(tables, TABLES[parts], ["change"]);
  useShown({ experiment: key.value, record: of.stale.value ? null : record, table: found?.index ?? 0 });
  const inputs = asked.value;
  const stream = accumulated(tables);
  const what = inputs?.foil ? "logit difference" : "logit";
  return (
    <>
      <InputStrip fields={["target", "foil"]} action={{ text: "Attribute", onPress: run }} />
      <ShareSettings />
      <PositionChoice tokens={tokens.data.value} />
      <div class="columns attribution">
        <div class="stack">
          <Panel
            fill class="main" title={TITLES[parts]} note={record && !of.stale.value ? `exact, ${duration(record.elapsed_secs)}` : ""}
            aside={<Progress phase={of.phase.value} progress={of.progress.value} onStop={of.cancel} />}
          >
            <Working phase={of.phase.value} progress={of.progress.value} />
            {key.value === null
              ? <Empty fill title={inputs?.prompt === "" ? "Type a prompt to take its answer's logit apart." : "Give the answer: the token whose logit is taken apart. With a wrong one (Not) it is their difference."} />
              : <Result of={of}>{(data, stale) => <Shares record={data} table={found?.table ?? null} dim={stale} />}</Result>}
          </Panel>
          <Panel class="accumulated" title="Accumulated" note={`${what} read from the stream before each part of a layer, without the constant`}>
            {stream && key.value !== null
              ? <div class={of.stale.value ? "dimmed" : ""}><LinePlot label={`${what}, accumulated by layer`} labels={stream.labels} series={[{ name: what, values: stream.values, colour: "var(--accent)" }]} format={signed} height={150} /></div>
              : <Empty title="How the answer builds up from layer to layer." />}
          </Panel>
        </div>
        <div class="stack">
          <SumPanel tables={key.value === null ? [] : tables} what={what} dim={of.stale.value} />
          <Panel fill scroll title="Strongest" label="Strongest parts" note={record && key.value ? `${what}, logits` : ""}>
            {found && key.value !== null
              ? <StrongestShares tables={tables} found={found.table} dim={of.stale.value} />
              : <Empty title="The parts that write most." />}
          </Panel>
        </div>
      </div>
    </>
  );
}

function ShareSettings() {
  const layers = model.value?.config.n_layers ?? 1;
  const parts = workspace.parts.value;
  return (
    <div class="settings">
      <AttributionChoice />
      <Segmented
        label="Told apart by" showLabel value={parts} onChange={(parts) => change({ parts, part: "" })}
        options={[
          { value: "components", text: "Heads and MLPs", title: "Every head, MLP and attention bias of every layer" },
          { value: "sources", text: "Heads × position", title: "A head's share by the positions it looks at" },
          { value: "neurons", text: "Neurons", title: "The neurons of one layer's MLP" },
        ]}
      />
      {parts === "neurons" && <LayerChoice label="MLP of layer" layers={layers} value={layerOf(workspace.mlp.value, layers)} onChange={(mlp) => change({ mlp, part: "" })} />}
    </div>
  );
}

function Shares({ record, table, dim }: { record: ExperimentRecord; table: Table | null; dim: boolean }) {
  // While another telling apart is on its way, the old answer has no such table.
  if (table?.metric === "direct_neurons") return <NeuronShares table={table} dim={dim} />;
  if (table?.metric === "direct_sources") return <SourceGrid table={table} tokens={record.results.prompts[0]?.clean ?? null} dim={dim} />;
  return <ShareGrid tables={record.results.tables ?? []} dim={dim} />;
}
