// An experiment as a command of the `microtome` program. Where every field of it has a flag, the
// subcommand is used; anything else goes to `microtome run` as it is, so that nothing is ever lost.

import type { Answer, Experiment, HeadCircuit, Prompt, Text, TextScan } from "../api/schema";
import { profileFlags } from "./featureFlags";
import { methodFlags } from "./methodFlags";
import { given, listed, written } from "./flag";
import type { Flag } from "./flag";
import { readableJson } from "./json";
import { commandLine, quote } from "./shell";

export function commandFor(experiment: Experiment): string {
  const parts = flagsFor(experiment);
  if (!parts) return `microtome run - <<'EXPERIMENT'\n${readableJson(experiment)}\nEXPERIMENT`;
  const { subcommand, prompt, flags, piped } = parts;
  const words = [...(piped == null ? [] : ["printf", "%s", quote(piped), "|"]), "microtome", ...subcommand.split(" "), "-m", quote(experiment.model)];
  // An option's value must not look like an option; neither must the prompt.
  const options = flags.map(([flag, value]) => {
    if (value == null) return flag;
    return value.startsWith("-") ? `${flag}=${quote(value)}` : `${flag} ${quote(value)}`;
  });
  if (prompt === null) return commandLine([...words, ...options]);
  const asWord = quote(prompt);
  return commandLine(prompt.startsWith("-") ? [...words, ...options, `-- ${asWord}`] : [...words, asWord, ...options]);
}

interface Parts {
  /** With what stands between it and the options: `neurons show L2N17`. */
  subcommand: string;
  /** What follows the options; null where the subcommand takes nothing. */
  prompt: string | null;
  flags: Flag[];
  /** What it reads from standard input. */
  piped?: string;
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
  // The others draw nothing at random and take no seed.
  if (common.some(([flag]) => flag === "--seed")) return null;
  if ("composition" in method) {
    const less: Flag[] = method.composition.less === "random" ? [["--less", "random"]] : [];
    return { subcommand: "composition", prompt: null, flags: [...less, ...common] };
  }
  if ("head_circuit" in method) return headParts(method.head_circuit, common);
  if ("feature_profile" in method) {
    const [subcommand, flags] = profileFlags(method.feature_profile);
    return { subcommand, prompt: null, flags: [...flags, ...common] };
  }
  return "text_scan" in method ? scanParts(method.text_scan, common) : null;
}

/** The text is piped as it is: a here-document would end it with a line break. */
function scanParts({ text, neurons = [], sae, features = [], top, context, window, threshold = 0 }: TextScan, common: Flag[]): Parts {
  const flags: Flag[] = [
    ...listed("--neurons", neurons), ...given("--sae", sae), ...listed("--features", features),
    ...given("--top", top), ...given("--context", context), ...given("--window", window), ...(threshold === 0 ? [] : given("--threshold", threshold)),
  ];
  return { subcommand: sae == null ? "neurons scan -" : "sae scan -", prompt: null, flags: [...flags, ...common], piped: text };
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
