import type { Experiment, ExperimentRecord } from "../../api";
import { TopList, exact, plain, signed } from "../../components";
import { change } from "../../state";
import { EstimateTable } from "../estimates/EstimateTable";

interface ListProps {
  record: ExperimentRecord;
  /** The chosen one. */
  feature: number | null;
  dim: boolean;
}

const choose = (feature: string): void => change({ feature });

/** The strongest features of the prompt, or of one of its tokens. */
export function ActiveList({ record, feature, pos, dim }: ListProps & { pos: number | null }) {
  const prompt = record.results.features?.prompts[0];
  const found = pos === null ? prompt?.overall : prompt?.positions[pos]?.top;
  const entries = (found ?? []).map((one) => ({
    key: String(one.feature), name: String(one.feature), value: one.activation, text: plain(one.activation), pressed: one.feature === feature, title: `feature ${one.feature}: ${exact(one.activation)}`,
  }));
  if (entries.length === 0) return <p class="soft">No feature is active there.</p>;
  return <div class={dim ? "dimmed" : ""}><TopList label="Active features" entries={entries} unsigned onPress={choose} /></div>;
}

/** What each active feature is worth, the largest effect first. */
export function WorthList({ record, feature, metric, dim }: ListProps & { metric: string }) {
  const table = record.results.tables?.find((one) => one.metric === metric && one.quantity === "change");
  const cells = record.results.feature_sweep?.cells ?? [];
  const entries = cells.map((cell, i) => ({ feature: cell.feature, activation: cell.activation, value: table?.values[i] ?? 0 }))
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value))
    .slice(0, 32)
    .map((one) => ({
      key: String(one.feature), name: String(one.feature), value: one.value, text: signed(one.value), pressed: one.feature === feature,
      title: `feature ${one.feature}, active up to ${exact(one.activation)}: ${exact(one.value)}`,
    }));
  return <div class={dim ? "dimmed" : ""}><TopList label="Features by what they do" entries={entries} onPress={choose} /></div>;
}

/** What each is worth by an estimate, and what the strongest are when they are measured. */
export function EstimateList({ record, feature, dim }: ListProps) {
  const { results, experiment } = record;
  const report = results.feature_attribution;
  const values = results.tables?.[0]?.values ?? [];
  const measured = new Map(results.remeasured?.cells.map(({ cell, exact }) => [cell, exact]));
  const rows = (report?.cells ?? []).map((cell, i) => ({
    key: String(cell.feature), name: String(cell.feature), estimate: values[i] ?? 0, exact: measured.get(i) ?? null, chosen: cell.feature === feature,
    title: `feature ${cell.feature}, active up to ${exact(cell.activation)}`,
  }));
  return <div class={dim ? "dimmed" : ""}><EstimateTable label="Features, estimated" heads={["Feature", ...axesOf(experiment)]} rows={rows} onPress={choose} /></div>;
}

/** What estimates and measurements of features are called: direct shares are of what is lost without the feature. */
export function axesOf({ method }: Experiment): [string, string] {
  const direct = method !== "measure" && "feature_attribution" in method && method.feature_attribution.estimate === "direct";
  return direct ? ["written", "lost without"] : ["estimated", "measured"];
}

/** The strongest feature of the prompt, shown while none is chosen. */
export function firstFeature(record: ExperimentRecord | null): string {
  const first = record?.results.features?.prompts[0]?.overall[0];
  return first ? String(first.feature) : "";
}

/** All that a record of the prompt's features lists. */
export function listedFeatures(record: ExperimentRecord | null): number[] {
  const { features, feature_sweep, feature_attribution } = record?.results ?? {};
  const prompt = features?.prompts[0];
  const all = [
    ...(prompt?.overall ?? []), ...(prompt?.positions ?? []).flatMap(({ top }) => top), ...(feature_sweep?.cells ?? []), ...(feature_attribution?.cells ?? []),
  ];
  return [...new Set(all.map(({ feature }) => feature))];
}
