import { describe, expect, it } from "vitest";
import { metricOptions, metricShown } from "./metrics";

const inputs = { model: "demo", weights: "folded" as const, prompt: "a", corrupt: "", target: "", foil: "" };
const open = (asked: typeof inputs) => metricOptions(asked).filter((option) => !option.disabled).map((option) => option.value);

describe("metrics of the ablation view", () => {
  it("offers_without_an_answer_only_what_needs_none", () => {
    expect(open(inputs)).toEqual(["entropy", "kl"]);
  });
  it("offers_the_logit_difference_only_with_a_wrong_answer", () => {
    expect(open({ ...inputs, target: " a" })).not.toContain("logit_diff");
    expect(open({ ...inputs, target: " a", foil: " b" })).toContain("logit_diff");
  });
  it("shows_the_wanted_metric_where_it_can_and_else_the_first", () => {
    expect(metricShown({ ...inputs, target: " a" }, "rank")).toBe("rank");
    expect(metricShown(inputs, "rank")).toBe("entropy");
  });
});
