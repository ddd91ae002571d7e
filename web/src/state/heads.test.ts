import { describe, expect, it } from "vitest";
import { headName, parseHead, picked } from "./heads";

describe("picking heads", () => {
  it("replaces_what_was_chosen", () => {
    expect(picked(["L0H0", "L0H1"], ["L1H0"], "replace")).toEqual(["L1H0"]);
  });
  it("gives_up_the_only_one_on_a_second_click", () => {
    expect(picked(["L0H0"], ["L0H0"], "replace")).toEqual([]);
  });
  it("adds_without_repeating", () => {
    expect(picked(["L0H0"], ["L0H0", "L0H1"], "add")).toEqual(["L0H0", "L0H1"]);
  });
  it("turns_a_whole_row_on_first_and_off_second", () => {
    const row = ["L0H0", "L0H1"];
    const on = picked(["L0H1", "L5H5"], row, "toggle");
    expect(on).toEqual(["L0H1", "L5H5", "L0H0"]);
    expect(picked(on, row, "toggle")).toEqual(["L5H5"]);
  });
  it("reads_names_as_it_writes_them", () => {
    expect(parseHead(headName(11, 3))).toEqual({ layer: 11, head: 3 });
    expect(parseHead("m3")).toBeNull();
  });
});
