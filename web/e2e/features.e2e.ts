// Features: what the page says of the demo model's autoencoder is what the API says.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import type { FeatureSummary } from "../src/api/schema";
import { exact, percent, plain, signed } from "../src/components/number";
import { ask, get, on, table } from "./api";
import { open, place, state, useBrowser } from "./browser";
import { NAMES } from "./prompts";
import { program } from "./server";
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

test("a feature's passages, histogram and density are those of a scan, and another feature asks nothing anew", async () => {
  const { examples } = await get<{ examples: { prompt: string; target: string; corrupt: string | null }[] }>("/api/examples");
  const joined = [...new Set(examples.flatMap(({ prompt, target, corrupt }) => [prompt + target, ...(corrupt ? [corrupt] : [])]))].join("<|endoftext|>");
  const scan = async (text: string) => {
    const { results } = await ask(on({ prompts: [], method: { text_scan: { text, sae: "demo", top: 8, context: 8 } } }));
    const found = results.text_scan?.features ?? [];
    expect(found.length).toBe(512);
    return found;
  };
  const page = await open(place("features", { ...NAMES, feature: "376" }));
  const asked: string[] = [];
  page.on("request", (request) => asked.push(request.postData() ?? ""));
  const scans = (): number => asked.filter((body) => body.includes("text_scan")).length;
  const panel = page.getByRole("region", { name: "Most activating passages" });
  const shown = () => panel.getByRole("list", { name: "Passages" }).locator("li > .soft").allTextContents();
  const agrees = async (summary: FeatureSummary | undefined): Promise<void> => {
    if (!summary) throw new Error("the scan lacks the feature");
    await expect.poll(shown).toEqual(summary.passages.map(({ activation }) => plain(activation)));
    const facts = await panel.getByLabel("Over the text").locator("dd").allTextContents();
    expect(facts).toEqual([percent(summary.density), plain(summary.max), plain(summary.moments.mean)]);
    const { first, width, counts } = summary.histogram;
    const bars = counts.flatMap((count, i) => (count > 0 ? [`${plain((first + i) * width)} to ${plain((first + i) * width + width)}: ${count} tokens`] : []));
    expect(await panel.locator(".distribution rect title").allTextContents()).toEqual(bars);
    const chips = panel.getByRole("list", { name: "Passages" }).locator("li").first().locator(".tokenheat > *");
    expect((await chips.allTextContents()).map((token) => token.replaceAll("·", " "))).toEqual(summary.passages[0]?.tokens);
    expect(await chips.evaluateAll((all) => all.map((chip) => chip.getAttribute("title")))).toEqual(summary.passages[0]?.activations.map(exact));
  };
  const wanted = await scan(joined);
  const active = wanted.filter(({ passages }) => passages.length > 0);
  expect(active.length).toBeGreaterThan(100);
  await agrees(wanted[376]);
  const before = scans();
  await page.getByLabel("Feature", { exact: true }).fill("490");
  await page.getByLabel("Feature", { exact: true }).press("Enter");
  await agrees(wanted[490]);
  expect(scans(), "all features were scanned for at once").toBe(before);
  await panel.getByRole("button", { name: "Copy these passages as" }).click();
  await page.getByRole("menuitem", { name: /^Command/ }).click();
  const command = await page.evaluate(() => navigator.clipboard.readText());
  const file = join(mkdtempSync(join(tmpdir(), "microtome-scan-")), "scan.json");
  const path = `${dirname(program())}:${process.env["PATH"] ?? ""}`;
  execFileSync("sh", ["-c", `${command} --out ${file}`], { env: { ...process.env, PATH: path }, stdio: "pipe" });
  const again = JSON.parse(readFileSync(file, "utf8")) as { features: FeatureSummary[] };
  expect(again.features, "the command gives the page's numbers").toEqual(wanted);
  const own = "One day, Mary and John went to the river. Mary decided to give a ball to John.";
  await panel.getByRole("radio", { name: "Your own" }).click();
  await panel.locator("input[type=file]").setInputFiles({ name: "own.txt", mimeType: "text/plain", buffer: Buffer.from(own) });
  const found = await scan(own);
  await agrees(found[490]);
  const silent = found.find(({ passages }) => passages.length === 0);
  await page.getByLabel("Feature", { exact: true }).fill(silent?.feature ?? "");
  await page.getByLabel("Feature", { exact: true }).press("Enter");
  await panel.getByText("It is never above 0 in this text.").waitFor();
  await panel.getByLabel("Text to scan").fill(" ");
  expect(await panel.getByRole("button", { name: "Scan" }).isDisabled()).toBe(true);
});

test.each(["gradient", "direct"] as const)("what features are worth is estimated by %s, and the strongest are measured beside it", async (estimate) => {
  const attribution = { sae: "demo", estimate, change: "ablate", by: "feature", error: "keep", top: 32, check: { top: 20 } } as const;
  const record = await ask(on({ prompts: [ASKED], method: { feature_attribution: attribution }, metrics: estimate === "direct" ? [] : ["logit_diff"] }));
  const { remeasured: measured, feature_attribution: report, tables } = record.results;
  if (!measured || !report) throw new Error("nothing was measured");
  expect(measured.cells.length).toBeGreaterThan(10);
  const page = await open(place("features", { ...NAMES, listing: "estimate", ...(estimate === "direct" ? { estimated: estimate } : {}) }));
  await settled(page);
  const rows = page.getByRole("table", { name: "Features, estimated" }).locator("tbody tr");
  expect(await rows.locator("button").allTextContents()).toEqual(report.cells.map(({ feature }) => String(feature)));
  const exactly = report.cells.map((_, i) => measured.cells.find(({ cell }) => cell === i)?.exact);
  expect(await rows.locator("td").allTextContents()).toEqual(
    report.cells.flatMap((_, i) => [signed(tables?.[0]?.values[i] ?? Number.NaN), exactly[i] === undefined ? "–" : signed(exactly[i])]),
  );
  const facts = page.getByLabel("Agreement").locator("dl").first().locator("dd");
  expect((await facts.allTextContents()).slice(0, 2)).toEqual([measured.pearson, measured.spearman].map((value) => value?.toFixed(3).replace("-", "−")));
  expect(await page.locator(".scatter .dot").count()).toBe(measured.cells.length);
  const sum = await page.getByLabel("Sum of the estimates").locator("dd").allTextContents();
  expect(sum).toEqual([report.all_features, ...(estimate === "direct" ? [report.bias, report.unexplained] : [])].map((value) => signed(value ?? Number.NaN)));
  await rows.nth(2).locator("button").click();
  expect(await state(page, "feature")).toBe(String(report.cells[2]?.feature));
  await page.getByRole("heading", { name: `Feature ${report.cells[2]?.feature ?? ""}` }).waitFor();
  await page.locator(".scatter .dot").first().click();
  expect(await state(page, "feature")).toBe(measured.cells[0]?.label);
});

test("estimates ask for an answer where there is none", async () => {
  const page = await open(place("features", { prompt: NAMES.prompt, listing: "estimate" }));
  await page.getByText(/Give the answer: the token whose logit/).waitFor();
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
