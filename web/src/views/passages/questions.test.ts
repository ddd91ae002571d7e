// @vitest-environment happy-dom
import { expect, test } from "vitest";
import type { SaeReport } from "../../api";
import { featurePassages, scannedFeatures } from "./questions";

const sae = (d_sae: number, name = "demo"): SaeReport => ({
  name, d_sae, hash: "", architecture: "standard", hook: "blocks.3.hook_resid_pre", d_in: 8, normalization: "none", prepend_bos: true,
});
const INPUTS = { model: "demo", weights: "folded", prompt: "", corrupt: "", target: "", foil: "" } as const;

test("a text is scanned for all features where the server gives their passages at once", () => {
  for (const d_sae of [512, 3072]) expect(scannedFeatures(sae(d_sae), 3, [7], null)).toEqual({ sae: "demo", features: [] });
  expect(featurePassages(INPUTS, sae(512), [], "a text")?.method).toEqual({ text_scan: { text: "a text", sae: "demo", top: 8, context: 8 } });
});

test("of a wide autoencoder it is scanned for those listed, and again only for one that is not among them", () => {
  const wide = sae(24_576);
  const first = scannedFeatures(wide, 900, [12, 900, 5], null);
  expect(first.features).toEqual([5, 12, 900]);
  expect(scannedFeatures(wide, 12, [1, 2], first)).toBe(first);
  expect(scannedFeatures(wide, 13, [1, 2], first).features).toEqual([1, 2, 13]);
  expect(scannedFeatures(sae(24_576, "other"), 12, [], first).features).toEqual([12]);
  const many = scannedFeatures(wide, 24_000, Array.from({ length: 20_000 }, (_, i) => i), null).features;
  expect([many.length * 8 * 17 <= 500_000, many.includes(24_000)]).toEqual([true, true]);
});

test("nothing is asked without a text, an autoencoder or a feature", () => {
  expect(featurePassages(INPUTS, sae(512), [], "  ")).toBeNull();
  expect(featurePassages(INPUTS, null, [], "a")).toBeNull();
  expect(featurePassages(INPUTS, sae(512), null, "a")).toBeNull();
  expect(featurePassages(null, sae(512), [], "a")).toBeNull();
});
