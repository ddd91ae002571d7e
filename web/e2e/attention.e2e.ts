// Attention: patterns of all heads, one of them large, and head scores are what the API says.

import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { parseSafetensors } from "../src/api/safetensors";
import type { Tokens } from "../src/api/schema";
import { exact, percent, plain, signed } from "../src/components/number";
import { readable } from "../src/components/TokenText";
import { ask, on, table } from "./api";
import { open, place, state, useBrowser } from "./browser";
import { heatmap, readCells } from "./grid";
import { FACT } from "./prompts";
import { settled } from "./settled";

useBrowser();

async function patterns(prompt: string, weighting = "pattern"): Promise<{ labels: string[]; of: (layer: number, head: number) => Float32Array }> {
  const response = await fetch(`${inject("server")}/api/attention`, {
    method: "POST", headers: { "Content-Type": "application/json", Accept: "application/safetensors" }, body: JSON.stringify({ model: "demo", prompt, weighting }),
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
  const page = await open(place("attention", { prompt: FACT.prompt, list: "scores" }));
  await settled(page);
  for (const [name, score, words] of [["Previous", "previous_token", "previous token"], ["Duplicate", "duplicate_token", "duplicate token"], ["Induction", "induction", "induction"], ["Position", "positional", "positional"]] as const) {
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

test("the role table is the API's: every head with a role, its score and the spread of it", async () => {
  const { roles } = (await scores()).results;
  const page = await open(place("attention", { prompt: FACT.prompt }));
  await settled(page);
  const expected = (roles?.heads ?? []).flatMap(({ head, has }) => has.map(({ role, score, spread }, i) =>
    `${i === 0 ? head : ""}${role}${score.toFixed(3)} ± ${spread?.stderr.toFixed(3)}`));
  expect(expected.length).toBeGreaterThan(4);
  expect(await page.getByRole("region", { name: "Role table" }).locator("tbody tr").allTextContents()).toEqual(expected);
  const first = roles?.heads[0]?.head ?? "";
  await page.getByRole("region", { name: "Role table" }).getByRole("link", { name: first }).click();
  await heatmap(page, new RegExp(`^Attention of ${first}`)).waitFor();
});

test("statistics of the prompt are the API's, weighted as the pattern is", async () => {
  const page = await open(place("attention", { prompt: FACT.prompt, list: "statistics", head: "L1H2" }));
  await settled(page);
  for (const weighting of ["pattern", "output"] as const) {
    const record = await ask(on({ prompts: [{ clean: FACT.prompt }], method: { attention: { weighting } } }));
    if (weighting === "output") await page.getByRole("radio", { name: "× |value W_O|" }).click();
    for (const [name, metric] of [["Entropy", "pattern_entropy"], ["Distance", "attention_distance"], ["First", "bos_share"], ["Self", "self_share"], ["Prev", "previous_share"]] as const) {
      await page.getByRole("radio", { name, exact: true }).click();
      await settled(page);
      const { values, title, axes } = table(record, metric, "value");
      const n = axes[1]?.labels.length ?? 0;
      const expected = values.map((value, cell) => ({ value: value ?? 0, name: `L${Math.floor(cell / n)}H${cell % n}` }))
        .sort((a, b) => b.value - a.value).slice(0, 5);
      const rows = page.getByRole("list", { name: `Heads by ${title.toLowerCase()}` }).getByRole("listitem");
      expect(await rows.locator(".name").allTextContents()).toEqual(expected.map((one) => one.name));
      expect(await rows.locator(".value").allTextContents()).toEqual(expected.map((one) => plain(one.value)));
    }
  }
});

test("a weighted pattern is the API's", async () => {
  const { of } = await patterns(FACT.prompt, "value");
  const page = await open(place("attention", { prompt: FACT.prompt, head: "L1H2", weighting: "value" }));
  await settled(page);
  const cells = await readCells(heatmap(page, /^Attention of L1H2/), { topDown: true });
  const seen = cells.filter((cell) => cell.includes("looks at"));
  const n = Math.sqrt(cells.length);
  const expected = Array.from(of(1, 2)).filter((_, cell) => cell % n <= Math.floor(cell / n)).map((weight) => exact(weight));
  expect(seen.map((cell) => cell.split(": ").at(-1))).toEqual(expected);
});

test("a head's circuit is the API's, and each head it composes with is a link", async () => {
  const page = await open(place("attention", { prompt: FACT.prompt, head: "L4H3", face: "circuit" }));
  await settled(page);
  const { labels, ids } = await tokensOf(FACT.prompt);
  const record = await ask(on({ prompts: [], method: { head_circuit: { head: "L4H3", embedding: "embed", size: "as_is", tokens: [...new Set(ids)] } } }));
  const report = record.results.head_circuit;
  if (!report) throw new Error("the record has no circuit");
  await page.locator("dl.facts dd").first().waitFor();
  const facts = await page.locator("dl.facts dd").allTextContents();
  expect(facts).toEqual([signed(report.copying ?? Number.NaN), signed(report.matching ?? Number.NaN), percent(report.ov.diagonal_first), percent(report.qk.diagonal_first)]);
  const pairs = page.getByRole("region", { name: /^OV.*strongest pairs/ }).locator("tbody tr");
  const shown = (from: string, to: string, arrow: string, value: number): string => `${readable(from)} ${arrow} ${readable(to)}${signed(value)}`;
  const first = report.ov.highest[0];
  const last = report.ov.lowest[0];
  if (!first || !last) throw new Error("the circuit has no pairs");
  expect((await pairs.allTextContents())[0]).toBe(shown(first.from.token, first.to.token, "→", first.value) + shown(last.from.token, last.to.token, "→", last.value));
  const token = report.tokens.find((one) => one.token.id === ids.at(-1));
  const raises = page.getByRole("region", { name: "One token" }).getByRole("row", { name: /raises/ });
  expect(await raises.locator(".valued").allTextContents()).toEqual(token?.raises.slice(0, 5).map((one) => `${readable(one.token.token)} ${signed(one.value)}`));
  expect(labels.length).toBe(ids.length);
  // Compositions.
  const all = await ask(on({ prompts: [], method: { composition: {} } }));
  const { values, axes } = table(all, "k_composition", "value");
  const names = axes[0]?.labels ?? [];
  const own = names.indexOf("L4H3");
  const best = names.map((name, from) => ({ name, value: values[from * names.length + own] ?? -1 })).sort((a, b) => b.value - a.value)[0];
  const keys = page.getByRole("region", { name: "Composition" }).getByRole("row", { name: /keys/ });
  expect(await keys.locator("td").first().locator(".valued").first().textContent()).toBe(`${best?.name} ${plain(best?.value ?? 0)}`);
  await keys.getByRole("link", { name: best?.name ?? "", exact: true }).first().click();
  await page.getByRole("region", { name: `Circuits of ${best?.name}` }).waitFor();
  await page.getByRole("radio", { name: "LayerNorm" }).click();
  await settled(page);
  expect(await state(page, "size")).toBe("layer_norm");
});

test("all heads go into one file, which opens from disk without a network", async () => {
  const { labels, of } = await patterns(FACT.prompt);
  const page = await open(place("attention", { prompt: FACT.prompt, head: "L3H1" }));
  await settled(page);
  await page.getByRole("button", { name: "Export" }).click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("menuitem", { name: "All heads (HTML)" }).click()]);
  const file = join(mkdtempSync(join(tmpdir(), "microtome-")), "attention.html");
  await download.saveAs(file);
  expect(readFileSync(file, "utf8")).not.toMatch(/https?:/);
  const asked: string[] = [];
  const own = await page.context().newPage();
  own.on("request", (request) => asked.push(request.url()));
  await own.goto(`file://${file}`);
  expect(await own.locator("#name").textContent()).toBe("L3H1");
  expect(await own.locator("#prompt .token").count()).toBe(labels.length);
  await own.getByRole("radio", { name: "L1H2" }).click();
  expect(await own.locator("#name").textContent()).toBe("L1H2");
  const n = labels.length;
  await own.locator("#prompt .token").nth(n - 1).click();
  const looks = Array.from({ length: n }, (_, key) => of(1, 2)[(n - 1) * n + key] ?? 0).sort((a, b) => b - a).slice(0, 3);
  const listed = await own.locator("#looks b").allTextContents();
  expect(listed.slice(0, 3).map(Number)).toEqual(looks.map((weight) => Number(weight < 0.001 ? weight.toExponential(2) : weight.toPrecision(4))));
  await own.locator("#large").hover({ position: { x: 200, y: 200 } });
  const theme = await own.locator("html").getAttribute("data-theme");
  await own.locator("#theme").click();
  expect(await own.locator("html").getAttribute("data-theme")).not.toBe(theme);
  // The address bar's own request, and none besides.
  expect(asked).toEqual([`file://${file}`]);
  if (process.env["UPDATE_SCREENSHOTS"]) await own.screenshot({ path: join(tmpdir(), "attention-file.png"), fullPage: true });
});

async function tokensOf(prompt: string): Promise<{ labels: string[]; ids: number[] }> {
  const { prompts } = (await ask(on({ prompts: [{ clean: prompt }], method: "measure", metrics: ["entropy"] }))).results;
  return { labels: prompts[0]?.clean.labels ?? [], ids: prompts[0]?.clean.ids ?? [] };
}

test("a head is taken along to Surgery", async () => {
  const page = await open(place("attention", { prompt: FACT.prompt, head: "L4H3", length: "4" }));
  await settled(page);
  await page.getByRole("button", { name: "Cut in Surgery" }).click();
  await settled(page);
  expect(await state(page, "view")).toBe("surgery");
  expect(await page.locator('.headgrid [aria-selected="true"]').getAttribute("aria-label")).toContain("L4H3, cut");
});
