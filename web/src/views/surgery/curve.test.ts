import { expect, test } from "vitest";
import type { ExperimentRecord, Table } from "../../api/schema";
import { curveOf } from "./curve";

const table: Table = {
  metric: "prob", quantity: "value", title: "", unit: "", baseline: "", basis: "exact",
  axes: [{ name: "layer", labels: ["embed", "L0"] }, { name: "position", labels: ["a@0", "b@1", "c@2"] }],
  values: [0, 0, 0.1, 0, 0, 0.9],
};
const record = (tables: Table[]): ExperimentRecord =>
  ({ results: { prompts: [], notes: [], runs: 1, runs_wanted: 1, tables } }) as unknown as ExperimentRecord;

test("a curve is the last position's column", () => {
  const found = curveOf(record([{ ...table, metric: "top1_prob" }, table]));
  expect(found).toEqual({ layers: ["embed", "L0"], probs: [0.1, 0.9], tops: [undefined, undefined] });
});

test("a record without the answer's probability, or not finished, has no curve", () => {
  expect(curveOf(record([]))).toBeNull();
  expect(curveOf(record([{ ...table, values: [0, 0, 0.1, 0, 0, null] }]))).toBeNull();
});
