// Steering: texts and curve are the API's, and the slider, the texts and the layer are part of the address.

import { expect, test } from "vitest";
import { readable } from "../src/components/TokenText";
import { plain } from "../src/components/number";
import { strengthsOf } from "../src/views/steering/strengths";
import { ask, on, table } from "./api";
import { PHONE, open, place, state, useBrowser } from "./browser";
import { NAMES } from "./prompts";
import { settled } from "./settled";

useBrowser();

const ASKED = { clean: NAMES.prompt, answers: [NAMES.target], wrong_answers: [NAMES.foil] };
const PAIR = { difference: { towards: [NAMES.corrupt], away: [NAMES.prompt] } };

test("by itself the direction leads from the prompt to the corrupt one, and both texts are the API's", async () => {
  const page = await open(place("steering", { ...NAMES, length: "8", into: "3" }));
  await settled(page);
  const record = await ask(on({ prompts: [{ clean: NAMES.prompt }], method: { steering: { along: PAIR, layer: 3, strengths: [0, 1], max_new_tokens: 8 } }, metrics: ["kl"] }));
  for (const [label, strength] of [["Control text", 0], ["Steered text", 1]] as const) {
    const found = record.results.steered?.find((text) => text.strength === strength);
    const words = await page.getByRole("group", { name: label }).getByRole("button").allTextContents();
    expect(words).toEqual(found?.tokens.filter(({ is_prompt }) => !is_prompt).map(({ token }) => readable(token)));
    await expect.poll(() => page.getByRole("region", { name: "Texts" }).textContent()).toContain(`perplexity ${plain(found?.perplexity ?? Number.NaN)}`);
  }
});

test("the curve is the API's, strength by strength, and a strength is chosen by the slider", async () => {
  const page = await open(place("steering", { ...NAMES, length: "4", into: "3", reach: "4" }));
  await settled(page);
  const steering = { along: PAIR, layer: 3, strengths: strengthsOf(4) };
  const record = await ask(on({ prompts: [ASKED], method: { steering }, metrics: ["logit_diff", "prob", "kl"] }));
  const { values, axes } = table(record, "logit_diff", "value");
  const said = await page.getByRole("figure", { name: "Logit diff. by strength" }).locator("figcaption").textContent();
  expect(said).toBe(`Logit diff.: ${values.map((value, i) => `${(axes[0]?.labels[i] ?? "").replace("-", "−")} ${plain(value ?? 0)}`).join(", ")}`);
  const slider = page.getByRole("slider", { name: "Strength" });
  await slider.focus();
  for (let i = 0; i < 5; i++) await slider.press("ArrowLeft");
  await settled(page);
  expect(Number(await state(page, "strength"))).toBeCloseTo(0.5, 6);
  await expect.poll(() => page.getByRole("region", { name: "Texts" }).textContent()).toContain("by +0.50");
});

test("a neuron steers, after its own layer, by the words of the address", async () => {
  const page = await open(place("steering", { ...NAMES, along: "neuron", neuron: "L1N5", strength: "-8", reach: "10", length: "6" }));
  await settled(page);
  const record = await ask(on({ prompts: [{ clean: NAMES.prompt }], method: { steering: { along: { neuron: "L1N5" }, layer: 2, strengths: [0, -8], max_new_tokens: 6 } }, metrics: ["kl"] }));
  const found = record.results.steered?.find(({ strength }) => strength === -8);
  const words = await page.getByRole("group", { name: "Steered text" }).getByRole("button").allTextContents();
  expect(words).toEqual(found?.tokens.filter(({ is_prompt }) => !is_prompt).map(({ token }) => readable(token)));
});

test("without a direction it says what is missing", async () => {
  const page = await open(place("steering", { prompt: "The cat" }));
  await page.getByText(/Give two texts that differ/).waitFor();
  await page.getByLabel("Towards").fill(" dog");
  await settled(page);
  await page.getByRole("group", { name: "Control text" }).waitFor();
  await page.getByRole("radio", { name: "A neuron" }).click();
  await page.getByText(/Name the neuron/).waitFor();
});

test("at 360 px the slider and both texts are there", async () => {
  const page = await open(place("steering", { ...NAMES, length: "6" }), PHONE);
  await settled(page);
  await page.getByRole("slider", { name: "Strength" }).fill("-1");
  await settled(page);
  await page.getByRole("group", { name: "Steered text" }).waitFor();
});
