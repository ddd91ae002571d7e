import { describe, expect, it } from "vitest";
import { looksAt, looksFrom, patternOf } from "./patterns";

const pattern = Float32Array.from([1, 0, 0, 0.25, 0.75, 0, 0.5, 0.125, 0.375]);

describe("attention patterns", () => {
  it("are_cut_out_by_layer_and_head", () => {
    const all = { tokens: { ids: [], labels: [], bos_prepended: false }, shape: [2, 2, 1, 2] as [number, number, number, number], pattern: Float32Array.from([0, 1, 2, 3, 4, 5, 6, 7]), weighting: "pattern" as const };
    expect([...patternOf(all, 1, 0)]).toEqual([4, 5]);
  });
  it("say_where_a_query_looks_most", () => {
    expect(looksFrom(pattern, 3, 2, 2)).toEqual([{ pos: 0, weight: 0.5 }, { pos: 2, weight: 0.375 }]);
  });
  it("say_who_looks_at_a_key_and_never_an_earlier_query", () => {
    expect(looksAt(pattern, 3, 1, 9).map((look) => look.pos)).toEqual([1, 2]);
  });
});
