import { expect, test } from "vitest";
import { figure, ordinal, readings } from "./comparison";
import { moved, onOf, WAYS, wayOf } from "./settings";

test("numbers keep about three digits and their minus sign", () => {
  expect([1.2839, 14.7, 0.0123, 0, 123.456, -6.414, 0.00001234].map(figure)).toEqual([
    "1.284", "14.70", "0.0123", "0.000", "123.5", "\u22126.414", "1.23e\u22125",
  ]);
});

test("a difference in perplexity is cut minus original, and says both", () => {
  const comparison = {
    tokens: 20, kl_mean: 1.284, perplexity_control: 2, perplexity_ablated: 8.41, perplexity_change: 6.41, top1_changed: 0.38, l2_resid: 14.7,
  };
  const [kl, perplexity, top1, l2] = readings(comparison);
  expect(kl?.value).toBe("1.284");
  expect(perplexity?.value).toBe("+6.410");
  expect(perplexity?.definition).toContain("8.410, minus that of the original, 2.000");
  expect(top1?.value).toBe("38 %");
  expect(l2?.value).toBe("14.70");
});

test("ordinals", () => {
  expect([1, 2, 3, 4, 11, 12, 13, 21, 102, 111].map(ordinal)).toEqual([
    "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th",
  ]);
});

test("changing between pattern and output keeps what is meant", () => {
  expect(moved("zero_pattern", "output")).toBe("zero");
  expect(moved("mean", "pattern")).toBe("uniform");
  expect(moved("random", "output")).toBe("zero");
  expect(moved("resample", "output")).toBe("resample");
  for (const on of ["pattern", "output"] as const) {
    for (const { how } of WAYS[on]) {
      expect(onOf(how)).toBe(on);
      expect(wayOf(how).how).toBe(how);
    }
  }
});
