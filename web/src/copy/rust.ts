// An experiment as a Rust program on the `microtome` library, typed to the last field.

import type { Ablate, Answer, Experiment, Generate, HeadScores, Importance, LogitLens, Pairs, Patch, Positions, Prompt, Replacement, Text } from "../api/schema";
import { capital, components, float, indent, literal, option, struct, vec } from "./rustLiterals";

export function rustFor(experiment: Experiment): string {
  const uses = new Uses();
  const { weights, precision, bos, prompts, metrics = [], read_at, seed = 0 } = experiment;
  const processing = `Processing::${weights === "raw" ? "Raw" : "Folded"}`;
  uses.add("microtome", "Bos", "Experiment", "TextModel");
  const kept = `Precision::${precision === "bf16" ? "Bf16" : "F32"}`;
  uses.add("microtome::model", "LoadOptions", "Precision", "Processing");
  const fields: [string, string][] = [
    ["model", `${literal(experiment.model)}.into()`],
    ["weights", processing],
    ["precision", kept],
    ["bos", `Bos::${bos === "omit" ? "Omit" : "Prepend"}`],
    ["prompts", vec(prompts.map((prompt) => promptCode(prompt, uses)))],
    ["method", methodCode(experiment, uses)],
    ["metrics", vec(metrics.map((name) => `${literal(name)}.parse()?`))],
    ["read_at", option(read_at)],
    ["seed", String(seed)],
  ];
  const prepared = precision === "bf16" ? `Preparation { processing: ${processing}, precision: ${kept} }` : processing;
  if (precision === "bf16") uses.add("microtome::model", "Preparation");
  const body = [
    `let model = TextModel::load(${literal(experiment.model)}, ${prepared}, &LoadOptions::default(), &mut ())?;`,
    ...besideCode(experiment, uses),
    `let experiment = ${struct("Experiment", fields)};`,
    "let record = experiment.run_quietly(&model)?;",
    ...readingCode(experiment),
    "Ok(())",
  ];
  return `${uses.code()}\n\nfn main() -> Result<(), Box<dyn std::error::Error>> {\n${indent(body.join("\n"))}\n}\n`;
}

/** What is opened beside the model. */
function besideCode({ method }: Experiment, uses: Uses): string[] {
  const tuned = method !== "measure" && "logit_lens" in method ? method.logit_lens.tuned : null;
  if (tuned == null) return [];
  uses.add("microtome::tuned_lens", "TunedLens");
  return [`let model = model.with_tuned_lens(${literal(tuned)}, TunedLens::open(${literal(tuned)})?)?;`];
}

/** The names a program imports, by module. */
class Uses {
  private readonly modules = new Map<string, Set<string>>();

  add(module: string, ...names: string[]): void {
    const known = this.modules.get(module) ?? new Set();
    names.forEach((name) => known.add(name));
    this.modules.set(module, known);
  }

  code(): string {
    const line = ([module, names]: [string, Set<string>]): string => {
      const list = [...names].sort();
      return `use ${module}::${list.length === 1 ? list[0] : `{${list.join(", ")}}`};`;
    };
    // The crate's own names after those of its modules, as rustfmt sorts them.
    const lines = [...this.modules].sort(([a], [b]) => (a === "microtome" ? 1 : b === "microtome" ? -1 : a < b ? -1 : 1));
    return lines.map(line).join("\n");
  }
}

function methodCode({ method }: Experiment, uses: Uses): string {
  if (method !== "measure" && JSON_METHODS.some((name) => name in method)) return jsonCode(method);
  uses.add("microtome", "Method");
  if (method === "measure") return "Method::Measure";
  if ("ablate" in method) return `Method::Ablate(${ablateCode(method.ablate, uses)})`;
  if ("pairs" in method) return `Method::Pairs(${pairsCode(method.pairs, uses)})`;
  if ("patch" in method) return `Method::Patch(${patchCode(method.patch, uses)})`;
  if ("generate" in method) return `Method::Generate(${generateCode(method.generate, uses)})`;
  if ("logit_lens" in method) return `Method::LogitLens(${lensCode(method.logit_lens, uses)})`;
  if ("importance" in method) return `Method::Importance(${importanceCode(method.importance, uses)})`;
  if ("composition" in method) return `Method::Composition(${compositionCode(method.composition.less, uses)})`;
  if ("head_scores" in method) return `Method::HeadScores(${headScoresCode(method.head_scores, uses)})`;
  return jsonCode(method);
}

/** Methods of nested lists, which are shortest as JSON. */
const JSON_METHODS = ["edit", "attention", "head_circuit"];

/** What is written by hand as JSON stays it: the program needs `serde_json`. */
function jsonCode(method: object): string {
  return `serde_json::from_str(${literal(JSON.stringify(method))})?`;
}

function ablateCode({ targets, with: replacement, at, clamp }: Ablate, uses: Uses): string {
  uses.add("microtome::method::ablate", "Ablate", "Targets");
  const named = { heads: "Heads", attention_layers: "AttentionLayers", mlps: "Mlps" };
  const what = typeof targets === "string" ? named[targets]
    : "together" in targets ? `Together(${components(targets.together)})`
    : `Neurons(${vec(targets.neurons.map(String))})`;
  return struct("Ablate", [
    ["targets", `Targets::${what}`],
    ["with", replacementCode(replacement, uses)],
    ["at", positionsCode(at, uses)],
    ["clamp", clamp == null ? "None" : `Some(${answerCode(clamp, uses)})`],
  ]);
}

function pairsCode({ among = [], against = [], with: replacement = "zero", at }: Pairs, uses: Uses): string {
  uses.add("microtome::method::pairs", "Pairs");
  return struct("Pairs", [
    ["among", components(among)],
    ["against", components(against)],
    ["with", replacementCode(replacement, uses)],
    ["at", positionsCode(at, uses)],
  ]);
}

function patchCode({ site, by, direction, at }: Patch, uses: Uses): string {
  uses.add("microtome::method::patch", "By", "Direction", "Patch");
  uses.add("microtome::model", "Site");
  const layout = typeof by === "string" ? by.split("_").map((word) => capital(word)).join("")
    : "heads" in by ? `Heads(${components(by.heads)})`
    : `Layers(${vec(by.layers.map(String))})`;
  return struct("Patch", [
    ["site", `Site::from_short_name(${literal(site)})?`],
    ["by", `By::${layout}`],
    ["direction", `Direction::${direction === "noise" ? "Noise" : "Denoise"}`],
    ["at", positionsCode(at, uses)],
  ]);
}

function generateCode({ max_new_tokens, temperature = 0, cut = [], with: replacement = "zero", clamp = [] }: Generate, uses: Uses): string {
  uses.add("microtome::method::generate", "Generate");
  return struct("Generate", [
    ["max_new_tokens", String(max_new_tokens)],
    ["temperature", float(temperature)],
    ["cut", components(cut)],
    ["with", replacementCode(replacement, uses)],
    ["clamp", vec(clamp.map(({ neuron, value }) => `${literal(`${neuron}=${value}`)}.parse()?`))],
  ]);
}

function lensCode({ cut = [], with: replacement = "zero", rows = "layers", norm, tuned, threshold }: LogitLens, uses: Uses): string {
  uses.add("microtome::method::logit_lens", "LogitLens", "Rows");
  if (norm != null) uses.add("microtome::method::logit_lens", "Norm");
  return struct("LogitLens", [
    ["cut", components(cut)],
    ["with", replacementCode(replacement, uses)],
    ["rows", `Rows::${capital(rows)}`],
    ["norm", norm == null ? "None" : `Some(Norm::${norm.split("_").map((word) => capital(word)).join("")})`],
    ["tuned", tuned == null ? "None" : `Some(${literal(tuned)}.into())`],
    ["threshold", threshold == null ? "None" : `Some(${float(threshold)})`],
  ]);
}

function importanceCode({ by, of = "heads" }: Importance, uses: Uses): string {
  uses.add("microtome::method::importance", "Importance", "Measure", "Parts");
  const measure = by.split("_").map((word) => capital(word)).join("");
  return struct("Importance", [["by", `Measure::${measure}`], ["of", `Parts::${capital(of)}`]]);
}

function headScoresCode({ period, sequences, least }: HeadScores, uses: Uses): string {
  uses.add("microtome::method::head_scores", "HeadScoring");
  return struct("HeadScoring", [["period", option(period)], ["sequences", option(sequences)], ["least", least == null ? "None" : `Some(${float(least)})`]]);
}

function compositionCode(less: string | undefined, uses: Uses): string {
  uses.add("microtome::method::composition", "Baseline", "Composition");
  return struct("Composition", [["less", `Baseline::${less === "random" ? "Random" : "None"}`]]);
}

function replacementCode(replacement: Replacement, uses: Uses): string {
  uses.add("microtome::method::change", "Replacement");
  if (typeof replacement === "string") {
    return `Replacement::${replacement.split("_").map((word) => capital(word)).join("")}`;
  }
  if ("resample" in replacement) {
    const { from } = replacement.resample;
    return `Replacement::Resample { from: ${from == null ? "None" : `Some(${textCode(from, uses)})`} }`;
  }
  uses.add("microtome::method::change", "Per");
  const { reference = [], per = "overall" } = replacement.mean;
  const texts = vec(reference.map((text) => textCode(text, uses)));
  return `Replacement::Mean { reference: ${texts}, per: Per::${capital(per)} }`;
}

function positionsCode(at: Positions = "all", uses: Uses): string {
  uses.add("microtome::model", "Positions");
  if (typeof at === "string") return `Positions::${capital(at)}`;
  return "from" in at ? `Positions::From(${at.from})` : `Positions::At(${vec(at.at.map(String))})`;
}

function promptCode({ clean, corrupt, answers = [], wrong_answers = [] }: Prompt, uses: Uses): string {
  uses.add("microtome", "Prompt");
  const list = (tokens: Answer[]): string => vec(tokens.map((token) => answerCode(token, uses)));
  return struct("Prompt", [
    ["clean", textCode(clean, uses)],
    ["corrupt", corrupt == null ? "None" : `Some(${textCode(corrupt, uses)})`],
    ["answers", list(answers)],
    ["wrong_answers", list(wrong_answers)],
  ]);
}

function textCode(text: Text, uses: Uses): string {
  uses.add("microtome", "Text");
  return typeof text === "string" ? `Text::Text(${literal(text)}.into())` : `Text::Ids(${vec(text.map(String))})`;
}

function answerCode(answer: Answer, uses: Uses): string {
  uses.add("microtome", "Answer");
  return typeof answer === "string" ? `Answer::Text(${literal(answer)}.into())` : `Answer::Id(${answer})`;
}

/** Statements that print what was found. */
function readingCode({ method }: Experiment): string[] {
  if (method !== "measure" && "generate" in method) {
    const cut = (method.generate.cut ?? []).length > 0;
    return [
      'let texts = record.results.generation.as_ref().ok_or("a generation")?;',
      'println!("control: {}", texts.control_text);',
      ...(cut ? ['println!("cut: {}", texts.ablated_text);'] : []),
    ];
  }
  return [
    "for table in &record.results.tables {",
    '    println!("{} [{}]", table.title, table.unit);',
    "    for (name, value, _) in table.strongest(10) {",
    '        println!("{name:>10} {value:+.4}");',
    "    }",
    "}",
  ];
}
