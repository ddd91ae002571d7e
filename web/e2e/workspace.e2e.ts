// What all views have in common: the first visit, examples, the address, undo, themes.

import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import type { Example } from "../src/api/schema";
import { get } from "./api";
import { open, place, state, useBrowser } from "./browser";
import { heatmap } from "./grid";
import { FACT } from "./prompts";
import { settled } from "./settled";

useBrowser();

const examples = async (): Promise<Example[]> => (await get<{ examples: Example[] }>("/api/examples")).examples;
const prompt = (page: Page): Promise<string> => page.getByLabel("Prompt", { exact: true }).inputValue();
const view = (page: Page, name: string): Promise<void> => page.getByRole("navigation", { name: "Views" }).getByRole("link", { name }).click();

test("the first visit shows a finished result on the first example", async () => {
  const [first] = await examples();
  const page = await open("/");
  await settled(page);
  expect(await prompt(page)).toBe(first?.prompt);
  expect(await page.getByRole("group", { name: "Control text" }).getByRole("button").first().textContent()).toBe(first?.target.replace(" ", "·"));
  expect(await page.locator(".headgrid .cell .value").count(), "values printed in the grid").toBe(5);
  expect(await page.title()).toBe("Surgery · Microtome");
});

test("the first visit to any view shows a finished result", async () => {
  for (const [name, label] of [["ablation", /by layer and head/], ["patching", /, by layer and position/], ["lens", /Logit lens/], ["attention", /Attention of/]] as const) {
    const page = await open(`/?view=${name}`);
    await settled(page);
    expect(await heatmap(page, label).count(), name).toBe(1);
  }
});

test("every example can be chosen, and brings its prompt and its answers", async () => {
  const page = await open(place("ablation", FACT));
  await settled(page);
  for (const { title, prompt: expected, target, foil } of await examples()) {
    await page.getByRole("button", { name: "Examples" }).click();
    await page.getByRole("menuitem").filter({ has: page.getByText(title, { exact: true }) }).click();
    expect(await prompt(page)).toBe(expected);
    expect(await page.getByLabel("Answer").inputValue()).toBe(target);
    expect(await page.getByLabel("Not").inputValue()).toBe(foil ?? "");
    await settled(page);
    expect(await page.locator(".headchips").count()).toBe(0);
  }
});

test("back and forward go through view, prompt and selection", async () => {
  const page = await open(place("ablation", FACT));
  await settled(page);
  await page.getByRole("list", { name: "Strongest heads" }).getByRole("button").first().click();
  const cut = await state(page, "cut");
  expect(cut).not.toBeNull();
  await view(page, "Logit lens");
  await page.getByRole("button", { name: "Examples" }).click();
  await page.getByRole("menuitem", { name: "Induction" }).click();
  const other = await prompt(page);
  expect(other).not.toBe(FACT.prompt);

  await page.goBack();
  await expect.poll(() => prompt(page)).toBe(FACT.prompt);
  expect(await state(page, "view")).toBe("lens");
  await page.goBack();
  await page.getByRole("region", { name: "Cut together" }).waitFor();
  expect([await state(page, "view"), await state(page, "cut")]).toEqual(["ablation", cut]);
  await page.goBack();
  await expect.poll(() => state(page, "cut")).toBeNull();
  await settled(page);
  expect(await page.getByText("Click heads in the grid to cut them in one run.").count()).toBe(1);
  for (let i = 0; i < 3; i++) await page.goForward();
  await expect.poll(() => prompt(page)).toBe(other);
  await settled(page);
});

test("an address opened elsewhere shows the same", async () => {
  const page = await open(place("ablation", { ...FACT, cut: "L1H2", metric: "rank", how: "mean", at: "last" }));
  await settled(page);
  for (const name of ["Rank", "Mean", "Last"]) expect(await page.getByRole("radio", { name, exact: true }).getAttribute("aria-checked"), name).toBe("true");
  expect(await page.getByRole("list", { name: "Chosen heads" }).getByRole("link", { name: "L1H2", exact: true }).count()).toBe(1);
  await page.getByRole("button", { name: "Share" }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(await page.evaluate(() => window.location.href));
});

test("what was done is undone and done again by keyboard", async () => {
  const page = await open(place("surgery", { prompt: FACT.prompt, length: "4" }));
  await settled(page);
  await page.getByRole("gridcell", { name: /^L5H0/ }).press("Space");
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Space");
  expect(await state(page, "cut")).toBe("L5H0,L5H1");
  await page.keyboard.press("Control+z");
  await expect.poll(() => state(page, "cut")).toBe("L5H0");
  await page.keyboard.press("Control+z");
  await expect.poll(() => state(page, "cut")).toBeNull();
  expect(await page.locator('.headgrid [aria-selected="true"]').count()).toBe(0);
  await page.keyboard.press("Control+Shift+z");
  await expect.poll(() => state(page, "cut")).toBe("L5H0");
  await page.keyboard.press("Control+y");
  await expect.poll(() => state(page, "cut")).toBe("L5H0,L5H1");
});

test("the theme follows the system until it is chosen, and is then kept", async () => {
  const page = await open(place("ablation", FACT), { theme: "dark" });
  await settled(page);
  const ground = (): Promise<string> => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const picture = (): Promise<string> => page.locator(".heatmap canvas").evaluate((canvas) => (canvas as HTMLCanvasElement).toDataURL());
  const dark = { ground: await ground(), picture: await picture() };
  await page.getByRole("button", { name: "Use the light theme" }).click();
  await expect.poll(ground).not.toBe(dark.ground);
  await expect.poll(picture).not.toBe(dark.picture);
  await page.reload();
  await settled(page);
  expect(await ground()).not.toBe(dark.ground);
  expect(await page.getByRole("button", { name: "Use the dark theme" }).count()).toBe(1);
});

test("the menus open, walk and close by keyboard", async () => {
  const page = await open(place("ablation", FACT));
  await settled(page);
  const opener = page.getByRole("button", { name: "Examples" });
  const focused = (): Promise<string | undefined> => page.evaluate(() => document.activeElement?.textContent?.trim());
  await opener.focus();
  await page.keyboard.press("Enter");
  await expect.poll(focused).toContain("A fact");
  await page.keyboard.press("ArrowDown");
  expect(await focused()).toContain("Indirect object");
  await page.keyboard.press("Escape");
  expect(await page.getByRole("menu").count()).toBe(0);
  expect(await focused()).toContain("Examples");
});
