// Logit lens: every cell, the chosen cell's five tokens and the curves are what the API says.

import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import type { ExperimentRecord } from "../src/api/schema";
import { exact, percent, plain } from "../src/components/number";
import { readable } from "../src/components/TokenText";
import { ofLens, topOf } from "../src/views/lens/lenses";
import type { Reading } from "../src/views/lens/lenses";
import { ask, on, table } from "./api";
import { open, place, state, useBrowser } from "./browser";
import { copied } from "./clipboard";
import { heatmap, readCells } from "./grid";
import { FACT } from "./prompts";
import { settled } from "./settled";

useBrowser();

const GRID = "Logit lens, by layer and position";
const TUNED_GRID = "Tuned lens, by layer and position";
const LENSES = ["logit", "tuned"] as const;

/** What both lenses read. */
function read(prompt: string): Promise<ExperimentRecord> {
  return ask(on({ prompts: [{ clean: prompt, answers: [FACT.target] }], method: { logit_lens: { tuned: "demo" } }, metrics: ["prob", "entropy", "rank", "kl"] }));
}

/** A table as one lens has it. */
const lensed = (record: ExperimentRecord, metric: string, reading: Reading) => ofLens(table(record, metric, "value"), reading);

const width = (record: ExperimentRecord): number => record.results.prompts[0]?.clean.labels.length ?? 0;

function cells(record: ExperimentRecord, reading: Reading = "logit"): string[] {
  const { lens, prompts } = record.results;
  const tokens = prompts[0]?.clean.labels ?? [];
  const value = (metric: string, cell: number): number => lensed(record, metric, reading).values[cell] ?? Number.NaN;
  return (lens?.layers ?? []).flatMap((layer, l) => tokens.map((token, pos) => {
    const cell = l * tokens.length + pos;
    const [top] = topOf(lens, reading, l, pos);
    const numbers: Readonly<Record<string, string>> = {
      top1_prob: `top ${exact(value("top1_prob", cell))}`, prob: `answer ${exact(value("prob", cell))}`,
      rank: `rank of the answer ${plain(value("rank", cell))}`, entropy: `entropy ${exact(value("entropy", cell))} nats`,
      kl: `kl ${exact(value("kl", cell))} nats`,
    };
    const told = (record.results.tables ?? []).flatMap(({ metric }) => numbers[metric] ?? []).join(", ");
    return `${layer} at ${readable(token)} ${pos}: says ${readable(top?.token ?? "")} ${percent(top?.prob ?? Number.NaN)}; ${told}`;
  }));
}

async function card(page: Page): Promise<{ title: string | null; names: string[]; values: string[]; facts: string[] }> {
  const panel = page.getByRole("region", { name: "Chosen cell" });
  const rows = panel.getByRole("listitem");
  return {
    title: await panel.locator("h2").textContent(), names: await rows.locator(".name").allTextContents(),
    values: await rows.locator(".value").allTextContents(), facts: await panel.locator("dd").allTextContents(),
  };
}

/** What the card of a cell should say, of the logit lens and then of the tuned one. */
function expectedCard(record: ExperimentRecord, layer: number, pos: number): Awaited<ReturnType<typeof card>> {
  const { lens, prompts } = record.results;
  const top = LENSES.flatMap((reading) => topOf(lens, reading, layer, pos));
  return {
    title: `${lens?.layers[layer]} after ${readable(prompts[0]?.clean.labels[pos] ?? "")}`,
    names: top.map(({ token }) => readable(token)), values: top.map(({ prob }) => percent(prob)),
    facts: LENSES.flatMap((reading) => {
      const value = (metric: string): number => lensed(record, metric, reading).values[layer * width(record) + pos] ?? Number.NaN;
      return [percent(value("prob")), plain(value("rank")), `${plain(value("entropy"))} nats`, `${plain(value("kl"))} nats`];
    }),
  };
}

/** What is drawn of a prompt at its last position by one lens, and how the plot says it. */
function curve(record: ExperimentRecord, metric: string, reading: Reading): { values: number[]; said: (told: (value: number) => string) => string } {
  const { axes, values } = lensed(record, metric, reading);
  const n = width(record);
  const layers = axes[0]?.labels ?? [];
  const drawn = layers.map((_, i) => values[i * n + n - 1] ?? Number.NaN);
  return { values: drawn, said: (told) => `${reading} lens: ${layers.map((layer, i) => `${layer} ${told(drawn[i] ?? Number.NaN)}`).join(", ")}` };
}

test("every cell is the API's, by whatever it is coloured", async () => {
  const record = await read(FACT.prompt);
  const page = await open(place("lens", FACT));
  await settled(page);
  expect(await readCells(heatmap(page, GRID))).toEqual(cells(record));
  for (const name of ["Answer probability", "Entropy", "Answer rank", "KL to the output"]) {
    await page.getByRole("radio", { name, exact: true }).click();
    expect(await page.locator(".legend .line").textContent()).toContain(name);
  }
});

test("the card follows the arrow keys with the API's tokens", async () => {
  const record = await read(FACT.prompt);
  const page = await open(place("lens", FACT));
  await settled(page);
  expect(await card(page)).toEqual(expectedCard(record, 6, width(record) - 1));
  const grid = heatmap(page, GRID);
  await grid.focus();
  for (const key of ["ArrowDown", "ArrowDown", "ArrowLeft"]) await grid.press(key);
  await expect.poll(() => card(page)).toEqual(expectedCard(record, 4, width(record) - 2));
});

test("curves of several prompts are the API's", async () => {
  const page = await open(place("lens", FACT));
  await settled(page);
  await page.getByRole("button", { name: "Add corrupt" }).click();
  await page.getByLabel("Another prompt").fill("Berlin is the capital of");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  const prompts = [FACT.prompt, FACT.corrupt, "Berlin is the capital of"];
  const curves = await Promise.all(prompts.map(async (prompt) => {
    const record = await read(prompt);
    return LENSES.map((reading) => curve(record, "prob", reading));
  }));
  const list = page.getByRole("list", { name: "Prompts drawn" }).getByRole("listitem");
  await expect.poll(() => list.locator(".soft").allTextContents(), { timeout: 30_000 }).toEqual(curves.map((of) => of.map(({ values }) => percent(values.at(-1) ?? Number.NaN)).join(" · ")));
  const caption = await page.locator(".lineplot figcaption").textContent();
  for (const { said } of curves.flat()) expect(caption).toContain(said(percent));
  await page.getByRole("button", { name: `Remove ${FACT.corrupt}` }).click();
  await expect.poll(() => list.count()).toBe(2);
});

test("contributions are the API's, and sum to the difference that the model makes", async () => {
  const record = await ask(on({
    prompts: [{ clean: FACT.prompt, answers: [FACT.target], wrong_answers: [FACT.foil] }], method: { logit_lens: { rows: "contributions" } }, metrics: ["logit_diff"],
  }));
  const { axes, values } = table(record, "logit_diff", "change");
  const page = await open(place("lens", FACT));
  await settled(page);
  await page.getByRole("radio", { name: "contributions" }).click();
  await settled(page);
  const n = width(record);
  const told = (await readCells(heatmap(page, GRID))).filter((_, cell) => cell % n === n - 1);
  const last = (axes[0]?.labels ?? []).map((_, row) => values[row * n + n - 1] ?? Number.NaN);
  last.forEach((value, row) => expect(told[row]).toContain(`logit_diff ${value < 0 ? "" : "+"}${exact(value)} logits`));
  const whole = await ask(on({ prompts: [{ clean: FACT.prompt, answers: [FACT.target], wrong_answers: [FACT.foil] }], method: "measure", metrics: ["logit_diff"] }));
  const model = whole.results.prompts[0]?.runs[0]?.metrics[0]?.value ?? Number.NaN;
  expect(Math.abs(last.reduce((a, b) => a + b, 0) - model)).toBeLessThan(1e-3);
  // The norm that would not sum is not offered.
  expect(await page.getByRole("radio", { name: "own scale" }).isDisabled()).toBe(true);
});

test("beside another prompt the cells are the difference, and the address keeps what is shown", async () => {
  const record = await ask(on({ prompts: [{ clean: FACT.prompt, corrupt: FACT.corrupt, answers: [FACT.target] }], method: { logit_lens: { norm: "none" } }, metrics: ["prob"] }));
  const { values } = table(record, "prob", "change");
  const page = await open(`${place("lens", { ...FACT, metric: "prob" })}&compare=corrupt&norm=bare`);
  await settled(page);
  const told = await readCells(heatmap(page, GRID));
  values.forEach((value, cell) => expect(told[cell]).toContain(`prob ${(value ?? 0) < 0 ? "" : "+"}${exact(value ?? Number.NaN)}`));
  expect(await page.getByRole("list", { name: "Most probable next tokens of the corrupt prompt's cell" }).count()).toBe(1);
  await page.getByRole("radio", { name: "this prompt" }).click();
  expect(page.url()).not.toContain("compare");
});

test("without an answer the lens still reads, and says what an answer would add", async () => {
  const page = await open(place("lens", { prompt: FACT.prompt }));
  await settled(page);
  expect(await page.getByRole("radio", { name: "Answer rank" }).isDisabled()).toBe(true);
  expect(await page.getByText("Give an answer to draw its probability layer by layer.").count()).toBe(1);
  expect((await readCells(heatmap(page, GRID)))[0]).toMatch(/^embed at BOS 0: says .*; entropy [\d.]+ nats, top [\d.]+, kl [\d.]+ nats$/);
});

test("the tuned lens stands beside the logit lens: a grid to switch, curves in one plot, tokens of both, and the address and the command say so", async () => {
  const record = await read(FACT.prompt);
  const page = await open(place("lens", FACT));
  await settled(page);
  await page.getByRole("radio", { name: "tuned lens" }).click();
  expect(await state(page, "tuned")).toBe("demo");
  expect(await readCells(heatmap(page, TUNED_GRID))).toEqual(cells(record, "tuned"));
  expect(cells(record, "tuned"), "it is another lens").not.toEqual(cells(record));
  expect(await card(page)).toEqual(expectedCard(record, 6, width(record) - 1));
  await page.getByRole("radiogroup", { name: "Curves of" }).getByRole("radio", { name: "KL" }).click();
  const nats = (value: number): string => `${plain(value)} nats`;
  const [logit, tuned] = LENSES.map((reading) => curve(record, "kl", reading));
  await expect.poll(() => page.locator(".lineplot figcaption").textContent()).toContain(logit?.said(nats));
  expect(await page.locator(".lineplot figcaption").textContent()).toContain(tuned?.said(nats));
  // What it is there for: nearer the output from the embedding on.
  expect(tuned?.values[1]).toBeLessThan(logit?.values[1] ?? 0);
  const names = page.getByRole("list", { name: "Lenses drawn" }).getByRole("listitem");
  expect(await names.allTextContents()).toEqual(["logit lens", "tuned lens"]);
  expect(await names.locator(".stroke").evaluateAll((all) => all.map((one) => getComputedStyle(one).borderTopStyle)), "told apart without colour").toEqual(["solid", "dashed"]);
  expect(await copied(page, "Command")).toContain("--tuned demo");
  await page.reload();
  await settled(page);
  expect(await page.getByRole("radio", { name: "tuned lens" }).getAttribute("aria-checked")).toBe("true");
  expect([await state(page, "tuned"), await state(page, "curve")]).toEqual(["demo", "kl"]);
  await page.getByRole("radio", { name: "logit lens" }).click();
  expect(await readCells(heatmap(page, GRID))).toEqual(cells(record));
  // Translators read layers, each with its own scale.
  await page.getByRole("radio", { name: "sublayers" }).click();
  await settled(page);
  expect(await page.getByRole("radio", { name: "tuned lens" }).isDisabled()).toBe(true);
  expect(await page.getByRole("list", { name: "Lenses drawn" }).count()).toBe(0);
});

test("where no tuned lens is open it says how to get one", async () => {
  const page = await open(`${place("lens", FACT)}&tuned=demo`);
  await page.route("**/api/models/demo", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json() as object), tuned_lenses: [] } });
  });
  await page.reload();
  await settled(page);
  await page.getByText("No tuned lens is open beside this model").waitFor();
  expect(await page.getByRole("radio", { name: "tuned lens" }).count()).toBe(0);
  expect(await readCells(heatmap(page, GRID))).toEqual(cells(await read(FACT.prompt)));
  expect((await card(page)).names.length, "the tokens of one lens").toBe(5);
});
