// Attention: patterns of all heads, one of them large, and head scores are what the API says.

import { expect, inject, test } from "vitest";
import { parseSafetensors } from "../src/api/safetensors";
import type { Tokens } from "../src/api/schema";
import { exact, percent, plain } from "../src/components/number";
import { readable } from "../src/components/TokenText";
import { ask, on, table } from "./api";
import { open, place, state, useBrowser } from "./browser";
import { heatmap, readCells } from "./grid";
import { FACT } from "./prompts";
import { settled } from "./settled";

useBrowser();

async function patterns(prompt: string): Promise<{ labels: string[]; of: (layer: number, head: number) => Float32Array }> {
  const response = await fetch(`${inject("server")}/api/attention`, {
    method: "POST", headers: { "Content-Type": "application/json", Accept: "application/safetensors" }, body: JSON.stringify({ model: "demo", prompt }),
  });
  const { tensors, metadata } = parseSafetensors(await response.arrayBuffer());
  const { labels } = JSON.parse(metadata["tokens"] ?? "{}") as Tokens;
  const { shape, data } = tensors.get("pattern") ?? { shape: [], data: new Float32Array() };
  const size = labels.length ** 2;
  return { labels, of: (layer, head) => data.subarray((layer * (shape[1] ?? 0) + head) * size, (layer * (shape[1] ?? 0) + head + 1) * size) };
}

const scores = () => ask(on({ prompts: [], method: { head_scores: {} } }));

test("the large head's pattern is the API's, and the thumbnails choose it", async () => {
  const { labels, of } = await patterns(FACT.prompt);
  const n = labels.length;
  const page = await open(place("attention", { prompt: FACT.prompt, head: "L1H2" }));
  await settled(page);
  await page.getByRole("radio", { name: "L3H1" }).click();
  const pattern = of(3, 1);
  const expected = Array.from(pattern, (weight, cell) => {
    const [query, key] = [Math.floor(cell / n), cell % n];
    const [from, to] = [`${readable(labels[query] ?? "")} ${query}`, `${readable(labels[key] ?? "")} ${key}`];
    return key > query ? `${from} cannot see ${to}, which comes later` : `${from} looks at ${to}: ${exact(weight)}`;
  });
  expect(await readCells(heatmap(page, /^Attention of L3H1/), { topDown: true })).toEqual(expected);
  await page.getByRole("radio", { name: "L3H1" }).press("ArrowUp");
  await heatmap(page, /^Attention of L4H1/).waitFor();
});

test("every thumbnail is drawn, and no two patterns are the same picture", async () => {
  const page = await open(place("attention", { prompt: FACT.prompt }));
  await settled(page);
  const pictures = await page.locator(".thumb canvas").evaluateAll((all) => all.map((canvas) => (canvas as HTMLCanvasElement).toDataURL()));
  expect(new Set(pictures).size).toBe(24);
});

test("a token kept on shows where it looks, with the API's weights", async () => {
  const { labels, of } = await patterns(FACT.prompt);
  const n = labels.length;
  const page = await open(place("attention", { prompt: FACT.prompt, head: "L1H2" }));
  await settled(page);
  const grid = heatmap(page, /^Attention of L1H2/);
  await grid.focus();
  for (let i = 1; i < n; i++) await grid.press("ArrowDown");
  await grid.press("Enter");
  const looks = Array.from({ length: n }, (_, key) => ({ key, weight: of(1, 2)[(n - 1) * n + key] ?? Number.NaN }))
    .sort((a, b) => b.weight - a.weight).slice(0, 4);
  const rows = page.getByRole("list", { name: "Where it looks most" }).getByRole("listitem");
  expect(await rows.locator(".value").allTextContents()).toEqual(looks.map(({ weight }) => percent(weight)));
  expect(await rows.locator(".name").allTextContents()).toEqual(looks.map(({ key }) => `${readable(labels[key] ?? "")} ${key}`));
});

test("head scores are the API's, in each role", async () => {
  const record = await scores();
  const page = await open(place("attention", { prompt: FACT.prompt }));
  await settled(page);
  for (const [name, score, words] of [["Previous", "previous_token", "previous token"], ["Duplicate", "duplicate_token", "duplicate token"], ["Induction", "induction", "induction"]] as const) {
    await page.getByRole("radio", { name, exact: true }).click();
    const { axes, values } = table(record, score, "value");
    const n = axes[1]?.labels.length ?? 0;
    const expected = values.map((value, cell) => ({ value: value ?? 0, name: `L${Math.floor(cell / n)}H${cell % n}` }))
      .sort((a, b) => b.value - a.value).slice(0, 5);
    const rows = page.getByRole("list", { name: `Heads by ${words} score` }).getByRole("listitem");
    expect(await rows.locator(".name").allTextContents()).toEqual(expected.map(({ name }) => name));
    expect(await rows.locator(".value").allTextContents()).toEqual(expected.map(({ value }) => plain(value)));
  }
});

test("a head is taken along to Surgery", async () => {
  const page = await open(place("attention", { prompt: FACT.prompt, head: "L4H3", length: "4" }));
  await settled(page);
  await page.getByRole("button", { name: "Cut in Surgery" }).click();
  await settled(page);
  expect(await state(page, "view")).toBe("surgery");
  expect(await page.locator('.headgrid [aria-selected="true"]').getAttribute("aria-label")).toContain("L4H3, cut");
});
