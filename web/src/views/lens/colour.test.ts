import { describe, expect, it } from "vitest";
import type { Table } from "../../api";
import { colourOf } from "../../components/scale";
import { colourShown, colouring } from "./colour";

const table = (metric: string, values: number[]): Table =>
  ({ metric, quantity: "value", values, axes: [], title: "", unit: "", baseline: "", basis: "exact" });

describe("colours of the lens", () => {
  it("make_rank_1_stand_out", () => {
    const { values, scale } = colouring(table("rank", [1, 10, 2976]));
    expect(colourOf(scale, values[0] ?? 0, "light")).toEqual([13, 84, 83]);
    expect(colourOf(scale, values[2] ?? 0, "light")).toEqual([240, 239, 234]);
  });
  it("fall_back_to_what_needs_no_answer", () => {
    expect(colourShown("rank", false)).toBe("top1_prob");
    expect(colourShown("rank", true)).toBe("rank");
    expect(colourShown("nonsense", true)).toBe("top1_prob");
  });
});
