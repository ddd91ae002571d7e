// What the Circuit view asks: what every edge is worth, and what one edge does when it is patched.

import type { Experiment, ExperimentRecord } from "../../api";
import { experiment, parseComponent } from "../../state";
import type { Asked } from "../../state";
import type { Group } from "./groups";
import { groupOfNode, nodeOf } from "./supernodes";

/** Steps of integrated gradients: with five the estimate is near the exact patch, and still quick. */
const STEPS = 5;

/** Tokens shown at either end. */
const SHOWN = 6;

/** All edges, estimated; null where something is missing. */
export function allEdges(inputs: Asked | null): Experiment | null {
  if (!inputs || inputs.prompt === "" || inputs.corrupt === "" || inputs.target === "") return null;
  return experiment(inputs, { edge_attribution: { direction: "noise", gradients: { inputs: STEPS } } }, { metrics: metrics(inputs) });
}

/** One edge, exactly: its sender writes what it writes in the corrupt run, and its receiver alone sees it. Of a group, all members at once. */
export function oneEdge(inputs: Asked | null, name: string, groups: readonly Group[] = []): Experiment | null {
  const [, sender, receiver, port = ""] = /^(.+?)->(.+?)(<[qkv]>)?$/.exec(name) ?? [];
  if (!sender || !receiver || allEdges(inputs) === null || !inputs) return null;
  const members = (node: string): string[] => groupOfNode(node, groups)?.nodes.map(nodeOf) ?? [node];
  // Heads read by queries, keys and values, all else by one input.
  const readers = members(receiver).filter((node) => (port !== "") === node.startsWith("a"));
  const ends = (nodes: string[]): { each: string[] } | { together: string[] } => (nodes.length === 1 ? { each: nodes } : { together: nodes });
  const patch = { from: ends(members(sender)), to: ends(readers.map((node) => node + port)), mlps: "frozen" as const, direction: "noise" as const };
  return experiment(inputs, { path_patch: patch }, { metrics: metrics(inputs) });
}

/** What a component promotes at the last position of the clean prompt; null for the ends of the graph, which are none. */
export function promotedBy(inputs: Asked | null, name: string): Experiment | null {
  if (!inputs || allEdges(inputs) === null || !parseComponent(name)) return null;
  return experiment({ ...inputs, corrupt: "" }, { promoted_tokens: { components: [name], tokens: SHOWN } }, { metrics: [] });
}

/** What is lost by it: the clean run's metric less the patched run's. */
export function lost({ results }: ExperimentRecord): number | null {
  const table = (results.tables ?? []).find(({ quantity }) => quantity === "value");
  const clean = results.prompts[0]?.runs.find(({ name }) => name === "clean")?.metrics.find(({ metric }) => metric === table?.metric);
  const patched = table?.values[0];
  return clean === undefined || patched == null ? null : clean.value - patched;
}

function metrics(inputs: Asked): string[] {
  return [inputs.foil ? "logit_diff" : "prob"];
}
