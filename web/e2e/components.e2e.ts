// Parts of the model by name: a link with a card wherever one stands.

import type { Locator, Page } from "playwright-core";
import { expect, test } from "vitest";
import { plain } from "../src/components/number";
import { ask, on, table } from "./api";
import { PHONE, open, place, seriousFindings, state, useBrowser } from "./browser";
import { FACT } from "./prompts";
import { settled } from "./settled";

useBrowser();

const ABLATION = place("ablation", { ...FACT, cut: "L1H2,L0H3" });
const card = (page: Page, name: string): Locator => page.getByRole("dialog", { name });
const chip = (page: Page, name: string): Locator => page.getByRole("list", { name: "Chosen heads" }).getByRole("link", { name });

test("a head's card tells the API's scores, and what it is worth to this prompt", async () => {
  const scores = await ask(on({ prompts: [], method: { head_scores: {} } }));
  const importance = await ask(on({ prompts: [{ clean: FACT.prompt }], method: { importance: { by: "gradient" } } }));
  const here = table(importance, "importance_gradient", "value").values;
  const [layer, head] = [1, 2];
  const score = (metric: string): string => plain(table(scores, metric, "value").values[layer * 4 + head] ?? Number.NaN);
  const own = here[layer * 4 + head] ?? Number.NaN;
  const rank = 1 + here.filter((value) => (value ?? 0) > own).length;
  const page = await open(ABLATION);
  await settled(page);
  await chip(page, "L1H2").hover();
  const facts = card(page, "L1H2").locator("dd");
  await expect.poll(() => facts.allTextContents(), { timeout: 20_000 }).toEqual([
    ...["previous_token", "duplicate_token", "induction", "positional"].map(score), `${plain(own)} · ${rank} of ${here.length}`,
  ]);
  expect(await seriousFindings(page)).toEqual([]);
});

test("the card follows the pointer from name to name, can be gone into, and closes behind it", async () => {
  const page = await open(ABLATION);
  await settled(page);
  await chip(page, "L1H2").hover();
  await card(page, "L1H2").waitFor();
  await card(page, "L1H2").hover();
  await page.waitForTimeout(500);
  expect(await card(page, "L1H2").isVisible(), "with the pointer in it").toBe(true);
  await page.getByRole("list", { name: "Strongest heads" }).getByRole("listitem").first().hover();
  await expect.poll(() => page.getByRole("dialog").count()).toBe(1);
  expect(await card(page, "L1H2").count()).toBe(0);
  await page.mouse.move(5, 400);
  await expect.poll(() => page.getByRole("dialog").count()).toBe(0);
});

test("by keyboard the card opens with its name, is gone into by the arrow, and leads on", async () => {
  const page = await open(ABLATION);
  await settled(page);
  await page.getByRole("button", { name: "Clear" }).focus();
  await page.keyboard.press("Tab");
  await card(page, "L1H2").waitFor();
  await page.keyboard.press("Escape");
  expect(await card(page, "L1H2").count()).toBe(0);
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  expect(await state(page, "view")).toBe("attention");
  expect(await state(page, "head")).toBe("L1H2");
});

test("a click opens the head in Attention, a line of the card elsewhere, and back comes back", async () => {
  const page = await open(ABLATION);
  await settled(page);
  await chip(page, "L0H3").hover();
  await card(page, "L0H3").getByRole("link", { name: "Cut in Surgery" }).click();
  expect(await state(page, "view")).toBe("surgery");
  expect(await state(page, "cut")).toBe("L1H2,L0H3");
  await page.goBack();
  await settled(page);
  await chip(page, "L0H3").click();
  expect([await state(page, "view"), await state(page, "head")]).toEqual(["attention", "L0H3"]);
});

test("a finger's first touch opens the card, inside the window", async () => {
  const page = await open(ABLATION, PHONE);
  await settled(page);
  await chip(page, "L1H2").tap();
  const box = await card(page, "L1H2").boundingBox();
  expect(await state(page, "view")).toBe("ablation");
  expect(box && box.x >= 0 && box.x + box.width <= PHONE.width).toBe(true);
  await card(page, "L1H2").getByRole("link", { name: "Open in Attention" }).tap();
  expect(await state(page, "view")).toBe("attention");
});
