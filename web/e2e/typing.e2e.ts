// Typing: tokens as they are typed, the sweep that follows, and answers that are not one token.

import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import type { TargetCheck, Tokenized } from "../src/api/schema";
import { duration } from "../src/components/number";
import { ask, on, post } from "./api";
import { open, place, useBrowser } from "./browser";
import { FACT } from "./prompts";
import { settled } from "./settled";

useBrowser();

const METRICS = ["logit_diff", "prob", "rank", "margin", "entropy", "kl"];
const note = (page: Page): Promise<string | null> => page.locator(".panel.main .note").textContent();

test("a typed prompt is shown in the API's tokens", async () => {
  const text = "Überall 12 naïve  cats\u{1F600}";
  const { ids, labels } = await post<Tokenized>("/api/tokenize", { model: "demo", text });
  const page = await open(place("ablation", FACT));
  await settled(page);
  await page.getByLabel("Prompt", { exact: true }).fill(text);
  await expect.poll(() => page.locator(".strip .end").textContent()).toContain(`${ids.length} tokens, BOS added`);
  const pieces = page.locator(".prompt .backdrop .piece");
  // Tokens of a part of a character are one piece with their neighbours: together they are the text.
  await expect.poll(async () => (await pieces.allTextContents()).join("")).toBe(text);
  const tips = await pieces.evaluateAll((all) => all.map((piece) => piece.getAttribute("data-tip")?.split("\n").length ?? 0));
  expect(tips.reduce((sum, count) => sum + count, 0)).toBe(labels.length - 1);
  await settled(page);
});

test("typing runs the sweep again once the typing pauses, the old result dimmed until then", async () => {
  const page = await open(place("ablation", FACT));
  await settled(page);
  const before = await note(page);
  let sweeps = 0;
  page.on("request", (request) => (sweeps += request.url().endsWith("/api/experiments") ? 1 : 0));
  const box = page.getByLabel("Prompt", { exact: true });
  await box.press("End");
  const dimmed = page.locator(".heatmap.dim").waitFor();
  await box.pressSequentially(" what", { delay: 20 });
  await dimmed;
  await settled(page);
  expect(sweeps).toBe(1);
  const record = await ask(on({
    prompts: [{ clean: `${FACT.prompt} what`, answers: [FACT.target], wrong_answers: [FACT.foil] }],
    method: { ablate: { targets: "heads", with: "zero", at: "all" } }, metrics: METRICS,
  }));
  expect(await note(page)).toBe(`${record.results.runs} runs, ${duration(record.elapsed_secs)}`);
  expect(await note(page)).not.toBe(before);
  // A burst of keys is one step back.
  await page.goBack();
  await expect.poll(() => box.inputValue()).toBe(FACT.prompt);
  await settled(page);
});

test("an answer of two tokens is explained in the server's words, and a suggestion mends it", async () => {
  const check = await post<TargetCheck>("/api/target", { model: "demo", text: " Frances" });
  expect(check.token).toBeNull();
  const page = await open(place("ablation", FACT), { expected: /422/ });
  await settled(page);
  const answer = page.getByLabel("Answer");
  await answer.fill(" Frances");
  const told = page.locator(".targetnote");
  await told.waitFor();
  const message = check.message ?? "";
  expect(await told.locator("span").first().textContent()).toBe(message.charAt(0).toUpperCase() + message.slice(1));
  expect(await answer.getAttribute("aria-invalid")).toBe("true");
  const wanted = (check.suggestions[0] ?? check.pieces[0])?.token ?? "";
  await told.getByRole("button", { name: `Take the token ${wanted}`, exact: true }).click();
  expect(await answer.inputValue()).toBe(wanted);
  await settled(page);
  expect(await answer.getAttribute("aria-invalid")).toBe("false");
  expect(await page.getByRole("alert").count()).toBe(0);
});

test("an emptied prompt asks for one, in every view", async () => {
  for (const [view, words] of [
    ["ablation", "Type a prompt to see what each head is worth to it."], ["patching", "Type the clean prompt"],
    ["lens", "Type a prompt to read the model's mind layer by layer."], ["attention", "Type a prompt to see what its tokens look at."],
  ] as const) {
    const page = await open(place(view, { prompt: "" }));
    await page.getByText(words).first().waitFor();
  }
});

test("a prompt that is too long says by how much", async () => {
  const page = await open(place("ablation", { prompt: "the cat ".repeat(80).trim() }), { expected: /422/ });
  await page.getByText("161 tokens, 33 more than the 128 the model reads").waitFor();
  await page.getByRole("alert").filter({ hasText: "161 tokens" }).waitFor();
});
