import { describe, expect, it } from "vitest";
import { duration, exact, percent, plain, signed } from "./number";

describe("numbers", () => {
  it("carry_a_sign_as_changes_and_none_at_zero", () => {
    expect([signed(0.456), signed(-7.0608), signed(0), signed(-0.001)]).toEqual(["+0.46", "−7.06", "0", "0"]);
  });
  it("have_about_three_figures_and_whole_ones_none_too_many", () => {
    expect([plain(0.916), plain(14.72), plain(1284.4), plain(1), plain(2976)]).toEqual(["0.92", "14.7", "1284", "1", "2976"]);
  });
  it("are_exact_to_six_figures_on_demand", () => {
    expect([exact(-7.0608123), exact(0), exact(4.3e-7)]).toEqual(["−7.06081", "0", "4.3e-7"]);
  });
  it("never_round_a_small_probability_to_nothing", () => {
    expect([percent(0.912), percent(0.0031), percent(0.0001), percent(0), percent(0.99999)]).toEqual(["91 %", "0.3 %", "< 0.1 %", "0 %", "100 %"]);
  });
  it("choose_the_unit_of_a_duration", () => {
    expect([duration(0.0023), duration(0.0612), duration(1.42), duration(125)]).toEqual(["2.3 ms", "61 ms", "1.4 s", "2 min 5 s"]);
  });
});
