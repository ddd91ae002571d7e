import { expect, test } from "vitest";
import { begin, between, column, pass, row, strongest } from "./painting";
import { controlAlone, generation, lenses, singleStep } from "./questions";
import type { Setup } from "./questions";

test("a stroke cuts or mends everything it passes, as its first cell decides", () => {
  const cutting = ["L0H2", "L0H1"].reduce(pass, begin(["L0H2"], "L0H0"));
  expect(cutting).toEqual({ cuts: true, cut: ["L0H2", "L0H0", "L0H1"] });
  const mending = ["L0H1", "L1H1"].reduce(pass, begin(["L0H0", "L0H1"], "L0H0"));
  expect(mending).toEqual({ cuts: false, cut: [] });
});

test("rows and columns name their heads", () => {
  expect(row(1, 3)).toEqual(["L1H0", "L1H1", "L1H2"]);
  expect(column(2, 2)).toEqual(["L0H2", "L1H2"]);
});

test("the strongest heads are named largest first, whatever their sign", () => {
  expect(strongest([0.1, -0.9, null, 0.5, 0, 0.2], 3, 3)).toEqual(["L0H1", "L1H0", "L1H2"]);
  expect(strongest([0, null], 2, 5)).toEqual([]);
});

test("a quick stroke leaves no gap longer than a step", () => {
  const points = between({ x: 0, y: 0 }, { x: 30, y: 40 }, 8);
  expect(points).toHaveLength(7);
  expect(points.at(-1)).toEqual({ x: 30, y: 40 });
});

const setup: Setup = {
  model: "demo", prompt: "A b", corrupt: "A c", cut: ["L0H1"], how: "mean", temperature: 0.5, seed: 3, length: 9,
};

test("both texts are asked for with what is cut, the control text without", () => {
  expect(generation(setup)).toEqual({
    model: "demo", prompts: [{ clean: "A b" }], seed: 3,
    method: { generate: { max_new_tokens: 9, temperature: 0.5, cut: ["L0H1"], with: { mean: {} } } },
  });
  expect(controlAlone(setup).method).toEqual({ generate: { max_new_tokens: 9, temperature: 0.5 } });
});

test("resampling brings the other prompt, and its lens is of the whole model alone", () => {
  const other: Setup = { ...setup, how: "resample" };
  expect(generation(other).prompts).toEqual([{ clean: "A b", corrupt: "A c" }]);
  expect(controlAlone(other).prompts).toEqual([{ clean: "A b" }]);
  expect(singleStep(other).method).toEqual({ ablate: { targets: { together: ["L0H1"] }, with: { resample: {} } } });
  expect(lenses(other, { before: [1, 2], answer: 3 }).cut).toBeNull();
});

test("a lens reads the ids before a token, in the cut model as the text was made", () => {
  const { control, cut } = lenses(setup, { before: [1, 2], answer: 3 });
  expect(control.prompts).toEqual([{ clean: [1, 2], answers: [3] }]);
  expect(control.method).toEqual({ logit_lens: {} });
  expect(cut?.method).toEqual({ logit_lens: { cut: ["L0H1"], with: { mean: { reference: ["A b"] } } } });
  expect(lenses({ ...setup, cut: [] }, { before: [1], answer: 3 }).cut).toBeNull();
});
