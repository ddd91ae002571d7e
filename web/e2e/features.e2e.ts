// Features: what the page says of the demo model's autoencoder is what the API says.

import { expect, test } from "vitest";
import { exact, percent, plain, signed } from "../src/components/number";
import { ask, on, table } from "./api";
import { open, place, state, useBrowser } from "./browser";
import { NAMES } from "./prompts";
import { settled } from "./settled";

useBrowser();

const ALONE = { clean: NAMES.prompt };
const ASKED = { clean: NAMES.prompt, answers: [NAMES.target], wrong_answers: [NAMES.foil] };
const reading = (more: object) => on({ prompts: [ALONE], method: { features: { sae: "demo", ...more } }, metrics: [] });

test("the strongest features, those of a token and what the autoencoder keeps are the API's", async () => {
  const record = await ask(reading({ top: 24, losses: "measured" }));
  const report = record.results.features;
  if (!report) throw new Error("the record says nothing of features");
  const page = await open(place("features", NAMES));
  await settled(page);
  const list = page.getByRole("list", { name: "Active features" });
  const overall = report.prompts[0]?.overall ?? [];
  expect(await list.locator(".name").allTextContents()).toEqual(overall.map(({ feature }) => String(feature)));
  expect(await list.locator(".value").allTextContents()).toEqual(overall.map(({ activation }) => plain(activation)));
  const kept = await page.getByLabel("What it keeps").locator("dd").allTextContents();
  const { quality } = report;
  const shares = [quality.explained_variance, quality.losses?.recovered_from_zero, quality.losses?.recovered_from_mean];
  expect(kept).toEqual([plain(quality.l0), ...shares.map((share) => percent(share ?? Number.NaN))]);
  await page.getByRole("radio", { name: "At a token" }).click();
  await page.locator(".main .tokenheat").getByRole("button").nth(4).click();
  await settled(page);
  const there = report.prompts[0]?.positions[4]?.top ?? [];
  expect(there.length).toBeGreaterThan(0);
  await expect.poll(() => list.locator(".name").allTextContents()).toEqual(there.map(({ feature }) => String(feature)));
  expect([await state(page, "listing"), await state(page, "pos")]).toEqual(["token", "4"]);
});

test("a feature's activations, tokens and neighbours are the API's, and another is chosen by its number", async () => {
  const [trace, profile] = await Promise.all([
    ask(reading({ top: 1, watch: [197], losses: "left_out" })),
    ask(on({ prompts: [], method: { feature_profile: { sae: "demo", feature: 197, tokens: 8, nearest: 8 } } })),
  ]);
  const found = profile.results.feature;
  const page = await open(place("features", NAMES));
  await settled(page);
  await page.getByLabel("Feature", { exact: true }).fill("197");
  await page.getByLabel("Feature", { exact: true }).press("Enter");
  await page.getByRole("heading", { name: "Feature 197" }).waitFor();
  await settled(page);
  const chips = page.getByRole("group", { name: "Activation of feature 197" }).getByRole("button");
  const said = await chips.evaluateAll((all) => all.map((chip) => (chip.getAttribute("aria-label") ?? "").split(": ").at(-1)));
  expect(said).toEqual(trace.results.features?.prompts[0]?.watched?.[0]?.activations.map(exact));
  const rows = page.getByRole("table", { name: "Tokens of the feature" }).locator("tbody tr");
  const numbers = await rows.evaluateAll((all) => all.map((row) => [...row.querySelectorAll("td:not(.words)")].map((cell) => cell.textContent)));
  expect(numbers).toEqual(found?.promoted.map((high, i) => [signed(high.value), signed(found.suppressed[i]?.value ?? Number.NaN)]));
  const near = page.getByRole("list", { name: "Nearest features" });
  expect(await near.locator(".name").allTextContents()).toEqual(found?.nearest.map(({ feature }) => String(feature)));
  await page.getByLabel("Feature", { exact: true }).fill("9999");
  await page.getByLabel("Feature", { exact: true }).press("Enter");
  await page.getByText("There is no feature 9999; they go from 0 to 511.").waitFor();
});

test("features are listed by what setting each to 0 does", async () => {
  const record = await ask(on({ prompts: [ASKED], method: { feature_sweep: { sae: "demo", features: "active", change: "ablate", by: "feature", error: "keep" } }, metrics: ["logit_diff"] }));
  const values = table(record, "logit_diff", "change").values.map((value) => value ?? 0);
  const order = (record.results.feature_sweep?.cells ?? []).map((cell, i) => ({ feature: cell.feature, value: values[i] ?? 0 })).sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  const page = await open(place("features", { ...NAMES, listing: "worth" }));
  await settled(page);
  const list = page.getByRole("list", { name: "Features by what they do" });
  expect(await list.locator(".name").allTextContents()).toEqual(order.slice(0, 32).map(({ feature }) => String(feature)));
  expect(await list.locator(".value").allTextContents()).toEqual(order.slice(0, 32).map(({ value }) => signed(value)));
});

test("a feature is steered with, beside the control text", async () => {
  const page = await open(place("features", { ...NAMES, feature: "205", length: "6" }));
  await settled(page);
  await page.getByRole("button", { name: "Steer with it" }).click();
  await settled(page);
  expect([await state(page, "view"), await state(page, "along"), await state(page, "feature")]).toEqual(["steering", "feature", "205"]);
  await page.locator(".generated").first().waitFor();
  expect(await page.getByRole("radiogroup", { name: "Before layer" }).getByRole("radio", { name: "3", exact: true }).getAttribute("aria-checked")).toBe("true");
});
