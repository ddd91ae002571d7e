import { describe, expect, it } from "vitest";
import type { Table } from "../api";
import { findTable, headRows, strongest } from "./tables";

const table = (metric: string, quantity: Table["quantity"], values: (number | null)[] = [], axes: Table["axes"] = []): Table =>
  ({ metric, quantity, values, axes, title: "", unit: "", baseline: "", basis: "exact" });

describe("tables", () => {
  it("finds_a_metric_by_the_first_quantity_there_is", () => {
    const tables = [table("prob", "change"), table("prob", "value"), table("kl", "value")];
    expect(findTable(tables, "prob", ["change", "value"])?.index).toBe(0);
    expect(findTable(tables, "kl", ["change", "value"])?.index).toBe(2);
    expect(findTable(tables, "rank", ["change"])).toBeNull();
  });
  it("lists_the_strongest_whatever_their_sign_and_leaves_missing_ones_out", () => {
    expect(strongest([0.1, -3, null, 2], 2)).toEqual([{ cell: 1, value: -3 }, { cell: 3, value: 2 }]);
  });
  it("turns_layer_position_head_into_rows_of_heads", () => {
    const axes = [
      { name: "layer", labels: ["L0", "L1"] }, { name: "position", labels: ["a@0", "b@1", "c@2"] }, { name: "head", labels: ["H0", "H1"] },
    ];
    const { rows, values } = headRows(table("prob", "recovery", Array.from({ length: 12 }, (_, i) => i), axes));
    expect(rows).toEqual(["L0H0", "L0H1", "L1H0", "L1H1"]);
    expect(values.slice(0, 6)).toEqual([0, 2, 4, 1, 3, 5]);
  });
});
