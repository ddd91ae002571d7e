// An experiment as a command of the `microtome` program. Where every field of it has a flag, the
// subcommand is used; anything else goes to `microtome run` as it is, so that nothing is ever lost.

import type { Ablate, Answer, AttentionStats, EdgeAttribution, Experiment, Generate, HeadCircuit, LogitLens, Pairs, Patch, Positions, Prompt, Replacement, Text } from "../api/schema";
import { readableJson } from "./json";
import { commandLine, quote } from "./shell";

export function commandFor(experiment: Experiment): string {
  const parts = flagsFor(experiment);
  if (!parts) return `microtome run - <<'EXPERIMENT'\n${readableJson(experiment)}\nEXPERIMENT`;
  const { subcommand, prompt, flags } = parts;
  const words = ["microtome", subcommand, "-m", quote(experiment.model)];
  // An option's value must not look like an option; neither must the prompt.
  const options = flags.map(([flag, value]) => {
    if (value == null) return flag;
    return value.startsWith("-") ? `${flag}=${quote(value)}` : `${flag} ${quote(value)}`;
  });
  if (prompt === null) return commandLine([...words, ...options]);
  const asWord = quote(prompt);
  return commandLine(prompt.startsWith("-") ? [...words, ...options, `-- ${asWord}`] : [...words, asWord, ...options]);
}

type Flag = [flag: string, value?: string];

interface Parts {
  subcommand: string;
  /** What follows the options; null where the subcommand takes nothing. */
  prompt: string | null;
  flags: Flag[];
}

/** The subcommand and its flags; null where something cannot be said with them. */
function flagsFor(experiment: Experiment): Parts | null {
  const { prompts } = experiment;
  if (prompts.length === 0) return weightFlags(experiment);
  const [prompt] = prompts;
  if (!prompt || prompts.length !== 1) return null;
  const style = styleOf(prompt);
  if (!style) return null;
  const own = methodFlags(experiment, prompt);
  if (!own) return null;
  const [subcommand, flags] = own;
  const plain = subcommand === "generate" || subcommand === "attention";
  const asked = [...(prompt.answers ?? []), ...(prompt.wrong_answers ?? []), ...(experiment.metrics ?? [])];
  if (plain && (asked.length > 0 || experiment.read_at != null)) return null;
  if ((prompt.wrong_answers ?? []).length > 0 && (prompt.answers ?? []).length === 0) return null;
  return {
    subcommand,
    prompt: written(prompt.clean),
    flags: [...answerFlags(prompt), ...flags, ...commonFlags(experiment), ...(style === "ids" ? [["--ids"] as Flag] : [])],
  };
}

/** Subcommands about the model alone, which run no prompt. */
function weightFlags(experiment: Experiment): Parts | null {
  const { method, metrics = [], read_at } = experiment;
  if (method === "measure" || metrics.length > 0 || read_at != null) return null;
  const common = commonFlags(experiment);
  if ("head_scores" in method) {
    const { period, sequences, least } = method.head_scores;
    const own = ([["--period", period], ["--sequences", sequences], ["--least", least]] as const)
      .flatMap(([flag, value]): Flag[] => (value == null ? [] : [[flag, String(value)]]));
    return { subcommand: "heads", prompt: null, flags: [...own, ...common] };
  }
  // The other two draw nothing at random and take no seed.
  if (common.some(([flag]) => flag === "--seed")) return null;
  if ("composition" in method) {
    const less: Flag[] = method.composition.less === "random" ? [["--less", "random"]] : [];
    return { subcommand: "composition", prompt: null, flags: [...less, ...common] };
  }
  if ("head_circuit" in method) return headParts(method.head_circuit, common);
  return null;
}

function headParts({ head, embedding, size, pairs, tokens = [] }: HeadCircuit, common: Flag[]): Parts | null {
  const ids = tokens.every((token) => typeof token === "number");
  if (!ids && tokens.some((token) => typeof token === "number")) return null;
  const flags: Flag[] = [
    ...(embedding === "after_mlp0" ? [["--embedding", "after-mlp0"] as Flag] : []),
    ...(size === "layer_norm" ? [["--size", "layer-norm"] as Flag] : []),
    ...(pairs == null ? [] : [["--pairs", String(pairs)] as Flag]),
    ...tokens.map((token): Flag => ["--token", String(token)]),
    ...(ids && tokens.length > 0 ? [["--ids"] as Flag] : []),
  ];
  return { subcommand: "head", prompt: head, flags: [...flags, ...common] };
}

function lensFlags({ cut = [], rows = "layers", norm, threshold }: LogitLens, prompt: Prompt): Flag[] | null {
  if (cut.length > 0) return null;
  return [
    ...(prompt.corrupt == null ? [] : [["--corrupt", written(prompt.corrupt)] as Flag]),
    ...(rows === "layers" ? [] : [["--rows", rows] as Flag]),
    ...(norm == null ? [] : [["--norm", norm.replaceAll("_", "-")] as Flag]),
    ...(threshold == null ? [] : [["--threshold", String(threshold)] as Flag]),
  ];
}

function attentionFlags({ weighting, detectors = [], head }: AttentionStats): Flag[] | null {
  if (detectors.length > 0) return null;
  const weighted: Flag[] = weighting == null || weighting === "pattern" ? [] : [["--weighting", weighting]];
  return [...weighted, ...(head == null ? [] : [["--head", head] as Flag])];
}

function methodFlags({ method }: Experiment, prompt: Prompt): [string, Flag[]] | null {
  if (method === "measure") return prompt.corrupt == null ? ["measure", []] : null;
  if ("ablate" in method) return named("ablate", ablateFlags(method.ablate, prompt));
  if ("pairs" in method) return named("pairs", pairsFlags(method.pairs, prompt));
  if ("logit_lens" in method) return named("lens", lensFlags(method.logit_lens, prompt));
  if ("patch" in method) return named("patch", patchFlags(method.patch, prompt));
  if ("edge_attribution" in method) return named("edges", edgeFlags(method.edge_attribution, prompt));
  if ("attention" in method) {
    const bare = prompt.corrupt == null && (prompt.answers ?? []).length === 0;
    return bare ? named("attention", attentionFlags(method.attention)) : null;
  }
  if ("generate" in method) {
    return prompt.corrupt == null ? named("generate", generateFlags(method.generate, prompt)) : null;
  }
  return null;
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
  const list = (flag: string, names: readonly string[]): Flag[] => (names.length === 0 ? [] : [[flag, names.join(",")]]);
  return how && [...list("--among", among), ...list("--against", against), ...how, ...positionFlags(at)];
}

function targetFlags(targets: Ablate["targets"]): Flag[] {
  if (targets === "heads") return [];
  if (targets === "attention_layers") return [["--sweep", "attention"]];
  if (targets === "mlps") return [["--sweep", "mlps"]];
  if ("together" in targets) return [["--heads", targets.together.join(",")]];
  const layers: Flag[] = targets.neurons.length > 0 ? [["--layers", targets.neurons.join(",")]] : [];
  return [["--sweep", "neurons"], ...layers];
}

function edgeFlags({ direction, gradients = "base" }: EdgeAttribution, prompt: Prompt): Flag[] | null {
  if (prompt.corrupt == null) return null;
  const steps: Flag[] = gradients === "base" ? []
    : "inputs" in gradients ? [["--steps", String(gradients.inputs)]]
      : [["--steps", String(gradients.activations)], ["--along", "activations"]];
  return [["-c", written(prompt.corrupt)], ...steps, ...(direction == null || direction === "noise" ? [] : [["--direction", direction] as Flag])];
}

function patchFlags({ site, by, direction, at }: Patch, prompt: Prompt): Flag[] | null {
  if (prompt.corrupt == null) return null;
  const swept = by === "head_position" || by === "layer_position";
  const where = positionFlags(at);
  if (swept && where.length > 0) return null;
  const layout: Flag = typeof by === "string" ? ["--by", by.replaceAll("_", "-")]
    : "heads" in by ? ["--heads", by.heads.join(",")]
    : ["--layers", by.layers.join(",")];
  const way: Flag[] = direction === "noise" ? [["--direction", "noise"]] : [];
  return [["-c", written(prompt.corrupt)], ["--site", site], layout, ...way, ...where];
}

function generateFlags(generate: Generate, prompt: Prompt): Flag[] | null {
  const { max_new_tokens, temperature = 0, cut = [], with: replacement = "zero", clamp = [] } = generate;
  const how = replacementFlags(replacement, prompt);
  if (!how || (cut.length === 0 && replacement !== "zero")) return null;
  return [
    ["--max", String(max_new_tokens)],
    ...(temperature === 0 ? [] : [["--temperature", String(temperature)] as Flag]),
    ...(cut.length === 0 ? [] : [["--cut", cut.join(",")] as Flag]),
    ...(cut.length === 0 ? [] : how),
    ...(clamp.length === 0 ? [] : [["--clamp", clamp.map(({ neuron, value }) => `${neuron}=${value}`).join(",")] as Flag]),
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

function answerFlags({ answers = [], wrong_answers = [] }: Prompt): Flag[] {
  return [
    ...answers.map((answer): Flag => ["-t", String(answer)]),
    ...wrong_answers.map((answer): Flag => ["-f", String(answer)]),
  ];
}

function commonFlags({ weights, precision, bos, metrics = [], read_at, seed = 0 }: Experiment): Flag[] {
  return [
    ...(metrics.length > 0 ? [["--metric", metrics.join(",")] as Flag] : []),
    ...(read_at == null ? [] : [["--read-at", String(read_at)] as Flag]),
    ...(seed === 0 ? [] : [["--seed", String(seed)] as Flag]),
    ...(weights === "raw" ? [["--weights", "raw"] as Flag] : []),
    ...(precision === "bf16" ? [["--precision", "bf16"] as Flag] : []),
    ...(bos === "omit" ? [["--no-bos"] as Flag] : []),
  ];
}

/** `--ids` reads prompts and answers alike, so they must all be text or all be ids. */
function styleOf({ clean, corrupt, answers = [], wrong_answers = [] }: Prompt): "text" | "ids" | null {
  const all: (Text | Answer)[] = [clean, ...(corrupt == null ? [] : [corrupt]), ...answers, ...wrong_answers];
  if (all.every((item) => typeof item === "string")) return "text";
  return all.some((item) => typeof item === "string") ? null : "ids";
}

function written(text: Text): string {
  return typeof text === "string" ? text : text.join(",");
}
