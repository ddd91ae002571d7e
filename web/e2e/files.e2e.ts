// What leaves the page: copied commands, exported files, the report, the page about the API.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Download, Page } from "playwright-core";
import { expect, test } from "vitest";
import type { Experiment, ExperimentRecord } from "../src/api/schema";
import { ask, get } from "./api";
import { open, place, useBrowser } from "./browser";
import { copied } from "./clipboard";
import { FACT, NAMES } from "./prompts";
import { program } from "./server";
import { settled } from "./settled";

useBrowser();

async function saved(page: Page, menu: string, item: string | RegExp): Promise<{ name: string; content: Buffer }> {
  await page.getByRole("button", { name: menu }).click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("menuitem", { name: item }).first().click()]);
  return { name: download.suggestedFilename(), content: readFileSync(await (download as Download).path()) };
}

test.each([
  ["ablation", FACT, "ablate"], ["patching", NAMES, "patch"], ["lens", FACT, "lens"], ["surgery", FACT, "generate"],
] as const)("%s is copied as command, curl, Rust and JSON with its prompt", async (view, state, subcommand) => {
  const page = await open(place(view, { ...state, cut: "L0H3", length: "8" }));
  await settled(page);
  const command = await copied(page, "Command");
  expect(command).toMatch(/^microtome |\| microtome /);
  expect(command).toContain(subcommand);
  const all = [command, await copied(page, "curl"), await copied(page, "Rust"), await copied(page, "JSON")];
  for (const text of all) expect(text).toContain(state.prompt);
  // The copied question is the one on show: asked again, its answer is there already.
  const experiment = JSON.parse(all[3] ?? "") as Experiment;
  const record = await ask(experiment);
  expect(record.results.prompts[0]?.clean.labels.slice(1).join("")).toBe(state.prompt);
});

test.each([
  ["attribution", place("attribution", NAMES)], ["attribution by neuron", place("attribution", { ...NAMES, parts: "neurons", mlp: "1" })],
  ["estimates", place("attribution", { ...NAMES, attribution: "estimate", site: "q", layout: "head", fixes: "qk_fix", steps: "2" })],
  ["neurons", place("neurons", { ...NAMES, neuron: "L2N17" })], ["steering", place("steering", { ...NAMES, reach: "3" })],
  ["circuit", place("circuit", NAMES)], ["features", place("features", NAMES)], ["features by what they do", place("features", { ...NAMES, listing: "worth" })],
  ["features, estimated", place("features", { ...NAMES, listing: "estimate" })],
  ["features, directly", place("features", { ...NAMES, listing: "estimate", estimated: "direct" })],
])("the copied command of %s runs, and asks what the page asked", async (_, at) => {
  const page = await open(at);
  await settled(page);
  const command = await copied(page, "Command");
  const asked = await ask(JSON.parse(await copied(page, "JSON")) as Experiment);
  const folder = mkdtempSync(join(tmpdir(), "microtome-command-"));
  symlinkSync(program(), join(folder, "microtome"));
  const file = join(folder, "record.json");
  execFileSync("sh", ["-c", `${command} --record ${file}`], { env: { ...process.env, PATH: `${folder}:${process.env["PATH"] ?? ""}` }, stdio: "pipe" });
  const record = JSON.parse(readFileSync(file).toString()) as ExperimentRecord;
  expect(record.experiment).toEqual(asked.experiment);
  expect(record.results.tables?.map(({ metric, values }) => [metric, values.length])).toEqual(asked.results.tables?.map(({ metric, values }) => [metric, values.length]));
});

test("the table on show is exported as picture, drawing, numbers and record", async () => {
  const page = await open(place("ablation", FACT));
  await settled(page);
  const png = await saved(page, "Export", "Plot (PNG)");
  expect(png.name).toBe("microtome-demo-ablate.png");
  expect(png.content.subarray(1, 4).toString()).toBe("PNG");
  const svg = await saved(page, "Export", "Plot (SVG)");
  expect(svg.content.toString()).toMatch(/^(<\?xml[^>]*>\s*)?<svg[\s\S]*<\/svg>\s*$/);
  const csv = (await saved(page, "Export", "Table (CSV)")).content.toString();
  const record = JSON.parse((await saved(page, "Export", "Record (JSON)")).content.toString()) as ExperimentRecord;
  const shown = record.results.tables?.find(({ metric, quantity }) => metric === "logit_diff" && quantity === "change");
  const [names, ...lines] = csv.trim().split("\n").map((line) => line.split(","));
  const numbers = lines.map((line) => Number(line[names?.indexOf("value") ?? -1]));
  expect(numbers).toHaveLength(shown?.values.length ?? -1);
  numbers.forEach((number, i) => expect(number).toBeCloseTo(shown?.values[i] ?? Number.NaN, 4));
  const tensors = await saved(page, "Export", "All tables (safetensors)");
  const header = JSON.parse(tensors.content.subarray(8, 8 + Number(tensors.content.readBigUInt64LE(0))).toString()) as object;
  expect(Object.keys(header).length).toBeGreaterThan(1);
});

test("the report of a surgery holds its prompt, its heads, its numbers and both texts", async () => {
  const page = await open(place("surgery", { prompt: FACT.prompt, cut: "L0H3", length: "12" }));
  await settled(page);
  const { name, content } = await saved(page, "Save", /Report/);
  expect(name).toBe("microtome-demo-generate.html");
  const html = content.toString();
  for (const words of [FACT.prompt, "L0H3", ...(await page.locator(".numbers dd").allTextContents())]) expect(html).toContain(words);
  expect(html).not.toContain("<script");
  // It is read without the page or the server.
  const alone = await page.context().newPage();
  await alone.setContent(html);
  const text = (await alone.locator("body").textContent()) ?? "";
  for (const token of await page.locator(".generated .word .token").allTextContents()) expect(text).toContain(token.replace(/[·⏎]/g, "").trim());
});

test("the page about the API lists every path, and its commands can be copied", async () => {
  const { paths } = await get<{ paths: Record<string, Record<string, unknown>> }>("/openapi.json");
  const page = await open("/docs");
  await page.getByRole("navigation", { name: "Contents" }).waitFor();
  const listed = await page.locator("article h3 a").allTextContents();
  for (const [path, operations] of Object.entries(paths)) {
    for (const method of Object.keys(operations)) {
      const part = page.getByRole("article", { name: `${method.toUpperCase()} ${path}`, exact: true });
      expect(await part.count(), `${method} ${path}`).toBe(1);
      expect(await part.locator(".curl pre").textContent()).toContain("curl");
    }
    expect(listed).toContain(path);
  }
  const first = page.locator(".curl").first();
  await first.getByRole("button", { name: "Copy" }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(await first.locator("pre").textContent());
});
