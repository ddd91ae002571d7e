import { expect, test } from "vitest";
import type { Experiment } from "../api/schema";
import { curlFor } from "./curl";
import { readableJson } from "./json";
import { rustFor } from "./rust";

const sweep: Experiment = {
  model: "demo",
  prompts: [{ clean: 'Say "hi"\n\\ \u200b', answers: [" Mary", 7] }],
  method: { ablate: { targets: { together: ["L0H1"] }, with: { mean: {} }, at: "last" } },
  metrics: ["prob"],
};

test("a Rust program imports what it uses and escapes its text", () => {
  const code = rustFor(sweep);
  expect(code).toContain("use microtome::method::ablate::{Ablate, Targets};");
  expect(code).toContain("use microtome::method::change::{Per, Replacement};");
  expect(code).toContain("use microtome::model::{LoadOptions, Positions, Precision, Processing};");
  expect(code).toContain("use microtome::{Answer, Bos, Experiment, Method, Prompt, Text, TextModel};");
  expect(code).toContain(String.raw`Text::Text("Say \"hi\"\n\\ \u{200b}".into())`);
  expect(code).toContain('answers: vec![Answer::Text(" Mary".into()), Answer::Id(7)]');
  expect(code).toContain('Targets::Together(vec!["L0H1".parse()?])');
  expect(code).toContain("Replacement::Mean { reference: vec![], per: Per::Overall }");
});

test("a Rust program loads the model as the experiment asks for it", () => {
  const code = rustFor({ ...sweep, precision: "bf16" });
  expect(code).toContain("Preparation { processing: Processing::Folded, precision: Precision::Bf16 }, &LoadOptions");
  expect(code).toContain("precision: Precision::Bf16,");
});

test("a Rust program opens the tuned lens that its lens reads by", () => {
  const code = rustFor({ ...sweep, method: { logit_lens: { tuned: "runs/lens" } } });
  expect(code).toContain("use microtome::tuned_lens::TunedLens;");
  expect(code).toContain('let model = model.with_tuned_lens("runs/lens", TunedLens::open("runs/lens")?)?;');
  expect(code).toContain('tuned: Some("runs/lens".into())');
  expect(rustFor({ ...sweep, method: { logit_lens: {} } })).not.toContain("with_tuned_lens");
});

test("a whole number of degrees is still a float", () => {
  const code = rustFor({ ...sweep, method: { generate: { max_new_tokens: 5, temperature: 1 } }, metrics: [] });
  expect(code).toContain("temperature: 1.0");
  expect(code).not.toContain("ablated_text");
});

test("a request carries the experiment unchanged and reads its token from the environment", () => {
  const command = curlFor(sweep, { origin: "http://127.0.0.1:8642", needsToken: true });
  expect(command).toContain("curl -sSN http://127.0.0.1:8642/api/experiments");
  expect(command).toContain('-H "Authorization: Bearer $MICROTOME_TOKEN"');
  const body = /--data-raw '([^]*)'$/.exec(command)?.[1];
  expect(JSON.parse(body ?? "")).toEqual(sweep);
});

test("readable JSON is the same JSON", () => {
  const ids = Array.from({ length: 80 }, (_, i) => i);
  for (const value of [sweep, { clean: ids }, [], {}, "x", null, { a: [{ b: "é".repeat(120) }] }]) {
    expect(JSON.parse(readableJson(value))).toEqual(value);
  }
  expect(readableJson({ clean: ids }).split("\n")).toHaveLength(3);
});
