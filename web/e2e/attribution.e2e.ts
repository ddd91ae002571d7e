// Attribution: every number on the page is the API's, shares add up, and estimates stand beside what they estimate.

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { exact, signed } from "../src/components/number";
import { partGrid, sumOf } from "../src/views/attribution/parts";
import { partOf } from "../src/views/estimates/scatter";
import { ask, on, table } from "./api";
import { PHONE, open, place, state, useBrowser } from "./browser";
import { copied } from "./clipboard";
import { cellText, heatmap, readCells } from "./grid";
import { FACT, NAMES } from "./prompts";
import { settled } from "./settled";

useBrowser();

const ASKED = { clean: NAMES.prompt, answers: [NAMES.target], wrong_answers: [NAMES.foil] };
const PAIR = { ...ASKED, corrupt: NAMES.corrupt };
const shares = (more: object = {}) => ask(on({ prompts: [ASKED], method: { direct_attribution: more }, metrics: [] }));
const plus = (value: number): string => (value > 0 ? `+${exact(value)}` : exact(value));

test("the shares of heads, MLPs and biases are the API's, cell by cell, and the sum is the model's own", async () => {
  const { results } = await shares();
  const grid = partGrid(results.tables ?? []);
  const sum = sumOf(results.tables ?? []);
  if (!grid || !sum) throw new Error("the record has no shares");
  const page = await open(place("attribution", NAMES));
  await settled(page);
  const cells = await readCells(heatmap(page, /by layer and part/));
  expect(cells).toEqual(grid.values.map((value, i) => `${(grid.names[i] ?? "").replace(/^b(\d+)$/, "b_O of layer $1")}: ${plus(value ?? 0)} logits`));
  const facts = page.getByRole("region", { name: "The sum" }).locator("dd");
  expect((await facts.allTextContents()).slice(0, 2)).toEqual([exact(sum.total), exact(sum.model)]);
  expect(Math.abs(sum.total - sum.model)).toBeLessThan(1e-4 * Math.max(1, Math.abs(sum.model)));
  const terms = page.getByRole("list", { name: "Terms of the sum" }).locator(".value");
  expect(await terms.allTextContents()).toEqual(sum.terms.map(({ value }) => signed(value)));
  // What is printed adds up as well, to what is left of rounding each term to two figures behind the point.
  const all = sum.terms.reduce((so_far, { value }) => so_far + value, 0);
  expect(all).toBeCloseTo(sum.model, 3);
});

test("a head that is pressed opens its card, by pointer and by keyboard, and the card leads on", async () => {
  const page = await open(place("attribution", NAMES));
  await settled(page);
  const grid = heatmap(page, /by layer and part/);
  await grid.focus();
  for (let i = 0; i < 9; i++) await grid.press("ArrowDown");
  await grid.press("Home");
  await grid.press("ArrowRight");
  expect(await cellText(grid)).toMatch(/^L0H1/);
  await grid.press("Enter");
  const card = page.getByRole("dialog", { name: "L0H1" });
  await card.waitFor();
  expect(await state(page, "part")).toBe("L0H1");
  await page.keyboard.press("Escape");
  expect(await card.count()).toBe(0);
  expect(await grid.evaluate((element) => element === document.activeElement), "the keyboard is back in the grid").toBe(true);
  const first = page.getByRole("list", { name: "Strongest parts" }).getByRole("button").first();
  const name = (await first.locator(".name").textContent()) ?? "";
  await first.click();
  await page.getByRole("dialog", { name, exact: true }).waitFor();
  await page.locator("h1").evaluate(() => document.dispatchEvent(new PointerEvent("pointerdown")));
  await grid.press("Enter");
  for (const [link, view] of [["Open in Attention", "attention"], ["Cut in Surgery", "surgery"], ["Trace in Circuit", "circuit"]] as const) {
    await card.getByRole("link", { name: link }).click();
    expect(await state(page, "view")).toBe(view);
    await page.goBack();
    await settled(page);
    await grid.focus();
    for (let i = 0; i < 9; i++) await grid.press("ArrowDown");
    await grid.press("Home");
    await grid.press("ArrowRight");
    await grid.press("Enter");
    await card.waitFor();
  }
});

test("shares by the position a head looks at, and of neurons, are the API's", async () => {
  const sources = table(await shares({ heads: "by_source" }), "direct_sources", "change");
  const page = await open(place("attribution", { ...FACT, ...NAMES, parts: "sources" }));
  await settled(page);
  const [layers, positions, heads] = sources.axes.map(({ labels }) => labels.length) as [number, number, number];
  const cells = await readCells(heatmap(page, /by head and the position it looks at/));
  const values = cells.map((cell) => /: (\S+) logits$/.exec(cell)?.[1]);
  const wanted: string[] = [];
  for (let l = 0; l < layers; l++) for (let h = 0; h < heads; h++) for (let p = 0; p < positions; p++) wanted.push(plus(sources.values[(l * positions + p) * heads + h] ?? 0));
  expect(values).toEqual(wanted);
  const neurons = table(await shares({ neurons: [2] }), "direct_neurons", "change");
  await page.getByRole("radio", { name: "Neurons" }).click();
  await page.getByRole("radiogroup", { name: "MLP of layer" }).getByRole("radio", { name: "2" }).click();
  await settled(page);
  const strongest = neurons.values.slice(0, -1).map((value, i) => [`L2N${i}`, value ?? 0] as const).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 24);
  const list = page.getByRole("list", { name: "Strongest neurons" });
  await expect.poll(() => list.locator(".name").allTextContents()).toEqual(strongest.map(([name]) => name));
  expect(await list.locator(".value").allTextContents()).toEqual(strongest.map(([, value]) => signed(value)));
  await list.getByRole("button").first().click();
  await page.getByRole("dialog", { name: strongest[0]?.[0] ?? "" }).getByRole("link", { name: "Open in Neurons" }).click();
  expect([await state(page, "view"), await state(page, "neuron")]).toEqual(["neurons", strongest[0]?.[0]]);
});

test("estimates stand beside the patches they estimate, with the API's correlations", async () => {
  const method = { attribution_patching: { site: "z" as const, by: "head" as const, direction: "denoise" as const, check: { top: 20 } } };
  const record = await ask(on({ prompts: [PAIR], method, metrics: ["logit_diff"] }));
  const measured = record.results.remeasured;
  if (!measured) throw new Error("nothing was measured");
  const page = await open(place("attribution", { ...NAMES, attribution: "estimate", site: "z", layout: "head" }));
  await settled(page);
  const recovery = table(record, "logit_diff", "recovery");
  const cells = await readCells(heatmap(page, /by layer and head/));
  expect(cells.map((cell) => /: estimated (\S+) recovered/.exec(cell)?.[1])).toEqual(recovery.values.map((value) => exact(value ?? 0)));
  const facts = page.getByLabel("Agreement").locator("dd");
  expect((await facts.allTextContents()).slice(0, 2)).toEqual([measured.pearson, measured.spearman].map((value) => value?.toFixed(3)));
  expect(await page.locator(".scatter .dot").count()).toBe(20);
  const rows = page.getByRole("table", { name: "Measured again" }).locator("tbody tr");
  expect(await rows.locator("button").allTextContents()).toEqual(measured.cells.map(({ label }) => partOf(label)));
  expect(await rows.locator("td").allTextContents()).toEqual(measured.cells.flatMap(({ estimate, exact }) => [signed(estimate), signed(exact)]));
  // The same patch, run as one in Patching.
  await rows.first().locator("button").click();
  await page.getByRole("button", { name: "Measure in Patching" }).click();
  expect([await state(page, "view"), await state(page, "site"), await state(page, "patch")]).toEqual(["patching", "z", partOf(measured.cells[0]?.label ?? "")]);
  await settled(page);
  const grid = heatmap(page, /by layer and head/);
  await grid.waitFor();
});

test("steps, corrections and what is measured are part of the question and of the address", async () => {
  const page = await open(place("attribution", { ...NAMES, attribution: "estimate" }));
  await settled(page);
  expect(await page.getByRole("checkbox", { name: "QK fix" }).isDisabled(), "of the residual stream there are no queries").toBe(true);
  await page.getByRole("radio", { name: "Queries" }).click();
  await page.getByRole("radio", { name: "all at once" }).click();
  await page.getByRole("checkbox", { name: "QK fix" }).check();
  await page.getByRole("checkbox", { name: "GradDrop" }).check();
  await page.getByLabel("IG steps").fill("3");
  await page.getByRole("radio", { name: "All", exact: true }).click();
  await settled(page);
  expect(await Promise.all(["site", "layout", "fixes", "steps", "check"].map((field) => state(page, field)))).toEqual(["q", "head", "qk_fix,grad_drop", "3", "all"]);
  const method = { attribution_patching: { site: "q" as const, by: "head" as const, direction: "denoise" as const, steps: 3, corrections: ["qk_fix" as const, "grad_drop" as const], check: "all" as const } };
  const record = await ask(on({ prompts: [PAIR], method, metrics: ["logit_diff"] }));
  const cells = await readCells(heatmap(page, /by layer and head/));
  expect(cells.map((cell) => /: estimated (\S+) logits/.exec(cell)?.[1])).toEqual(table(record, "logit_diff", "change").values.map((value) => exact(value ?? 0)));
  expect(await page.getByRole("table", { name: "Measured again" }).locator("tbody tr").count()).toBe(cells.length);
  await page.reload();
  await settled(page);
  expect(await page.getByRole("checkbox", { name: "GradDrop" }).isChecked()).toBe(true);
});

test("a token pressed chooses the position whose next token is attributed, and the address and the command say so", async () => {
  const at = 11;
  const record = await ask(on({ prompts: [{ clean: NAMES.prompt, answers: [NAMES.target] }], method: "measure", metrics: ["prob"] }));
  const labels = record.results.prompts[0]?.clean.labels ?? [];
  const next = labels[at + 1] ?? "";
  const page = await open(place("attribution", { prompt: NAMES.prompt, corrupt: NAMES.corrupt, target: NAMES.target }));
  await settled(page);
  const tokens = page.getByRole("group", { name: "The token whose next one is attributed" });
  // The prompt's tokens are an answer of their own, which may come after the picture.
  await tokens.getByRole("button").nth(labels.length - 1).waitFor();
  expect(await tokens.getByRole("button").count()).toBe(labels.length);
  expect(await page.getByRole("button", { name: /^Answer/ }).count(), "nothing follows the last token").toBe(0);
  await tokens.getByRole("button").nth(at).click();
  expect(await state(page, "pos")).toBe(String(at));
  await page.getByRole("button", { name: /^Answer/ }).click();
  await settled(page);
  expect(await state(page, "target")).toBe(next);
  const asked = on({ prompts: [{ clean: NAMES.prompt, answers: [next] }], method: { direct_attribution: {} }, metrics: [], read_at: at });
  const there = partGrid((await ask(asked)).results.tables ?? []);
  const last = partGrid((await ask({ ...asked, read_at: null })).results.tables ?? []);
  const told = (await readCells(heatmap(page, /by layer and part/))).map((cell) => /: (\S+) logits$/.exec(cell)?.[1]);
  expect(told).toEqual(there?.values.map((value) => plus(value ?? 0)));
  expect(told).not.toEqual(last?.values.map((value) => plus(value ?? 0)));
  expect(await copied(page, "Command")).toContain(`--read-at ${at}`);

  // Estimates are read there too; a patch after that position does nothing to it.
  await page.getByRole("radio", { name: "Patches, estimated" }).click();
  await page.getByRole("radio", { name: "Change", exact: true }).click();
  await settled(page);
  const method = { attribution_patching: { site: "resid_pre" as const, by: "layer_position" as const, direction: "denoise" as const, check: { top: 20 } } };
  const estimated = table(await ask(on({ prompts: [{ clean: NAMES.prompt, corrupt: NAMES.corrupt, answers: [next] }], method, metrics: ["prob"], read_at: at })), "prob", "change");
  const cells = await readCells(heatmap(page, /by layer and position/));
  expect(cells.map((cell) => /: estimated (\S+)/.exec(cell)?.[1])).toEqual(estimated.values.map((value) => exact(value ?? 0)));
  expect(estimated.values.every((value, cell) => cell % labels.length <= at || value === 0)).toBe(true);
  expect(await page.getByRole("button", { name: "Measure in Patching" }).count(), "Patching reads at the last position").toBe(0);
  await page.reload();
  await settled(page);
  expect(await tokens.getByRole("button").nth(at).getAttribute("aria-pressed")).toBe("true");
});

test.each(["SVG", "PNG"])("the agreement is saved as %s", async (kind) => {
  const page = await open(place("attribution", { ...NAMES, attribution: "estimate" }));
  await settled(page);
  await page.getByRole("button", { name: "Export" }).click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByText(`Agreement (${kind})`, { exact: true }).click()]);
  const bytes = readFileSync(await download.path());
  if (kind === "PNG") expect(bytes.subarray(1, 4).toString()).toBe("PNG");
  else expect(bytes.toString()).toContain("Pearson correlation");
});

test("without an answer, or without a pair, it says what is missing", async () => {
  const page = await open(place("attribution", { prompt: NAMES.prompt }));
  await page.getByText(/Give the answer: the token whose logit is taken apart/).waitFor();
  await page.getByRole("radio", { name: "Patches, estimated" }).click();
  await page.getByText(/Type the corrupt prompt/).waitFor();
});

test("at 360 px a head is pressed by a finger and its card opens", async () => {
  const page = await open(place("attribution", NAMES), PHONE);
  await settled(page);
  await page.getByRole("list", { name: "Strongest parts" }).getByRole("button").first().tap();
  const box = await page.getByRole("dialog").boundingBox();
  expect(box && box.x >= 0 && box.x + box.width <= PHONE.width).toBe(true);
});
