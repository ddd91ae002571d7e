// The flags of each method that is asked of a prompt.

import type {
  Ablate, AttentionStats, Attribution, AttributionPatching, Experiment, Generate, LogitLens, Pairs, Patch, Positions, Prompt, Replacement, Steering,
  StrongestNeurons, Text,
} from "../api/schema";
import { circuitFlags } from "./circuitFlags";
import { featureFlags } from "./featureFlags";
import { dashed, given, listed, when, written } from "./flag";
import type { Flag } from "./flag";

/** A method's subcommand and flags; null where something cannot be said with them. */
export function methodFlags({ method }: Experiment, prompt: Prompt): [string, Flag[]] | null {
  const alone = prompt.corrupt == null;
  if (method === "measure") return alone ? ["measure", []] : null;
  if ("ablate" in method) return named("ablate", ablateFlags(method.ablate, prompt));
  if ("pairs" in method) return named("pairs", pairsFlags(method.pairs, prompt));
  if ("logit_lens" in method) return named("lens", lensFlags(method.logit_lens, prompt));
  if ("patch" in method) return named("patch", patchFlags(method.patch, prompt));
  if ("attribution_patching" in method) return named("attribution-patch", estimateFlags(method.attribution_patching, prompt));
  // What follows looks at one prompt alone.
  const circuit = circuitFlags(method, prompt);
  if (circuit || !alone) return circuit;
  const features = featureFlags(method);
  if (features !== undefined) return features;
  if ("direct_attribution" in method) return ["attribute", attributeFlags(method.direct_attribution)];
  if ("strongest_neurons" in method) return ["neurons strongest", strongestFlags(method.strongest_neurons)];
  if ("neuron" in method) {
    const { neuron, tokens, reference = [] } = method.neuron;
    return reference.length > 0 ? null : [`neurons show ${neuron}`, given("--tokens", tokens)];
  }
  if ("promoted_tokens" in method) {
    const { components, tokens } = method.promoted_tokens;
    return [`promotes ${components.join(",")}`, given("--tokens", tokens)];
  }
  if ("steering" in method) return named("steer", steeringFlags(method.steering));
  if ("attention" in method) return (prompt.answers ?? []).length === 0 ? named("attention", attentionFlags(method.attention)) : null;
  if ("generate" in method) return named("generate", generateFlags(method.generate, prompt));
  return null;
}

function lensFlags({ cut = [], rows = "layers", norm, tuned, threshold }: LogitLens, prompt: Prompt): Flag[] | null {
  if (cut.length > 0) return null;
  return [
    ...(prompt.corrupt == null ? [] : [["--corrupt", written(prompt.corrupt)] as Flag]),
    ...(rows === "layers" ? [] : [["--rows", rows] as Flag]),
    ...(norm == null ? [] : [["--norm", norm.replaceAll("_", "-")] as Flag]),
    ...(tuned == null ? [] : [["--tuned", tuned] as Flag]),
    ...(threshold == null ? [] : [["--threshold", String(threshold)] as Flag]),
  ];
}

function attentionFlags({ weighting, detectors = [], head }: AttentionStats): Flag[] | null {
  if (detectors.length > 0) return null;
  const weighted: Flag[] = weighting == null || weighting === "pattern" ? [] : [["--weighting", weighting]];
  return [...weighted, ...(head == null ? [] : [["--head", head] as Flag])];
}

function named(subcommand: string, flags: Flag[] | null): [string, Flag[]] | null {
  return flags && [subcommand, flags];
}

function ablateFlags({ targets, with: replacement, at, clamp }: Ablate, prompt: Prompt): Flag[] | null {
  const how = replacementFlags(replacement, prompt);
  if (!how || clamp != null) return null;
  return [...targetFlags(targets), ...how, ...positionFlags(at)];
}

function pairsFlags({ among = [], against = [], with: replacement = "zero", at }: Pairs, prompt: Prompt): Flag[] | null {
  const how = replacementFlags(replacement, prompt);
  return how && [...listed("--among", among), ...listed("--against", against), ...how, ...positionFlags(at)];
}

function targetFlags(targets: Ablate["targets"]): Flag[] {
  if (targets === "heads") return [];
  if (targets === "attention_layers") return [["--sweep", "attention"]];
  if (targets === "mlps") return [["--sweep", "mlps"]];
  if ("together" in targets) return [["--heads", targets.together.join(",")]];
  const layers: Flag[] = targets.neurons.length > 0 ? [["--layers", targets.neurons.join(",")]] : [];
  return [["--sweep", "neurons"], ...layers];
}

function patchFlags({ site, by, direction, at }: Patch, prompt: Prompt): Flag[] | null {
  if (prompt.corrupt == null) return null;
  const swept = by === "head_position" || by === "layer_position";
  const where = positionFlags(at);
  if (swept && where.length > 0) return null;
  const layout: Flag = typeof by === "string" ? ["--by", dashed(by)]
    : "heads" in by ? ["--heads", by.heads.join(",")]
    : ["--layers", by.layers.join(",")];
  const way: Flag[] = direction === "noise" ? [["--direction", "noise"]] : [];
  return [["-c", written(prompt.corrupt)], ["--site", site], layout, ...way, ...where];
}

function estimateFlags({ steps, corrections = [], check, ...patch }: AttributionPatching, prompt: Prompt): Flag[] | null {
  const which = patchFlags(patch, prompt);
  return which && [
    ...which, ...given("--steps", steps), ...when(corrections.includes("qk_fix"), "--qk-fix"), ...when(corrections.includes("grad_drop"), "--grad-drop"),
    ...given("--check", check == null || check === "all" ? check : check.top),
  ];
}

function attributeFlags({ neurons = [], heads, reading }: Attribution): Flag[] {
  return [...listed("--neurons", neurons), ...when(heads === "by_source", "--by-source"), ...(reading === "tl_logit_attrs" ? given("--reading", "tl-logit-attrs") : [])];
}

function strongestFlags({ layers = [], by, top }: StrongestNeurons): Flag[] {
  return [...listed("--layers", layers), ...(by === "direct_attribution" ? given("--by", "direct-attribution") : []), ...given("--top", top)];
}

function steeringFlags({ along, layer, strengths, length, max_new_tokens = 0, temperature = 0 }: Steering): Flag[] | null {
  if ("vector" in along) return null;
  const from: Flag[] | null = "neuron" in along ? given("--neuron", along.neuron)
    : "feature" in along ? [["--sae", along.feature.sae], ["--feature", String(along.feature.feature)]] : differenceFlags(along.difference);
  return from && [
    ...from, ["--layer", String(layer)], ...listed("--strength", strengths), ...when(length === "one", "--unit"),
    ...(max_new_tokens === 0 ? [] : given("--max", max_new_tokens)), ...(temperature === 0 ? [] : given("--temperature", temperature)),
  ];
}

/** Texts of a direction; null where they are token ids, which the prompt then would have to be too. */
function differenceFlags({ towards, away, over }: { towards: Text[]; away: Text[]; over?: "last" | "all" }): Flag[] | null {
  if ([...towards, ...away].some((text) => typeof text !== "string")) return null;
  return [
    ...towards.flatMap((text) => given("--towards", written(text))), ...away.flatMap((text) => given("--away", written(text))),
    ...(over === "all" ? given("--over", "all") : []),
  ];
}

/** Changes of features on every token; null where they are at positions of their own, for which there is no flag. */
function changedFlags(features: Generate["features"]): Flag[] | null {
  if (features == null) return [];
  const one = ({ feature, change = "ablate", at }: NonNullable<Generate["features"]>["edits"][number]): string | null => {
    if (at != null) return null;
    if (change === "ablate") return `${feature}=0`;
    if ("set" in change) return `${feature}=${change.set}`;
    if ("scale" in change) return `${feature}*=${change.scale}`;
    return "add" in change ? `${feature}+=${change.add}` : null;
  };
  const edits = features.edits.map(one);
  if (edits.includes(null)) return null;
  return [["--sae", features.sae], ["--feature", edits.join(",")], ...when(features.error === "drop", "--drop-error")];
}

function generateFlags(generate: Generate, prompt: Prompt): Flag[] | null {
  const { max_new_tokens, temperature = 0, cut = [], with: replacement = "zero", clamp = [], features } = generate;
  const how = replacementFlags(replacement, prompt);
  const changed = changedFlags(features);
  if (!how || !changed || (cut.length === 0 && replacement !== "zero")) return null;
  return [
    ["--max", String(max_new_tokens)],
    ...(temperature === 0 ? [] : [["--temperature", String(temperature)] as Flag]),
    ...(cut.length === 0 ? [] : [["--cut", cut.join(",")] as Flag]),
    ...(cut.length === 0 ? [] : how),
    ...(clamp.length === 0 ? [] : [["--clamp", clamp.map(({ neuron, value }) => `${neuron}=${value}`).join(",")] as Flag]),
    ...changed,
  ];
}

function replacementFlags(replacement: Replacement, { clean, corrupt }: Prompt): Flag[] | null {
  if (typeof replacement === "string") {
    if (corrupt != null) return null;
    return replacement === "zero" ? [] : [["--with", replacement.replaceAll("_", "-")]];
  }
  if ("mean" in replacement) {
    const { reference = [], per } = replacement.mean;
    if (reference.length > 0 || corrupt != null) return null;
    return [["--with", "mean"], ...(per === "position" ? [["--per-position"] as Flag] : [])];
  }
  const { from } = replacement.resample;
  if (from != null && (corrupt != null || typeof from !== typeof clean)) return null;
  const source: Flag[] = from != null ? [["--from", written(from)]]
    : corrupt != null ? [["-c", written(corrupt)]]
    : [];
  return [["--with", "resample"], ...source];
}

function positionFlags(at: Positions = "all"): Flag[] {
  if (at === "all") return [];
  if (at === "last") return [["--at", at]];
  return [["--at", "from" in at ? `${at.from}..` : at.at.join(",")]];
}
