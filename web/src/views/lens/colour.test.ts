import { describe, expect, it } from "vitest";
import type { Table } from "../../api";
import { colourOf } from "../../components/scale";
import { colourShown, colouring, colours } from "./colour";

const table = (metric: string, values: number[]): Table =>
  ({ metric, quantity: "value", values, axes: [], title: "", unit: "", baseline: "", basis: "exact" });

describe("colours of the lens", () => {
  it("make_rank_1_stand_out", () => {
    const { values, scale } = colouring(table("rank", [1, 10, 2976]));
    expect(colourOf(scale, values[0] ?? 0, "light")).toEqual([13, 84, 83]);
    expect(colourOf(scale, values[2] ?? 0, "light")).toEqual([240, 239, 234]);
  });
  it("fall_back_to_what_needs_no_answer", () => {
    const layers = colours("layers", true, false);
    expect(colourShown("rank", layers, false)).toBe("top1_prob");
    expect(colourShown("rank", layers, true)).toBe("rank");
    expect(colourShown("nonsense", layers, true)).toBe("top1_prob");
  });
  it("share_out_only_what_is_linear_in_the_logits", () => {
    expect(colourShown("prob", colours("contributions", true, true), true)).toBe("logit_diff");
    expect(colourShown("", colours("contributions", true, false), true)).toBe("logit");
    expect(colourShown("", colours("contributions", false, false), false)).toBe("top1_prob");
  });
  it("are_blue_and_red_about_0_for_differences", () => {
    const { scale, low } = colouring({ ...table("prob", [-0.2, 0.5]), quantity: "change" });
    expect(scale).toMatchObject({ kind: "diverging", min: -0.5, max: 0.5 });
    expect(low).toContain("0.5");
  });
});
