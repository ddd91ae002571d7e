// The page in every size and both themes: nothing scrolls that should not, and axe finds nothing serious.

import { describe, expect, test } from "vitest";
import { DESK, PHONE, open, place, seriousFindings, state, useBrowser } from "./browser";
import type { Look } from "./browser";
import { FACT, NAMES } from "./prompts";
import { settled } from "./settled";

useBrowser();

const VIEWS: readonly { view: string; at: string }[] = [
  { view: "surgery", at: place("surgery", { ...FACT, cut: "L0H3,L1H2" }) },
  { view: "ablation", at: place("ablation", { ...FACT, cut: "L0H3,L1H2" }) },
  { view: "ablation in pairs", at: place("ablation", { ...FACT, sweep: "pairs" }) },
  { view: "patching", at: place("patching", { ...FACT, patch: "L2@1" }) },
  { view: "lens", at: place("lens", { ...FACT, with: FACT.corrupt }) },
  { view: "attention", at: place("attention", { ...FACT, pos: "4" }) },
  { view: "attribution", at: place("attribution", { ...NAMES, part: "L2H1" }) },
  { view: "attribution by position", at: place("attribution", { ...NAMES, parts: "sources" }) },
  { view: "attribution by neuron", at: place("attribution", { ...NAMES, parts: "neurons" }) },
  { view: "attribution, estimated", at: place("attribution", { ...NAMES, attribution: "estimate", part: "L2@10" }) },
  { view: "neurons", at: place("neurons", NAMES) },
  { view: "features", at: place("features", NAMES) },
  { view: "features by what they do", at: place("features", { ...NAMES, listing: "worth", feature: "197" }) },
  { view: "steering", at: place("steering", { ...NAMES, length: "12" }) },
  { view: "circuit", at: place("circuit", { ...NAMES, node: "L1H2", pins: "L1H2", group: "first:L1H2" }) },
  { view: "circuit with an edge", at: place("circuit", { ...NAMES, edge: "a1.h2->a2.h1<v>" }) },
];

const LOOKS: readonly (Look & { name: string })[] = [
  { name: "light", ...DESK, theme: "light" }, { name: "dark", ...DESK, theme: "dark" },
  { name: "light at 360 px", ...PHONE, theme: "light" }, { name: "dark at 360 px", ...PHONE, theme: "dark" },
];

describe.each(LOOKS)("in $name", (look) => {
  test.each(VIEWS)("axe finds nothing serious in $view", async ({ at }) => {
    const page = await open(at, look);
    await settled(page);
    expect(await seriousFindings(page)).toEqual([]);
  });

  test("axe finds nothing serious in menus, empty states and errors", async () => {
    const page = await open(place("patching", { ...FACT, corrupt: "The Rome is the capital of" }), { ...look, expected: /422/ });
    await page.getByRole("alert").waitFor();
    await page.getByRole("button", { name: "Examples" }).click();
    expect(await seriousFindings(page)).toEqual([]);
    const empty = await open(place("ablation", { prompt: "" }), look);
    await empty.getByText("Type a prompt to see what each head is worth to it.").waitFor();
    expect(await seriousFindings(empty)).toEqual([]);
  });
});

test.each([LOOKS[0], LOOKS[3]] as Look[])("axe finds nothing serious in the page about the API, in $theme at $width px", async (look) => {
  const page = await open("/docs", look);
  await page.getByRole("heading", { level: 1 }).waitFor();
  expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBeLessThanOrEqual(0);
  expect(await seriousFindings(page)).toEqual([]);
});

test.each(VIEWS)("$view does not scroll at 1440 × 900", async ({ at }) => {
  const page = await open(at);
  await settled(page);
  const scrolls = await page.evaluate(() =>
    ["html", "main.view", ".panel.main", ".panel.heads", ".large", ".lines", ".panel .scroller"].filter((name) =>
      [...document.querySelectorAll(name)].some((element) => element.scrollHeight > element.clientHeight + 1 || element.scrollWidth > element.clientWidth + 1)));
  expect(scrolls).toEqual([]);
});

test.each(VIEWS)("$view never scrolls sideways", async ({ at }) => {
  const page = await open(at);
  await settled(page);
  for (const [width, height] of [[1920, 1080], [1180, 800], [900, 700], [768, 1024], [600, 900], [360, 780], [320, 640]] as const) {
    await page.setViewportSize({ width, height });
    await expect.poll(() => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), { message: `${width} × ${height}` }).toBeLessThanOrEqual(0);
  }
});

test("at 360 px every view is reached by the bar at the bottom and does its work", async () => {
  const page = await open(place("surgery", { ...FACT, length: "8" }), PHONE);
  await settled(page);
  const bar = page.getByRole("navigation", { name: "Views" });
  const box = await bar.boundingBox();
  expect(box && Math.round(box.y + box.height)).toBe(PHONE.height);
  await page.getByRole("gridcell", { name: /^L1H2/ }).tap();
  await page.locator(".word.first").or(page.getByText("the same text")).first().waitFor();
  expect(await state(page, "cut")).toBe("L1H2");
  for (const [name, ready] of [
    ["Ablation", ".heatmap canvas"], ["Patching", ".heatmap canvas"], ["Logit lens", ".heatmap canvas"], ["Attention", ".thumb canvas"], ["Attribution", ".heatmap canvas"], ["Circuit", ".circuitgraph .node"], ["Neurons", ".tokenheat"], ["Features", ".tokenheat"], ["Steering", ".generated"], ["Surgery", ".headgrid"],
  ] as const) {
    await bar.getByRole("link", { name }).tap();
    await page.locator(ready).first().waitFor();
    await settled(page);
    expect(await bar.getByRole("link", { name }).getAttribute("aria-current")).toBe("page");
  }
});

test("at 360 px cells keep their square and every control can be hit by a finger", async () => {
  const page = await open(place("surgery", { ...FACT, length: "8" }), PHONE);
  await settled(page);
  const cell = await page.getByRole("gridcell", { name: /^L1H2/ }).boundingBox();
  expect(Math.abs((cell?.width ?? 0) - (cell?.height ?? 1))).toBeLessThan(1);
  // WCAG 2.2 asks for 24 px.
  const small = await page.evaluate(() => [...document.querySelectorAll("button:not(.word), a, input")]
    .filter((element) => !element.closest(".hidden-text, .foot"))
    .map((element) => ({ name: element.textContent || element.getAttribute("aria-label"), ...element.getBoundingClientRect().toJSON() as DOMRect }))
    .filter(({ width, height }) => width > 0 && (width < 24 || height < 24)).map(({ name, width, height }) => `${name} ${width}×${height}`));
  expect(small).toEqual([]);
});
