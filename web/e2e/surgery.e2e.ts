// Surgery: heads are cut, and what the model then writes and is worth is what the API says.

import type { Locator, Page } from "playwright-core";
import { expect, test } from "vitest";
import type { GeneratedToken, Generation, ImportanceBy, Replacement } from "../src/api/schema";
import { percent } from "../src/components/number";
import { readable } from "../src/components/TokenText";
import { figure, ordinal } from "../src/views/surgery/comparison";
import { brief, strongest } from "../src/views/surgery/painting";
import { ask, on, table } from "./api";
import { open, place, state, useBrowser } from "./browser";
import { FACT } from "./prompts";
import { settled } from "./settled";

useBrowser();

const CUT = ["L0H3", "L1H2"];
const LENGTH = 24;

interface Sampling {
  cut?: string[];
  with?: Replacement;
  temperature?: number;
  seed?: number;
}

async function written({ cut = CUT, with: replacement = "zero", temperature = 0, seed }: Sampling = {}): Promise<Generation> {
  const { results } = await ask(on({
    prompts: [{ clean: FACT.prompt }], method: { generate: { max_new_tokens: LENGTH, temperature, cut, with: replacement } },
    ...(seed === undefined ? {} : { seed }),
  }));
  if (!results.generation) throw new Error("the record has no texts");
  return results.generation;
}

const surgery = (more: Record<string, string> = {}): string =>
  place("surgery", { prompt: FACT.prompt, cut: CUT.join(","), length: String(LENGTH), ...more });

const words = (page: Page, text: "Control" | "Cut"): Locator => page.getByRole("group", { name: `${text} text` }).getByRole("button");
const said = async (locator: Locator): Promise<(string | null)[]> =>
  Promise.all((await locator.all()).map((one) => one.getAttribute("aria-label")));
const fresh = (tokens: readonly GeneratedToken[]): GeneratedToken[] => tokens.filter((token) => !token.is_prompt);
const asSaid = (tokens: readonly GeneratedToken[]): string[] => fresh(tokens).map(({ token, prob }) => `${readable(token)}, ${percent(prob)}`);
const numbers = (page: Page): Promise<string[]> =>
  page.getByRole("region", { name: "Original and cut model compared" }).locator("dd").allTextContents();
const cell = (page: Page, name: string): Locator => page.getByRole("grid", { name: "Heads; space cuts" }).getByRole("gridcell", { name: new RegExp(`^${name}\\b`) });
const isCut = async (page: Page): Promise<string[]> => {
  const labels = await said(page.locator('.headgrid [aria-selected="true"]'));
  return labels.map((label) => label?.split(",")[0] ?? "").sort();
};

function expectedNumbers({ comparison }: Generation): string[] {
  if (!comparison) throw new Error("the texts were not compared");
  const { kl_mean, perplexity_control, perplexity_ablated, top1_changed, l2_resid } = comparison;
  const more = perplexity_ablated - perplexity_control;
  return [`${figure(kl_mean)} nats`, `${more > 0 ? "+" : ""}${figure(more)}`, percent(top1_changed), figure(l2_resid)];
}

test("both texts and the four numbers are the API's", async () => {
  const expected = await written();
  const page = await open(surgery());
  await settled(page);
  expect(await said(words(page, "Control"))).toEqual(asSaid(expected.control));
  expect(await said(words(page, "Cut"))).toEqual(asSaid(expected.ablated));
  expect(await numbers(page)).toEqual(expectedNumbers(expected));
});

test("the first token that differs is marked and told", async () => {
  const { control, ablated } = await written();
  const parted = fresh(control).findIndex((token, i) => token.id !== fresh(ablated)[i]?.id);
  expect(parted).toBeGreaterThanOrEqual(0);
  const page = await open(surgery());
  await settled(page);
  expect(await page.locator(".word.first").count()).toBe(1);
  expect(await words(page, "Cut").nth(parted).getAttribute("class")).toContain("first");
  expect(await page.getByRole("heading", { name: /^Cut/ }).textContent()).toBe(`Cut differs from the ${ordinal(parted + 1)} token`);
});

test.each<{ on: string; way: string; replacement: Replacement }>([
  { on: "Pattern", way: "Zero", replacement: "zero_pattern" },
  { on: "Pattern", way: "Mean", replacement: "uniform" },
  { on: "Pattern", way: "Random", replacement: "random" },
  { on: "Pattern", way: "Previous layer", replacement: "previous" },
  { on: "Output", way: "Mean", replacement: { mean: {} } },
])("cut with $way on the $on, the numbers are the API's", async ({ on: side, way, replacement }) => {
  const expected = await written({ with: replacement });
  const page = await open(surgery());
  await settled(page);
  await page.getByRole("radio", { name: side, exact: true }).click();
  await page.getByRole("radio", { name: way, exact: true }).click();
  await expect.poll(() => numbers(page), { timeout: 30_000 }).toEqual(expectedNumbers(expected));
  await settled(page);
  expect(await said(words(page, "Cut"))).toEqual(asSaid(expected.ablated));
});

test("temperature, seed and length write the API's text", async () => {
  const expected = await written({ temperature: 0.8, seed: 7 });
  const page = await open(surgery({ length: "8" }));
  await settled(page);
  await page.getByLabel("Temperature").fill("0.8");
  await page.getByLabel("Seed").fill("7");
  await page.getByLabel("Length").fill(String(LENGTH));
  await expect.poll(() => said(words(page, "Control")), { timeout: 30_000 }).toEqual(asSaid(expected.control));
  await settled(page);
  expect(await said(words(page, "Cut"))).toEqual(asSaid(expected.ablated));
});

test("resampled heads are compared on the prompt alone", async () => {
  const { results } = await ask(on({
    prompts: [{ clean: FACT.prompt, corrupt: FACT.corrupt }], method: { ablate: { targets: { together: CUT }, with: { resample: {} } } },
    metrics: ["kl_mean", "perplexity", "top1_changed"],
  }));
  const page = await open(surgery({ how: "resample", corrupt: FACT.corrupt }), { expected: /422/ });
  const kl = results.tables?.find(({ metric }) => metric === "kl_mean")?.values[0] ?? Number.NaN;
  await expect.poll(async () => (await numbers(page))[0], { timeout: 30_000 }).toBe(`${figure(kl)} nats`);
  expect(await page.getByText("Both models reading the prompt alone.").count()).toBe(1);
});

test("a token's own top five are shown under the pointer", async () => {
  const token = fresh((await written()).control)[3];
  const page = await open(surgery());
  await settled(page);
  await words(page, "Control").nth(3).hover();
  const rows = page.getByRole("tooltip").getByRole("list", { name: "Most probable here" }).getByRole("listitem");
  expect(await rows.locator(".value").allTextContents()).toEqual(token?.top.map(({ prob }) => percent(prob)));
  expect(await rows.locator(".name").allTextContents()).toEqual(token?.top.map(({ token }) => readable(token)));
});

test("a pressed token shows its logit lens in both runs", async () => {
  const { ablated } = await written();
  const at = ablated.findIndex((token) => !token.is_prompt) + 5;
  const lens = async (logit_lens: { cut?: string[]; with?: Replacement }): Promise<string> => {
    const record = await ask(on({
      prompts: [{ clean: ablated.slice(0, at).map(({ id }) => id), answers: [ablated[at]?.id ?? 0] }], method: { logit_lens }, metrics: ["prob"],
    }));
    const { axes, values } = table(record, "prob", "value");
    const n = axes[1]?.labels.length ?? 0;
    return (axes[0]?.labels ?? []).map((layer, i) => `${layer} ${percent(values[i * n + n - 1] ?? Number.NaN)}`).join(", ");
  };
  const [control, cut] = [await lens({}), await lens({ cut: CUT, with: "zero" })];
  const page = await open(surgery());
  await settled(page);
  await words(page, "Cut").nth(5).click();
  await expect.poll(() => page.locator(".lensplot figcaption").textContent(), { timeout: 30_000 }).toBe(`Control: ${control}. Cut: ${cut}. `);
  expect(await page.locator(".panel.lens h2").textContent()).toBe(`Logit lens of ${readable(ablated[at]?.token ?? "")}`);
});

test("the text is written token by token", async () => {
  const [before, after] = [8, 90];
  const page = await open(place("surgery", { prompt: FACT.prompt, length: String(before) }));
  await settled(page);
  // So slow a line that the text comes in pieces however fast it is generated and however seldom the page is drawn.
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: 16 * 1024, uploadThroughput: -1 });
  // Its lengths as the page draws them.
  await page.evaluate(() => {
    const seen: number[] = [];
    Object.assign(window, { seen });
    const look = (): void => void seen.push(document.querySelectorAll(".generated .word").length);
    new MutationObserver(look).observe(document.querySelector(".reading") as Element, { childList: true, subtree: true });
  });
  await page.getByLabel("Length").fill(String(after));
  await expect.poll(() => words(page, "Control").count(), { timeout: 60_000 }).toBe(after);
  const seen = await page.evaluate(() => (window as unknown as { seen: number[] }).seen);
  expect(seen.some((count) => count > before && count < after), `lengths seen: ${seen.join(" ")}`).toBe(true);
});

test.each<{ name: string; by: ImportanceBy }>([
  { name: "Gradient", by: "gradient" }, { name: "L2 norm", by: "output_norm" }, { name: "Ablation KL", by: "ablation_kl" },
])("importance by $name is the API's, and its top five are cut", async ({ name, by }) => {
  const { axes, values } = (await ask(on({ prompts: [{ clean: FACT.prompt }], method: { importance: { by } } }))).results.tables?.[0] ?? { axes: [], values: [] };
  const n = axes[1]?.labels.length ?? 0;
  const expected = values.map((value, i) => `L${Math.floor(i / n)}H${i % n}, importance ${brief(value ?? Number.NaN)}`);
  const page = await open(place("surgery", { prompt: FACT.prompt, length: "4" }));
  await page.getByRole("radio", { name, exact: true }).click();
  await expect.poll(async () => (await said(page.locator(".headgrid .cell"))).sort(), { timeout: 30_000 }).toEqual(expected.sort());
  await settled(page);
  await page.getByRole("button", { name: "Cut top 5" }).click();
  expect(await isCut(page)).toEqual(strongest(values, n, 5).sort());
});

test("by keyboard alone: to the grid, through it, a head cut, all mended", async () => {
  const page = await open(place("surgery", { prompt: FACT.prompt, length: "4" }));
  await settled(page);
  for (let i = 0; i < 40 && !(await page.evaluate(() => document.activeElement?.getAttribute("role") === "gridcell")); i++) await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement?.getAttribute("data-place"))).toBe("5,0");
  for (const key of ["ArrowDown", "ArrowDown", "ArrowRight"]) await page.keyboard.press(key);
  await page.keyboard.press("Space");
  expect(await isCut(page)).toEqual(["L3H1"]);
  await page.keyboard.press("Shift+Enter");
  expect(await isCut(page)).toEqual(["L3H0", "L3H1", "L3H2", "L3H3"]);
  await page.keyboard.press("Escape");
  expect(await isCut(page)).toEqual([]);
});

test("a click cuts a head and mends it; dragging cuts what it passes", async () => {
  const page = await open(place("surgery", { prompt: FACT.prompt, length: "4" }));
  await settled(page);
  await cell(page, "L2H1").click();
  expect(await isCut(page)).toEqual(["L2H1"]);
  await cell(page, "L2H1").click();
  expect(await isCut(page)).toEqual([]);
  await cell(page, "L4H0").hover();
  await page.mouse.down();
  await cell(page, "L4H2").hover();
  await cell(page, "L2H2").hover();
  await page.mouse.up();
  expect(await isCut(page)).toEqual(["L2H2", "L3H2", "L4H0", "L4H1", "L4H2"]);
  expect((await state(page, "cut"))?.split(",").sort()).toEqual(["L2H2", "L3H2", "L4H0", "L4H1", "L4H2"]);
});

test("shift-click cuts a row, alt-click a column", async () => {
  const page = await open(place("surgery", { prompt: FACT.prompt, length: "4" }));
  await settled(page);
  await cell(page, "L1H2").click({ modifiers: ["Shift"] });
  expect(await isCut(page)).toEqual(["L1H0", "L1H1", "L1H2", "L1H3"]);
  await page.getByRole("button", { name: "Clear" }).click();
  await cell(page, "L1H2").click({ modifiers: ["Alt"] });
  expect(await isCut(page)).toEqual(["L0H2", "L1H2", "L2H2", "L3H2", "L4H2", "L5H2"]);
});
