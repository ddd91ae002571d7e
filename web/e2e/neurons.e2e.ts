// Neurons: what the page says of a neuron is what the API says.

import { expect, test } from "vitest";
import { exact, plain, signed } from "../src/components/number";
import { shownMetric } from "../src/views/metricText";
import { ask, get, on, table } from "./api";
import { open, place, state, useBrowser } from "./browser";
import { NAMES } from "./prompts";
import { settled } from "./settled";

useBrowser();

const ASKED = { clean: NAMES.prompt, answers: [NAMES.target], wrong_answers: [NAMES.foil] };
const plus = (value: number): string => (value > 0 ? `+${exact(value)}` : exact(value));

test("the strongest neurons are the API's, and the first is on show", async () => {
  const record = await ask(on({ prompts: [ASKED], method: { strongest_neurons: { by: "activation", top: 24 } }, metrics: [] }));
  const wanted = table(record, "neuron_activation", "value");
  const page = await open(place("neurons", NAMES));
  await settled(page);
  const list = page.getByRole("list", { name: "Strongest neurons" });
  expect(await list.locator(".name").allTextContents()).toEqual(wanted.axes[0]?.labels);
  expect(await list.locator(".value").allTextContents()).toEqual(wanted.values.map((value) => signed(value ?? 0)));
  await page.getByRole("region", { name: `Neuron ${wanted.axes[0]?.labels[0] ?? ""}` }).waitFor();
});

test("layer, ranking and position choose which neurons are listed, and stand in the address", async () => {
  const method = { strongest_neurons: { layers: [1], by: "direct_attribution" as const, top: 24 } };
  const record = await ask(on({ prompts: [ASKED], method, metrics: [], read_at: 4 }));
  const page = await open(place("neurons", NAMES));
  await settled(page);
  await page.getByRole("radiogroup", { name: "Layer" }).getByRole("radio", { name: "1", exact: true }).click();
  await page.getByRole("radio", { name: "What they write" }).click();
  await settled(page);
  await page.locator(".main .tokenheat").getByRole("button").nth(4).click();
  await settled(page);
  expect(await Promise.all(["mlp", "ranked", "pos"].map((field) => state(page, field)))).toEqual(["1", "direct_attribution", "4"]);
  const wanted = table(record, "direct_neurons", "change");
  const list = page.getByRole("list", { name: "Strongest neurons" });
  await expect.poll(() => list.locator(".name").allTextContents()).toEqual(wanted.axes[0]?.labels);
  expect(await list.locator(".value").allTextContents()).toEqual(wanted.values.map((value) => signed(value ?? 0)));
});

test("a neuron's activations, tokens and ablations are the API's", async () => {
  const record = await ask(on({ prompts: [ASKED], method: { neuron: { neuron: "L1N286", tokens: 8 } }, metrics: ["logit_diff", "prob", "kl"] }));
  const found = record.results.neuron;
  if (!found) throw new Error("the record says nothing of the neuron");
  const page = await open(place("neurons", { ...NAMES, neuron: "L1N286" }));
  await settled(page);
  const chips = page.getByRole("group", { name: "Activation of L1N286" }).getByRole("button");
  const said = await chips.evaluateAll((all) => all.map((chip) => (chip.getAttribute("aria-label") ?? "").split(": ").at(-1)));
  expect(said).toEqual(found.activations[0]?.map(plus));
  const rows = page.getByRole("table", { name: "Tokens of the neuron" }).locator("tbody tr");
  const numbers = await rows.evaluateAll((all) => all.map((row) => [...row.querySelectorAll("td:not(.words)")].map((cell) => cell.textContent)));
  expect(numbers).toEqual(found.promoted.map((high, i) => [signed(high.value), signed(found.suppressed[i]?.value ?? Number.NaN)]));
  const clean = record.results.prompts[0]?.runs[0]?.metrics ?? [];
  const without = await page.getByRole("table", { name: "Without the neuron" }).locator("tbody td").allTextContents();
  const edited = (place: number) => clean.map(({ metric }) => shownMetric(metric, table(record, metric, "value").values[place] ?? Number.NaN));
  expect(without).toEqual([...clean.map(({ metric, value }) => shownMetric(metric, value)), ...edited(0), ...edited(1)]);
  const facts = page.getByLabel("Weights").locator("dd");
  expect(await facts.allTextContents()).toEqual([found.mean, found.input_norm, found.output_norm, found.cosine ?? Number.NaN].map(plain));
});

test("its most activating passages are those of a scan, of the examples and of a text of one's own", async () => {
  const { examples } = await get<{ examples: { prompt: string; target: string; corrupt: string | null }[] }>("/api/examples");
  const joined = [...new Set(examples.flatMap(({ prompt, target, corrupt }) => [prompt + target, ...(corrupt ? [corrupt] : [])]))].join("<|endoftext|>");
  const scan = (text: string) => ask(on({ prompts: [], method: { text_scan: { text, neurons: ["L1N286"], top: 8, context: 8 } } }));
  const page = await open(place("neurons", { ...NAMES, neuron: "L1N286" }));
  const panel = page.getByRole("region", { name: "Most activating passages" });
  const shown = () => panel.getByRole("list", { name: "Passages" }).locator("li > .soft").allTextContents();
  const wanted = (await scan(joined)).results.text_scan?.features[0];
  await expect.poll(shown).toEqual(wanted?.passages.map(({ activation }) => plain(activation)));
  const own = "The cat sat on the mat. John gave a drink to Mary, and Mary went to the store.";
  await panel.getByRole("radio", { name: "Your own" }).click();
  await panel.getByLabel("Text to scan").fill(own);
  await panel.getByRole("button", { name: "Scan" }).click();
  const found = (await scan(own)).results.text_scan?.features[0];
  await expect.poll(shown).toEqual(found?.passages.map(({ activation }) => plain(activation)));
  const tokens = await panel.getByRole("list", { name: "Passages" }).locator("li").first().locator(".tokenheat > *").allTextContents();
  expect(tokens.map((token) => token.replaceAll("·", " "))).toEqual(found?.passages[0]?.tokens);
  const facts = await panel.getByLabel("Over the text").locator("dd").allTextContents();
  expect(facts[1]).toBe(plain(found?.max ?? Number.NaN));
});

test("a neuron that does not exist is told about as the server does", async () => {
  const page = await open(place("neurons", NAMES), { expected: /422/ });
  await settled(page);
  await page.getByLabel("Neuron", { exact: true }).fill("L9N99999");
  await page.getByLabel("Neuron", { exact: true }).press("Enter");
  await page.locator(".main").getByRole("alert").waitFor();
  expect(await page.locator(".main").getByRole("alert").textContent()).toContain("L9N99999");
});
