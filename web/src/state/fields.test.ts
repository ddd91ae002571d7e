import { describe, expect, it } from "vitest";
import { DEFAULTS, decode, encode, saysPrompt } from "./fields";
import type { Fields } from "./fields";

const full: Fields = {
  ...DEFAULTS, view: "patching", model: "org/name", prompt: " a & b = c?\n#%", corrupt: "ü 🙂", target: " Mary", foil: " John",
  cut: ["L0H1", "L11H3"], how: "previous", at: "last", clamp: " x", metric: "rank", quantity: "value", site: "z", layout: "head_position",
  direction: "noise", patch: ["L4@9"], temperature: 0.7, seed: 7, length: 12, importance: "", head: "L1H2", pos: 0, layer: 3, others: ["a,b", "c"],
  attribution: "estimate", parts: "neurons", part: "L1H2@3", mlp: 2, steps: 5, fixes: ["qk_fix"], check: "off",
  neuron: "L2N17", ranked: "direct_attribution", along: "neuron", towards: " happy & so", away: " sad", over: "all", into: 0, sized: "one", sae: "release/id", tuned: "runs/lens/last", curve: "kl", feature: "305", listing: "worth", gather: "apart", strength: -2.5, reach: 8,
};

describe("the address", () => {
  it("keeps_every_field", () => {
    expect(decode(encode(full))).toEqual(full);
  });
  it("keeps_the_defaults_and_names_few_of_them", () => {
    expect(decode(encode(DEFAULTS))).toEqual(DEFAULTS);
    expect(encode(DEFAULTS)).toBe("?view=surgery&prompt=");
  });
  it("takes_nonsense_for_the_default", () => {
    expect(decode("?view=nowhere&seed=-3&pos=1.5&temperature=warm&how=axe")).toEqual(DEFAULTS);
  });
  it("tells_an_emptied_prompt_from_none", () => {
    expect(saysPrompt(encode({ ...DEFAULTS, prompt: "" }))).toBe(true);
    expect(saysPrompt("?view=lens")).toBe(false);
  });
});
