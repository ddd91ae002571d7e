// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import type { Axis, Table } from "../../api";
import { accumulated, partGrid, sumOf } from "./parts";
import { correctionsOf, estimate, positionOf, shares } from "./questions";

const table = (metric: string, axes: Axis[], values: number[]): Table =>
  ({ metric, quantity: "change", title: "", unit: "logits", baseline: "", basis: "exact", axes, values });
const axis = (name: string, ...labels: string[]): Axis => ({ name, labels });

const heads = table("direct_heads", [axis("layer", "L0", "L1"), axis("head", "H0", "H1")], [1, 2, 3, 4]);
const mlps = table("direct_mlps", [axis("layer", "m0", "m1")], [5, 6]);
const biases = table("direct_biases", [axis("layer", "a0", "a1")], [0.5, 0.25]);
const outside = table("direct_outside", [axis("part", "embed", "pos_embed", "constant", "all shares", "model")], [7, 8, 9, 45.75, 45.7501]);

describe("shares of a logit", () => {
  it("stand in one grid, a layer a row", () => {
    expect(partGrid([heads, mlps, biases])).toEqual({
      rows: ["L0", "L1"], columns: ["H0", "H1", "MLP", "b_O"],
      values: [1, 2, 5, 0.5, 3, 4, 6, 0.25], names: ["L0H0", "L0H1", "m0", "b0", "L1H0", "L1H1", "m1", "b1"],
    });
  });
  it("leave out the MLPs of a model without", () => {
    expect(partGrid([heads, biases])?.columns).toEqual(["H0", "H1", "b_O"]);
    expect(sumOf([heads, biases, outside])?.terms.map(({ name }) => name)).not.toContain("MLPs");
  });
  it("add up, term by term, to what the API says they do", () => {
    const sum = sumOf([heads, mlps, biases, outside]);
    expect(sum?.terms.reduce((all, { value }) => all + value, 0)).toBe(sum?.total);
    expect(sum?.model).toBe(45.7501);
  });
  it("accumulate from the embedding to the end", () => {
    const stream = table("direct_accumulated", [axis("stream", "0_pre", "0_mid", "final_post")], [1, 2, 3]);
    expect(accumulated([stream])).toEqual({ labels: ["L0", "L0 MLP", "end"], values: [1, 2, 3] });
  });
});

describe("the questions", () => {
  const inputs = { model: "demo", weights: "folded" as const, prompt: "A b", corrupt: "A c", target: " d", foil: "" };
  it("of shares leave out the corrupt prompt and ask for no metric", () => {
    expect(shares(inputs, { parts: "neurons", mlp: null, at: null }, 4)).toMatchObject({
      prompts: [{ clean: "A b", answers: [" d"] }], method: { direct_attribution: { neurons: [3] } }, metrics: [],
    });
    expect(shares({ ...inputs, target: "" }, { parts: "components", mlp: null, at: null }, 4)).toBeNull();
  });
  it("of estimates take the QK fix where the site is queries or keys alone", () => {
    expect(correctionsOf({ site: "z", fixes: ["qk_fix", "grad_drop"] })).toEqual(["grad_drop"]);
    expect(correctionsOf({ site: "k", fixes: ["grad_drop", "qk_fix"] })).toEqual(["qk_fix", "grad_drop"]);
    const how = { site: "z", layout: "head" as const, direction: "noise" as const, steps: 5, fixes: [], check: "top" as const, at: null };
    expect(estimate(inputs, how)).toMatchObject({ method: { attribution_patching: { site: "z", by: "head", steps: 5, check: { top: 20 } } }, metrics: ["prob"] });
    expect(estimate({ ...inputs, corrupt: "" }, how)).toBeNull();
  });
  it("are read at the chosen position where the prompt has it, and else at the last", () => {
    expect(positionOf(2, 5)).toBe(2);
    expect(positionOf(4, 5)).toBeNull();
    expect(positionOf(7, 5)).toBeNull();
    expect(positionOf(null, 5)).toBeNull();
    const how = { site: "z", layout: "head" as const, direction: "noise" as const, steps: 0, fixes: [], check: "off" as const };
    for (const [at, read_at] of [[2, 2], [0, 0], [null, undefined]] as const) {
      expect(shares(inputs, { parts: "components", mlp: null, at }, 4)?.read_at).toBe(read_at);
      expect(estimate(inputs, { ...how, at })?.read_at).toBe(read_at);
    }
  });
});
