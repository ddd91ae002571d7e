// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import { DEFAULTS } from "../../state";
import type { SaeReport } from "../../api";
import { directionOf, layerOf, steeredTexts, strengthCurve } from "./questions";
import { strengthsOf } from "./strengths";

const SAE: SaeReport = { name: "a", hash: "", architecture: "topk", hook: "", d_in: 8, d_sae: 9, normalization: "none", prepend_bos: true };
const inputs = { model: "demo", weights: "folded" as const, prompt: "A b", corrupt: "A c", target: " d", foil: " e" };

describe("a direction", () => {
  it("leads from the prompt to the corrupt prompt while no texts are given", () => {
    expect(directionOf(inputs, DEFAULTS)).toEqual({ difference: { towards: ["A c"], away: ["A b"] } });
    expect(directionOf(inputs, { ...DEFAULTS, towards: " x", away: " y", over: "all" })).toEqual({ difference: { towards: [" x"], away: [" y"], over: "all" } });
  });
  it("is none where a text is missing or both are the same", () => {
    expect(directionOf({ ...inputs, corrupt: "" }, DEFAULTS)).toBeNull();
    expect(directionOf(inputs, { ...DEFAULTS, towards: "A b" })).toBeNull();
  });
  it("is a neuron's where it is one, added after its own layer", () => {
    expect(directionOf(inputs, { ...DEFAULTS, along: "neuron", neuron: "L1N5" })).toEqual({ neuron: "L1N5" });
    expect(directionOf(inputs, { ...DEFAULTS, along: "neuron", neuron: "L1H5" })).toBeNull();
    expect(layerOf({ into: null, along: "neuron", neuron: "L1N5" }, 4)).toBe(2);
    expect(layerOf({ into: null, along: "neuron", neuron: "L3N5" }, 4)).toBe(3);
    expect(layerOf({ into: 9, along: "texts", neuron: "" }, 4)).toBe(2);
    expect(layerOf({ into: 0, along: "texts", neuron: "" }, 4)).toBe(0);
  });
  it("of a feature goes in where the stream first holds what it writes", () => {
    const after = (hook: string, hook_out?: string) =>
      layerOf({ into: null, along: "feature", neuron: "", autoencoder: { ...SAE, hook, hook_out } }, 4);
    expect(after("blocks.2.hook_resid_pre")).toBe(2);
    expect(after("blocks.1.hook_mlp_out")).toBe(2);
    expect(after("blocks.0.ln2.hook_normalized", "blocks.1.hook_mlp_out")).toBe(2);
    expect(after("blocks.1.hook_mlp_in", "blocks.2.hook_resid_pre")).toBe(2);
  });
});

describe("strengths", () => {
  it("run evenly through 0 to either side", () => {
    const strengths = strengthsOf(0.3);
    expect(strengths).toHaveLength(21);
    expect([strengths[0], strengths[10], strengths[20]]).toEqual([-0.3, 0, 0.3]);
    expect(new Set(strengths).size).toBe(21);
    expect(strengths[13]).toBe(0.09);
  });
  it("are asked of the prompt with its answers, texts without", () => {
    expect(strengthCurve(inputs, DEFAULTS, 4, 2)).toMatchObject({ prompts: [{ clean: "A b", answers: [" d"], wrong_answers: [" e"] }], metrics: ["logit_diff", "prob", "kl"] });
    expect(strengthCurve(inputs, DEFAULTS, 4, 0)).toBeNull();
    const writing = { strength: -1, length: 5, temperature: 0, seed: 3 };
    expect(steeredTexts(inputs, DEFAULTS, 4, writing)).toEqual({
      model: "demo", weights: "folded", prompts: [{ clean: "A b" }], metrics: ["kl"],
      method: { steering: { along: { difference: { towards: ["A c"], away: ["A b"] } }, layer: 2, strengths: [0, -1], max_new_tokens: 5 } },
    });
    expect(steeredTexts(inputs, DEFAULTS, 4, { ...writing, temperature: 0.5 })?.seed).toBe(3);
  });
});
