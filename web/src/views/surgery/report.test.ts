import { expect, test } from "vitest";
import type { ExperimentRecord, GeneratedToken } from "../../api/schema";
import { surgeryReport } from "./report";

const token = (id: number, token: string, is_prompt = false): GeneratedToken =>
  ({ id, token, prob: 0.25, is_prompt, top: [{ id, token, prob: 0.25 }] });

const record: ExperimentRecord = {
  experiment: {
    model: "small", prompts: [{ clean: "A <b> & 'c'" }],
    method: { generate: { max_new_tokens: 2, cut: ["L0H1"], with: "zero_pattern" } },
  },
  results: {
    prompts: [], notes: ["greedy"], runs: 4, runs_wanted: 4,
    generation: {
      control: [token(1, "A", true), token(2, " <x>")],
      ablated: [token(1, "A", true), token(3, ' "y"')],
      control_text: " <x>", ablated_text: ' "y"',
      comparison: { tokens: 2, kl_mean: 1.5, perplexity_control: 2, perplexity_ablated: 3, perplexity_change: 1, top1_changed: 0.5, l2_resid: 4 },
    },
  },
  model: {
    about: { model: "demo", family: "gpt2", dtype: "F16", weight_hash: "abc123", tokenizer: "", assumptions: [], files: [] },
    weights: "folded", bos: "none",
    config: { n_layers: 2, n_heads: 2, d_model: 8, d_head: 4, d_vocab: 9, n_ctx: 16, mlp: null, norm: null },
  },
  version: "0.1.0", elapsed_secs: 0.5,
};

const importance: ExperimentRecord = {
  ...record,
  results: {
    ...record.results,
    tables: [{
      metric: "importance_gradient", quantity: "value", title: "Gradient", unit: "nats", baseline: "mean", basis: "estimate",
      axes: [{ name: "layer", labels: ["L0", "L1"] }, { name: "head", labels: ["H0", "H1"] }],
      values: [0.1, 0.2, 0.3, null],
    }],
  },
};

const report = surgeryReport({ record, how: "attends to nothing", importance, date: new Date(Date.UTC(2030, 1, 3)) });

test("a report tells the question, the numbers with what they mean, both texts and the way back", () => {
  for (const said of [
    "abc123", "L0H1", "attends to nothing", "1.500 nats", "KL(original || cut)", "greedy", "2030-02-03",
    "microtome generate -m demo", "A first-order estimate",
  ]) expect(report).toContain(said);
  expect(report).toContain('<span class="first"');
  // Layer 0 at the bottom, the cut head struck through.
  expect(report.indexOf(">L1</th>")).toBeLessThan(report.indexOf(">L0</th>"));
  expect(report).toContain('<td class="is-cut">0.200</td>');
});

test("text of the prompt and of tokens stays text", () => {
  expect(report).toContain("A &lt;b&gt; &amp; &#39;c&#39;");
  expect(report).toContain("&lt;x&gt;</span>");
  expect(report).not.toContain("<x>");
  expect(report).not.toMatch(/<script|http:|https:/);
});
