// Ablation: the sweep, its ten strongest heads, and heads cut together are what the API says.

import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import type { Ablate, ExperimentRecord, RunReport, Table } from "../src/api/schema";
import { duration, exact, percent, plain, signed } from "../src/components/number";
import { readable } from "../src/components/TokenText";
import { ask, on, table } from "./api";
import { open, place, state, useBrowser } from "./browser";
import { heatmap, readCells } from "./grid";
import { FACT } from "./prompts";
import { settled } from "./settled";

useBrowser();

const METRICS = ["logit_diff", "prob", "rank", "margin", "entropy", "kl"];

function cut(ablate: Partial<Ablate> = {}, corrupt?: string): Promise<ExperimentRecord> {
  return ask(on({
    prompts: [{ clean: FACT.prompt, answers: [FACT.target], wrong_answers: [FACT.foil], ...(corrupt ? { corrupt } : {}) }],
    method: { ablate: { targets: "heads", with: "zero", at: "all", ...ablate } }, metrics: METRICS,
  }));
}

/** The cells of a metric in words: the change, and the value it is a change to. */
function cells(record: ExperimentRecord, metric: string): string[] {
  const after = table(record, metric, "value");
  const shown = metric === "kl" ? after : table(record, metric, "change");
  const n = shown.axes[1]?.labels.length ?? 0;
  return shown.values.map((value, cell) => {
    const number = value ?? Number.NaN;
    const name = `L${Math.floor(cell / n)}H${cell % n}`;
    if (shown === after) return `${name}: ${exact(number)} ${shown.unit}`;
    return `${name}: ${number > 0 ? "+" : ""}${exact(number)} ${shown.unit}, ${exact(after.values[cell] ?? Number.NaN)} when cut`;
  });
}

function strongestTen({ axes, values }: Table): [string, string][] {
  const n = axes[1]?.labels.length ?? 0;
  return values
    .map((value, cell) => ({ value: value ?? 0, name: `L${Math.floor(cell / n)}H${cell % n}` }))
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 10)
    .map(({ name, value }) => [name, signed(value)]);
}

async function listed(page: Page): Promise<[string, string][]> {
  const rows = await page.getByRole("list", { name: "Strongest heads" }).getByRole("listitem").all();
  return Promise.all(rows.map(async (row): Promise<[string, string]> =>
    [(await row.locator(".name").textContent()) ?? "", (await row.locator(".value").textContent()) ?? ""]));
}

const GRID = /by layer and head/;
const note = (page: Page): Promise<string | null> => page.locator(".panel.main .note").textContent();

test("every metric's heatmap is the API's, one click away from the others", async () => {
  const record = await cut();
  const page = await open(place("ablation", FACT));
  await settled(page);
  expect(await note(page)).toBe(`${record.results.runs} runs, ${duration(record.elapsed_secs)}`);
  const names = { logit_diff: "Logit difference", prob: "Probability", rank: "Rank", margin: "Margin", entropy: "Entropy", kl: "KL" };
  let asked = 0;
  page.on("request", (request) => (asked += request.method() === "POST" ? 1 : 0));
  for (const [metric, name] of Object.entries(names)) {
    await page.getByRole("radio", { name, exact: true }).click();
    expect(await readCells(heatmap(page, GRID)), name).toEqual(cells(record, metric));
  }
  expect(asked, "requests made by switching").toBe(0);
});

test("the ten strongest heads are the API's", async () => {
  const record = await cut();
  const page = await open(place("ablation", FACT));
  await settled(page);
  expect(await listed(page)).toEqual(strongestTen(table(record, "logit_diff", "change")));
});

test.each<{ name: string; ablate: Partial<Ablate>; set: (page: Page) => Promise<void>; corrupt?: string }>([
  { name: "by their mean", ablate: { with: { mean: {} } }, set: (page) => page.getByRole("radio", { name: "Mean" }).click() },
  { name: "by another prompt", ablate: { with: { resample: {} } }, set: (page) => page.getByRole("radio", { name: "Resample" }).click(), corrupt: FACT.corrupt },
  { name: "by the layer below", ablate: { with: "previous" }, set: (page) => page.getByRole("radio", { name: "Previous layer" }).click() },
  { name: "at the last position", ablate: { at: "last" }, set: (page) => page.getByRole("radio", { name: "Last", exact: true }).click() },
  { name: "with a token held", ablate: { clamp: " France" }, set: (page) => page.getByLabel("Hold").fill(" France") },
])("heads replaced $name give the API's numbers", async ({ ablate, set, corrupt }) => {
  const record = await cut(ablate, corrupt);
  const page = await open(place("ablation", FACT));
  await settled(page);
  await set(page);
  await expect.poll(() => note(page), { timeout: 30_000 }).toBe(`${record.results.runs} runs, ${duration(record.elapsed_secs)}`);
  await settled(page);
  expect(await readCells(heatmap(page, GRID))).toEqual(cells(record, "logit_diff"));
});

test("heads cut together show the API's tokens and metrics, before and after", async () => {
  const record = await cut({ targets: { together: ["L1H2", "L0H3"] } });
  const page = await open(place("ablation", FACT));
  await settled(page);
  const list = page.getByRole("list", { name: "Strongest heads" });
  await list.getByRole("button", { name: /L1H2/ }).click();
  await list.getByRole("button", { name: /L0H3/ }).click({ modifiers: ["Control"] });
  await settled(page);
  const together = page.getByRole("region", { name: "Cut together" });
  await together.locator(".metrictable").waitFor();
  const run = (name: string): RunReport | undefined => record.results.prompts[0]?.runs.find((one) => one.name === name);
  for (const [title, name] of [["Next token before", "clean"], ["After", "ablated"]] as const) {
    const rows = together.getByRole("list", { name: `${title}: most probable next tokens` }).getByRole("listitem");
    const top = run(name)?.top.slice(0, 5) ?? [];
    expect(await rows.locator(".name").allTextContents()).toEqual(top.map(({ token }) => readable(token)));
    expect(await rows.locator(".value").allTextContents()).toEqual(top.map(({ prob }) => percent(prob)));
  }
  for (const [title, name] of [["Before", "clean"], ["After", "ablated"]] as const) {
    const row = together.locator("tbody tr", { has: page.getByRole("rowheader", { name: title }) });
    expect(await row.locator("td").allTextContents()).toEqual(run(name)?.metrics.map(({ value }) => plain(value)));
  }
});

test("heads are chosen in the heatmap by keyboard: one, one more, a row, and given up", async () => {
  const page = await open(place("ablation", FACT));
  await settled(page);
  const grid = heatmap(page, GRID);
  await grid.focus();
  await grid.press("ArrowUp");
  await grid.press("ArrowRight");
  await grid.press("Space");
  expect(await chosen(page)).toEqual(["L1H1"]);
  await grid.press("ArrowRight");
  await grid.press("Control+Space");
  expect(await chosen(page)).toEqual(["L1H1", "L1H2"]);
  await grid.press("Control+Enter");
  expect(await chosen(page), "after running the view").toEqual(["L1H1", "L1H2"]);
  await page.getByRole("button", { name: "Give up L1H1" }).click();
  expect(await chosen(page)).toEqual(["L1H2"]);
  await grid.press("Shift+Space");
  expect(await chosen(page)).toEqual(["L1H0", "L1H1", "L1H2", "L1H3"]);
});

test("heads are chosen in the heatmap by pointer: one, a block, a row and a column by their labels", async () => {
  const page = await open(place("ablation", FACT));
  await settled(page);
  // Cells are spread evenly between the layers' labels on the left and the heads' labels below.
  const box = await heatmap(page, GRID).locator("canvas").boundingBox();
  if (!box) throw new Error("the heatmap cannot be seen");
  const [left, low] = [28, 22];
  const spot = (layer: number, head: number): [number, number] => [
    head < 0 ? box.x + left / 2 : box.x + left + ((head + 0.5) * (box.width - left)) / 4,
    layer < 0 ? box.y + box.height - low / 2 : box.y + ((5.5 - layer) * (box.height - low)) / 6,
  ];
  await page.mouse.click(...spot(2, 3));
  expect(await chosen(page)).toEqual(["L2H3"]);
  expect((await page.getByRole("tooltip").textContent())?.slice(0, 5)).toBe("L2H3:");
  await page.mouse.move(...spot(4, 1));
  await page.mouse.down();
  await page.mouse.move(...spot(3, 2));
  await page.mouse.up();
  expect(await chosen(page)).toEqual(["L3H1", "L3H2", "L4H1", "L4H2"]);
  await page.mouse.click(...spot(0, -1));
  expect(await chosen(page)).toEqual(["L0H0", "L0H1", "L0H2", "L0H3"]);
  await page.mouse.click(...spot(-1, 2));
  expect(await chosen(page)).toEqual(["L0H2", "L1H2", "L2H2", "L3H2", "L4H2", "L5H2"]);
});

const chosen = async (page: Page): Promise<string[] | undefined> => (await state(page, "cut"))?.split(",").sort();
