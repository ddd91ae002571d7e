// Patching: every layout's grid, the strongest patches and several patched at once are what the API says.

import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import type { ExperimentRecord, Patch, RunReport } from "../src/api/schema";
import { duration, exact, percent, plain } from "../src/components/number";
import { readable } from "../src/components/TokenText";
import { ask, on, table } from "./api";
import { open, place, state, useBrowser } from "./browser";
import { heatmap, readCells } from "./grid";
import { FACT, NAMES } from "./prompts";
import { settled } from "./settled";

useBrowser();

const RESIDUAL: Patch = { site: "resid_pre", by: "layer_position", direction: "denoise" };

function patched(patch: Patch, { prompt, corrupt, target, foil }: typeof FACT | typeof NAMES = FACT): Promise<ExperimentRecord> {
  return ask(on({
    prompts: [{ clean: prompt, corrupt, answers: [target], wrong_answers: [foil] }], method: { patch }, metrics: ["logit_diff", "prob"],
  }));
}

/** The cells of a layout in words, row by row: what is recovered, and what it is recovered to. */
function cells(record: ExperimentRecord, metric = "logit_diff"): string[] {
  const recovered = table(record, metric, "recovery");
  const value = table(record, metric, "value");
  const tokens = record.results.prompts[0]?.clean.labels ?? [];
  const [layers, second, heads] = recovered.axes;
  const n = second?.labels.length ?? 0;
  const at = (pos: number): string => `at ${readable(tokens[pos] ?? "")} ${pos}`;
  if (heads) {
    // Over layers, positions and heads: the grid has a row for each head.
    const h = heads.labels.length;
    return (layers?.labels ?? []).flatMap((layer, l) => heads.labels.flatMap((head, k) => Array.from({ length: n }, (_, pos) =>
      `${layer}${head} ${at(pos)}: ${exact(recovered.values[(l * n + pos) * h + k] ?? Number.NaN)} recovered`)));
  }
  return recovered.values.map((share, cell) => {
    const [row, column] = [Math.floor(cell / n), cell % n];
    const where = second?.name === "position" ? `L${row} ${at(column)}` : `L${row}H${column}`;
    return `${where}: ${exact(share ?? Number.NaN)} recovered, ${exact(value.values[cell] ?? Number.NaN)} ${value.unit} in the patched run`;
  });
}

const GRID = /, by /;
const note = (page: Page): Promise<string | null> => page.locator(".panel.main .note").textContent();

test.each<{ name: string; patch: Patch }>([
  { name: "Heads", patch: { site: "z", by: "head", direction: "denoise" } },
  { name: "Head × position", patch: { site: "z", by: "head_position", direction: "denoise" } },
  { name: "Residual × position", patch: RESIDUAL },
  { name: "Attention out", patch: { site: "attn_out", by: "layer_position", direction: "denoise" } },
  { name: "MLP out", patch: { site: "mlp_out", by: "layer_position", direction: "denoise" } },
])("the grid of $name is the API's", async ({ name, patch }) => {
  const record = await patched(patch);
  const page = await open(place("patching", FACT));
  await settled(page);
  await page.getByRole("radio", { name, exact: true }).click();
  await expect.poll(() => note(page), { timeout: 60_000 }).toBe(`${record.results.runs} runs, ${duration(record.elapsed_secs)}`);
  await settled(page);
  expect(await readCells(heatmap(page, GRID))).toEqual(cells(record));
});

test("the other direction, the raw value and the probability are the API's", async () => {
  const record = await patched({ ...RESIDUAL, direction: "noise" });
  const page = await open(place("patching", FACT));
  await settled(page);
  await page.getByRole("radio", { name: "Corrupt → clean" }).click();
  await expect.poll(() => note(page), { timeout: 60_000 }).toBe(`${record.results.runs} runs, ${duration(record.elapsed_secs)}`);
  await settled(page);
  expect(await readCells(heatmap(page, GRID))).toEqual(cells(record));
  await page.getByRole("radio", { name: "Value" }).click();
  await page.getByRole("radio", { name: "Probability" }).click();
  const tokens = record.results.prompts[0]?.clean.labels ?? [];
  const { values, unit } = table(record, "prob", "value");
  expect(await readCells(heatmap(page, GRID))).toEqual(values.map((value, cell) => {
    const pos = cell % tokens.length;
    return `L${Math.floor(cell / tokens.length)} at ${readable(tokens[pos] ?? "")} ${pos}: ${exact(value ?? Number.NaN)} ${unit}`;
  }));
});

test("the strongest patches are the API's", async () => {
  const record = await patched(RESIDUAL, NAMES);
  const { values } = table(record, "logit_diff", "recovery");
  const tokens = record.results.prompts[0]?.clean.labels ?? [];
  const n = tokens.length;
  const expected = values
    .map((value, cell) => ({ value: value ?? 0, name: `L${Math.floor(cell / n)} ${readable(tokens[cell % n] ?? "")} ${cell % n}` }))
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 8);
  const page = await open(place("patching", NAMES));
  await settled(page);
  const rows = page.locator(".stack .toplist li");
  expect(await rows.locator(".name").allTextContents()).toEqual(expected.map(({ name }) => name));
  expect(await rows.locator(".value").allTextContents()).toEqual(expected.map(({ value }) => plain(value)));
});

test("cells chosen by keyboard are patched in one run, with the API's tokens and metrics", async () => {
  const record = await patched({ site: "resid_pre", by: { layers: [2, 3] }, direction: "denoise", at: { at: [1, 5] } });
  const page = await open(place("patching", FACT));
  await settled(page);
  const grid = heatmap(page, GRID);
  await grid.focus();
  for (const key of ["ArrowUp", "ArrowUp", "ArrowRight", "Space", "ArrowUp", "End", "Control+Space"]) await grid.press(key);
  // One run patches every chosen layer at every chosen position.
  expect((await state(page, "patch"))?.split(",").sort()).toEqual(["L2@1", "L2@5", "L3@1", "L3@5"]);
  const here = page.getByRole("region", { name: "Patched here" });
  const top = here.getByRole("list", { name: "Next token, patched: most probable next tokens" }).getByRole("listitem");
  await top.first().waitFor();
  await settled(page);
  const run = (name: string): RunReport | undefined => record.results.prompts[0]?.runs.find((one) => one.name === name);
  expect(await top.locator(".name").allTextContents()).toEqual(run("patched")?.top.slice(0, 4).map(({ token }) => readable(token)));
  expect(await top.locator(".value").allTextContents()).toEqual(run("patched")?.top.slice(0, 4).map(({ prob }) => percent(prob)));
  for (const name of ["Clean", "Corrupt", "Patched"]) {
    const row = here.locator("tbody tr", { has: page.getByRole("rowheader", { name }) });
    expect(await row.locator("td").allTextContents()).toEqual(run(name.toLowerCase())?.metrics.map(({ value }) => plain(value)));
  }
});

test("prompts of different length are shown side by side and explained", async () => {
  const page = await open(place("patching", { ...FACT, corrupt: "The Rome is the capital of" }), { expected: /422/ });
  const told = page.getByRole("alert");
  await told.waitFor();
  expect(await told.textContent()).toContain("The prompts have 6 and 7 tokens.");
  expect(await told.textContent()).toContain("The corrupt prompt has 1 token more.");
  expect(await told.locator(".outline-for").allTextContents()).toEqual(["Paris"]);
  expect(await page.getByText("6 and 7 tokens: not aligned").count()).toBe(1);
  // The next step, taken: the same number of tokens.
  await page.getByRole("button", { name: /Edit the corrupt prompt/ }).click();
  await page.getByLabel("Corrupt prompt").fill(FACT.corrupt);
  await heatmap(page, GRID).waitFor();
  expect(await page.getByRole("alert").count()).toBe(0);
});

test("what is missing is asked for, and an example gives it", async () => {
  const page = await open(place("patching", { prompt: FACT.prompt, target: FACT.target }));
  await page.getByText("Type the corrupt prompt").waitFor();
  await page.getByRole("button", { name: "Indirect object" }).click();
  await settled(page);
  const { values } = table(await patched(RESIDUAL, NAMES), "logit_diff", "recovery");
  expect((await readCells(heatmap(page, GRID))).length).toBe(values.length);
});
