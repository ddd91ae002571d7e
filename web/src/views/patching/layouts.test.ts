import { describe, expect, it } from "vitest";
import type { Table } from "../../api";
import { completed, gridOf, nameOf, patchOf } from "./layouts";

describe("cells of a patch", () => {
  it("complete_to_every_layer_at_every_position", () => {
    expect(completed(["L4@9", "L5@10"]).sort()).toEqual(["L4@10", "L4@9", "L5@10", "L5@9"]);
    expect(completed(["L4H1", "L5H0"])).toEqual(["L4H1", "L5H0"]);
  });
  it("become_layers_at_positions", () => {
    expect(patchOf(["L5@9", "L4@9"], "resid_pre", "denoise"))
      .toEqual({ site: "resid_pre", by: { layers: [4, 5] }, direction: "denoise", at: { at: [9] } });
  });
  it("become_heads_at_all_positions", () => {
    expect(patchOf(["L4H1"], "z", "noise")).toEqual({ site: "z", by: { heads: ["L4H1"] }, direction: "noise", at: "all" });
  });
  it("are_no_patch_where_none_is_chosen_or_the_name_is_wrong", () => {
    expect(patchOf([], "z", "noise")).toBeNull();
    expect(patchOf(["x"], "z", "noise")).toBeNull();
  });
  it("have_the_name_of_their_row_and_column", () => {
    const table: Table = {
      metric: "prob", quantity: "recovery", title: "", unit: "", baseline: "", basis: "exact",
      axes: [{ name: "layer", labels: ["L0", "L1"] }, { name: "position", labels: ["a@0", "b@1"] }], values: [1, 2, 3, 4],
    };
    const grid = gridOf(table);
    expect(grid && nameOf(grid, 3)).toBe("L1@1");
  });
});
