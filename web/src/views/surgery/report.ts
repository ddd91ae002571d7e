// A surgery as a document to keep: what was asked, what came out, and how to get it again.

import type { Comparison, ExperimentRecord, GeneratedToken, Table, TokenProb } from "../../api/schema";
import { commandFor, rustFor } from "../../copy";
import { percent } from "../../components/number";
import { escapeHtml as text, htmlDocument } from "../../export";
import { figure, readings } from "./comparison";
import { divergence } from "./texts";

export interface Surgery {
  record: ExperimentRecord;
  /** What was done to the heads, in words. */
  how: string;
  /** Importance of every head, where it was on show. */
  importance: ExperimentRecord | null;
  /** When the report was made. */
  date: Date;
}

export function surgeryReport(surgery: Surgery): string {
  const { record } = surgery;
  const title = `Surgery on ${record.model.about.model}`;
  const sections = [
    `<h1>${text(title)}</h1>`,
    `<p class="soft">Microtome ${text(record.version)}, ${surgery.date.toISOString().slice(0, 10)}</p>`,
    asked(surgery),
    numbers(record.results.generation?.comparison ?? null),
    texts(record),
    importance(surgery.importance, cutOf(record)),
    again(record),
    section("Record", `<pre>${text(JSON.stringify(record, null, 2))}</pre>`),
  ];
  return htmlDocument(title, sections.join("\n"));
}

function asked({ record, how }: Surgery): string {
  const { about, weights, precision, config, bos } = record.model;
  const { experiment, results } = record;
  const cut = cutOf(record);
  const [prompt] = experiment.prompts;
  const clean = prompt?.clean ?? "";
  const rows: [string, string][] = [
    ["Prompt", typeof clean === "string" ? clean : `token ids ${clean.join(", ")}`],
    ["Cut heads", cut.length > 0 ? cut.join(", ") : "none"],
    ...(cut.length > 0 ? [["Cut how", how] as [string, string]] : []),
    ["Notes", results.notes.join("; ")],
    ["Model", `${about.model} (${about.family}), ${config.n_layers} layers of ${config.n_heads} heads, ${weights}${precision === "bf16" ? " bf16" : ""} weights`],
    ["Weight hash", about.weight_hash],
    ["BOS", bos],
    ["Took", `${figure(record.elapsed_secs)} s`],
  ];
  const list = rows.map(([name, value]) => `<dt>${text(name)}</dt><dd>${text(value)}</dd>`).join("\n");
  return section("Question", `<dl>${list}</dl>`);
}

function numbers(comparison: Comparison | null): string {
  if (!comparison) return "";
  const rows = readings(comparison).map(({ label, value, unit, definition }) =>
    `<tr><td class="name">${text(label)}</td><td>${text(`${value} ${unit}`.trim())}</td>`
    + `<td class="definition soft">${text(definition)}</td></tr>`);
  return section("Numbers", `<table>${rows.join("\n")}</table>`);
}

function texts({ results }: ExperimentRecord): string {
  const generation = results.generation;
  if (!generation) return "";
  const parts = divergence(generation);
  const note = '<p class="soft">Underlined as strongly as the token was probable; hover shows what else was likely.</p>';
  const control = `<h3>Control</h3>${spans(generation.control, null)}`;
  if (generation.ablated.length === 0) return section("Text", note + control);
  return section("Texts", `${note}${control}<h3>Cut</h3>${spans(generation.ablated, parts)}`);
}

function spans(tokens: readonly GeneratedToken[], first: number | null): string {
  const span = (token: GeneratedToken, pos: number): string => {
    if (token.is_prompt) return "";
    const title = [`${percent(token.prob)} here`, ...token.top.map(line)].join("\n");
    const mark = pos === first ? ' class="first"' : "";
    // A custom property alone: how it looks is the style sheet's business.
    return `<span${mark} style="--p: ${Math.round(100 * token.prob)}%" title="${text(title)}">${text(token.token)}</span>`;
  };
  return `<p class="text">${tokens.map(span).join("")}</p>`;
}

function line({ token, prob }: TokenProb): string {
  return `${JSON.stringify(token)} ${percent(prob)}`;
}

function importance(record: ExperimentRecord | null, cut: readonly string[]): string {
  const table = record?.results.tables?.[0];
  if (!record || !table) return "";
  const caption = `${table.title} [${table.unit}]: ${table.baseline}. ${table.basis === "estimate" ? "A first-order estimate." : "Measured."} Struck through: cut.`;
  return section("Importance of heads", `<table><caption>${text(caption)}</caption>${rows(table, cut)}</table>`);
}

/** Layer 0 at the bottom, as on the page. */
function rows(table: Table, cut: readonly string[]): string {
  const [layers, heads] = table.axes;
  if (!layers || !heads) return "";
  const cell = (layer: number, head: number): string => {
    const value = table.values[layer * heads.labels.length + head];
    const name = `${layers.labels[layer] ?? ""}${heads.labels[head] ?? ""}`;
    const shown = value === null || value === undefined ? "" : figure(value);
    return `<td${cut.includes(name) ? ' class="is-cut"' : ""}>${shown}</td>`;
  };
  const row = (label: string, layer: number): string =>
    `<tr><th scope="row">${text(label)}</th>${heads.labels.map((_, head) => cell(layer, head)).join("")}</tr>`;
  const body = layers.labels.map(row).reverse().join("\n");
  return `${body}<tr><th></th>${heads.labels.map((label) => `<th scope="col">${text(label)}</th>`).join("")}</tr>`;
}

function again({ experiment, model }: ExperimentRecord): string {
  // On another machine the model goes by what it was loaded from.
  const local = { ...experiment, model: model.about.model };
  return section("Again", `<pre>${text(commandFor(local))}</pre>\n<pre>${text(rustFor(local))}</pre>`);
}

function cutOf({ experiment: { method } }: ExperimentRecord): readonly string[] {
  return typeof method === "object" && "generate" in method ? (method.generate.cut ?? []) : [];
}

function section(title: string, body: string): string {
  return body === "" ? "" : `<h2>${text(title)}</h2>\n${body}`;
}
