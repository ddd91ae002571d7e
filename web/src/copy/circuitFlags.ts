// The flags of methods about the edges between components.

import type { Experiment, Method, PathPatch, Prompt } from "../api/schema";
import { given, listed, when, written } from "./flag";
import type { Flag } from "./flag";

type Asking = Exclude<Method, "measure">;
type Search = Extract<Asking, { circuit_search: unknown }>["circuit_search"];
type Curve = Extract<Asking, { circuit_curve: unknown }>["circuit_curve"];
type Judgement = Extract<Asking, { circuit_judgement: unknown }>["circuit_judgement"];
type Edges = Extract<Asking, { edge_attribution: unknown }>["edge_attribution"];
type Gradients = NonNullable<Edges["gradients"]>;
type By = Search["by"][number];

/** The subcommand and flags; null where the method is none of these, or where something cannot be said with them. */
export function circuitFlags(method: Experiment["method"], prompt: Prompt): [string, Flag[]] | null {
  if (method === "measure" || prompt.corrupt == null) return null;
  const corrupt: Flag = ["-c", written(prompt.corrupt)];
  const with_ = (subcommand: string, flags: Flag[] | null): [string, Flag[]] | null => flags && [subcommand, [corrupt, ...flags]];
  if ("edge_attribution" in method) {
    const { gradients = "base", direction } = method.edge_attribution;
    return with_("edges", [...alongFlags(gradients), ...wayFlags(direction)]);
  }
  if ("path_patch" in method) return with_("path-patch", pathFlags(method.path_patch));
  if ("circuit_search" in method) return with_("circuit find", searchFlags(method.circuit_search));
  if ("circuit_curve" in method) return with_("circuit curve", curveFlags(method.circuit_curve));
  if ("circuit_judgement" in method) return with_("circuit judge", judgeFlags(method.circuit_judgement));
  return null;
}

const wayFlags = (direction: PathPatch["direction"]): Flag[] => (direction == null || direction === "noise" ? [] : [["--direction", direction]]);

function alongFlags(gradients: Gradients): Flag[] {
  if (gradients === "base") return [];
  return "inputs" in gradients ? given("--steps", gradients.inputs) : [["--steps", String(gradients.activations)], ["--along", "activations"]];
}

/** `circuit` takes five steps by itself, and none by 0. */
const circuitAlong = (gradients: Gradients): Flag[] => (gradients === "base" ? [["--steps", "0"]] : alongFlags(gradients));

function pathFlags({ from = "heads", to, mlps, direction, at = "all" }: PathPatch): Flag[] | null {
  const senders: Flag[] = typeof from === "string" ? (from === "heads" ? [] : [["--from", from]])
    : "each" in from ? [["--from", from.each.join(",")]] : [["--from", from.together.join(",")], ["--from-together"]];
  const places: Flag[] = at === "all" ? [] : [["--at", at === "last" ? at : "from" in at ? `${at.from}..` : at.at.join(",")]];
  const receivers = receiverFlags(to);
  return receivers && [...senders, ...receivers, ...(mlps === "recomputed" ? given("--mlps", mlps) : []), ...wayFlags(direction), ...places];
}

/** One receiver is one whether it is `each` or `together`, but a record says which: only what the command would ask is said by it. */
function receiverFlags(to: PathPatch["to"]): Flag[] | null {
  if (to == null) return [];
  if (to === "every") return [["--to", "every"]];
  const names = "each" in to ? to.each : to.together;
  if (names.length === 1) return "each" in to ? null : [["--to", names.join(",")]];
  return [["--to", names.join(",")], ...when("together" in to, "--together")];
}

function searchFlags({ by, rest, begun = [] }: Search): Flag[] | null {
  if (begun.length > 0) return null;
  const ways = by.map((way) => ("acdc" in way ? "acdc" : "edges" in way ? "edges" : "nodes"));
  const thresholds = by.flatMap((way) => ("acdc" in way ? [way.acdc] : []));
  const ranked = by.flatMap((way): Ranked[] => ("edges" in way ? [way.edges] : "nodes" in way ? [way.nodes] : []));
  const own = ranked.map((way) => rankedFlags(way));
  const [first] = own;
  // The options are said once, for all ways.
  if (thresholds.length > 1 || new Set(ways).size !== ways.length || own.some((flags) => JSON.stringify(flags) !== JSON.stringify(first))) return null;
  const picks = by.flatMap((way) => ("edges" in way && way.edges.pick ? [way.edges.pick] : []));
  return [
    ["--by", ways.join(",")], ...listed("--threshold", thresholds[0] ?? []), ...(first ?? []), ...pickFlags(picks[0]), ...restFlags(rest),
  ];
}

type Ranked = Pick<Extract<By, { nodes: unknown }>["nodes"], "gradients" | "size">;

function rankedFlags({ gradients = "base", size }: Ranked): Flag[] {
  return [...("faithful" in size ? given("--faithful", size.faithful) : listed("--size", size.count)), ...circuitAlong(gradients)];
}

function curveFlags({ gradients = "base", pick, rest, shares = [], random }: Curve): Flag[] {
  return [...circuitAlong(gradients), ...pickFlags(pick), ...restFlags(rest), ...listed("--shares", shares), ...given("--random", random)];
}

/** What a circuit is called ends at the first `=`. */
function judgeFlags({ circuits, rests = [], random, subsets }: Judgement): Flag[] | null {
  if (circuits.length === 0 || circuits.some(({ name }) => name.includes("="))) return null;
  return [
    ...circuits.map(({ name, edges }): Flag => ["--edges", `${name}=${edges.join(",")}`]), ...listed("--rest", rests),
    ...given("--random", random), ...given("--subsets", subsets),
  ];
}

const pickFlags = (pick: Curve["pick"]): Flag[] => (pick == null || pick === "strongest" ? [] : [["--pick", pick]]);
const restFlags = (rest: Curve["rest"]): Flag[] => (rest == null || rest === "resample" ? [] : [["--rest", rest]]);
