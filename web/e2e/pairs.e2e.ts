// Ablation in pairs: every two heads, their interaction and the backups are what the API says.

import { expect, test } from "vitest";
import { exact, signed } from "../src/components/number";
import { ask, on, table } from "./api";
import { open, place, seriousFindings, state, useBrowser } from "./browser";
import { cellText, heatmap } from "./grid";
import { NAMES } from "./prompts";
import { settled } from "./settled";

useBrowser();

const PAIRS = place("ablation", { ...NAMES, sweep: "pairs" });
const GRID = /by head and head/;

const pairs = () => ask(on({
  prompts: [{ clean: NAMES.prompt, answers: [NAMES.target], wrong_answers: [NAMES.foil] }],
  method: { pairs: { with: "zero", at: "all" } }, metrics: ["logit_diff"],
}));

test("a cell tells the pair's interaction and its three effects", async () => {
  const record = await pairs();
  const [interaction, joint] = [table(record, "logit_diff", "interaction"), table(record, "logit_diff", "change")];
  const n = interaction.axes[1]?.labels.length ?? 0;
  const page = await open(PAIRS);
  await settled(page);
  const grid = heatmap(page, GRID);
  await grid.focus();
  await grid.press("Home");
  for (let step = 0; step < n; step++) await grid.press("ArrowDown");
  // The first row is the first head's: every other head is to its right.
  for (let step = 0; step < 5; step++) await grid.press("ArrowRight");
  const at = (table_: typeof joint, cell: number): string => signed(table_.values[cell] ?? Number.NaN);
  const value = interaction.values[5] ?? Number.NaN;
  expect(await cellText(grid)).toBe(
    `L0H0 with L1H1: ${value > 0 ? "+" : ""}${exact(value)} logits; both cut ${at(joint, 5)}, alone ${at(joint, 0)} and ${at(joint, 5 * n + 5)}`,
  );
  await grid.press("Enter");
  expect(await state(page, "cut")).toBe("L0H0,L1H1");
});

test("the backups are the API's, and pressing one cuts both heads together", async () => {
  const record = await pairs();
  const expected = (record.results.backups ?? []).slice(0, 8);
  expect(expected.length).toBeGreaterThan(0);
  const page = await open(PAIRS);
  await settled(page);
  const rows = page.getByRole("list", { name: "Backups" }).getByRole("listitem");
  expect(await rows.locator(".name").allTextContents()).toEqual(expected.map(({ backup, of }) => `${backup} for ${of}`));
  expect(await rows.locator(".value").allTextContents()).toEqual(expected.map(({ interaction }) => signed(interaction)));
  await rows.first().getByRole("button").click();
  await page.getByRole("region", { name: "Cut together" }).locator(".metrictable").waitFor();
  expect(await state(page, "cut")).toBe(`${expected[0]?.of},${expected[0]?.backup}`);
  expect(await seriousFindings(page)).toEqual([]);
});

test("one by one and in pairs are a click apart, and back goes back", async () => {
  const page = await open(place("ablation", NAMES));
  await settled(page);
  await page.getByRole("radio", { name: "In pairs" }).click();
  await heatmap(page, GRID).waitFor();
  await page.goBack();
  await heatmap(page, /by layer and head/).waitFor();
  expect(await state(page, "sweep")).toBeNull();
});
