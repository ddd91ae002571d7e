import { describe, expect, it } from "vitest";
import { colourOf, diverging, inkOn, largest, sequential, symmetricMax } from "./scale";

const luminance = ([r, g, b]: readonly [number, number, number]): number => 0.2126 * r + 0.7152 * g + 0.0722 * b;

describe("scales", () => {
  it("are_symmetric_about_zero", () => {
    expect(symmetricMax([0.5, -2, null])).toBe(2);
    expect(colourOf(diverging(2), 0, "light")).toEqual([240, 239, 234]);
    expect(colourOf(diverging(2), -9, "light")).toEqual(colourOf(diverging(2), -2, "light"));
  });
  it("are_red_for_less_and_blue_for_more_unless_turned", () => {
    const [r, , b] = colourOf(diverging(1), -1, "light");
    expect(r).toBeGreaterThan(b);
    const turned = { ...diverging(1), flip: true };
    expect(colourOf(turned, 1, "light")).toEqual(colourOf(diverging(1), -1, "light"));
  });
  it("run_towards_what_stands_out_in_both_themes", () => {
    const steps = [0, 0.25, 0.5, 0.75, 1];
    const light = steps.map((x) => luminance(colourOf(sequential(1), x, "light")));
    const dark = steps.map((x) => luminance(colourOf(sequential(1), x, "dark")));
    expect(light).toEqual([...light].sort((a, b) => b - a));
    expect(dark).toEqual([...dark].sort((a, b) => a - b));
  });
  it("have_a_width_even_where_nothing_differs", () => {
    expect(largest([0, null])).toBe(1);
    expect(symmetricMax([])).toBe(1);
  });
  it("print_in_the_ink_that_reads_better", () => {
    expect(inkOn([255, 255, 255])).not.toBe("#ffffff");
    expect(inkOn([13, 84, 83])).toBe("#ffffff");
  });
});
