import { describe, expect, it } from "vitest";
import { differing } from "./differing";

describe("differing tokens", () => {
  it("are_compared_by_position_where_there_are_as_many", () => {
    expect(differing(["a", "b", "c"], ["a", "x", "c"])).toEqual([[false, true, false], [false, true, false]]);
  });
  it("are_the_words_too_many_where_there_are_not", () => {
    expect(differing(["a", "b", "c"], ["a", "x", "y", "b", "c"])).toEqual([[false, false, false], [false, true, true, false, false]]);
  });
  it("are_all_of_them_beside_an_empty_prompt", () => {
    expect(differing(["a"], [])).toEqual([[true], []]);
  });
});
