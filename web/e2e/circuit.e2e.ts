// Circuit: the drawing, the chosen node and the chosen edge are what the API says.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import type { ExperimentRecord } from "../src/api/schema";
import { signed } from "../src/components/number";
import { circuitOf, labelOf, nodesOf, scoresOf } from "../src/views/circuit/scores";
import type { Scores } from "../src/views/circuit/scores";
import { ask, on, table } from "./api";
import { PHONE, open, place, state, useBrowser } from "./browser";
import { NAMES } from "./prompts";
import { program } from "./server";
import { settled } from "./settled";

useBrowser();

interface AttributionGraph {
  metadata: object;
  qParams: { supernodes: string[][] };
  nodes: { node_id: string; clerp: string }[];
  links: { source: string; target: string; weight: number }[];
}

const PROMPT = { clean: NAMES.prompt, corrupt: NAMES.corrupt, answers: [NAMES.target], wrong_answers: [NAMES.foil] };

async function estimated(): Promise<Scores> {
  const record = await ask(on({ prompts: [PROMPT], method: { edge_attribution: { direction: "noise", gradients: { inputs: 5 } } }, metrics: ["logit_diff"] }));
  return scoresOf(table(record, "logit_diff", "change"));
}

const names = (page: Page, what: "node" | "edge"): Promise<string[]> =>
  page.locator(`.circuitgraph .${what}`).evaluateAll((all) => all.map((one) => one.getAttribute("aria-label") ?? ""));

const told = (scores: Scores, count: number): string[] =>
  circuitOf(scores, count).edges.map(({ from, to, port, score }) => `${labelOf(from)} to ${labelOf(to)}${port && ` ${port}`}: ${signed(score)} ${scores.unit}`);

test("the strongest edges are drawn with the API's numbers, as many as the slider says", async () => {
  const scores = await estimated();
  const page = await open(place("circuit", NAMES));
  await settled(page);
  expect((await names(page, "edge")).sort()).toEqual(told(scores, 40).sort());
  expect(await names(page, "node")).toEqual(nodesOf(circuitOf(scores, 40).edges).map((node) => {
    const score = scores.nodes.get(node);
    return score === undefined ? labelOf(node) : `${labelOf(node)}: ${signed(score)} ${scores.unit}`;
  }));
  const slider = page.getByRole("slider", { name: "Strongest edges" });
  await slider.focus();
  for (let step = 0; step < 5; step += 1) await slider.press("ArrowRight");
  expect((await names(page, "edge")).sort()).toEqual(told(scores, 45).sort());
  expect(await state(page, "edges")).toBe("45");
});

test("a chosen edge shows its estimate beside the exact path patch", async () => {
  const scores = await estimated();
  const page = await open(place("circuit", NAMES));
  await settled(page);
  const edge = circuitOf(scores, 40).edges[3];
  if (!edge) throw new Error("the circuit has no fourth edge");
  const to = edge.port ? `${edge.to}<${edge.port}>` : edge.to;
  const patch = { from: { each: [edge.from] }, to: { each: [to] }, mlps: "frozen" as const, direction: "noise" as const };
  const record: ExperimentRecord = await ask(on({ prompts: [PROMPT], method: { path_patch: patch }, metrics: ["logit_diff"] }));
  const runs = record.results.prompts[0]?.runs.map(({ metrics }) => metrics[0]?.value ?? Number.NaN) ?? [];
  expect(record.results.prompts[0]?.runs.map(({ name }) => name)).toEqual(["clean", "corrupt", "patched"]);
  const exact = (runs[0] ?? Number.NaN) - (runs[2] ?? Number.NaN);
  await page.getByRole("list", { name: "Strongest edges" }).getByRole("button").nth(3).click();
  await settled(page);
  const facts = page.getByRole("region", { name: "Chosen edge" }).locator("dd");
  await expect.poll(() => facts.allTextContents()).toEqual([`${signed(edge.score)} ${scores.unit}`, `${signed(exact)} ${scores.unit}`]);
  expect(await state(page, "edge")).toBe(edge.name);
});

test("a chosen head shows the tokens it promotes, as the API has them", async () => {
  const scores = await estimated();
  const head = circuitOf(scores, 40).nodes.map(labelOf).filter((name) => name.startsWith("L")).at(-1) ?? "";
  const record = await ask(on({ prompts: [{ clean: NAMES.prompt }], method: { promoted_tokens: { components: [head], tokens: 6 } }, metrics: [] }));
  const found = record.results.promotions?.[0];
  const page = await open(place("circuit", { ...NAMES, node: head }));
  await settled(page);
  const rows = page.getByRole("table", { name: "Promoted tokens" }).locator("tbody tr");
  await expect.poll(() => rows.count()).toBe(6);
  const numbers = await rows.evaluateAll((all) => all.map((row) => [...row.querySelectorAll("td:not(.words)")].map((cell) => cell.textContent)));
  expect(numbers).toEqual(found?.promoted.map((high, i) => [signed(high.value), signed(found.suppressed[i]?.value ?? Number.NaN)]));
});

test("a node is chosen, pinned and named, and the address keeps it", async () => {
  const scores = await estimated();
  const page = await open(place("circuit", NAMES));
  await settled(page);
  const head = circuitOf(scores, 40).nodes.map(labelOf).filter((name) => name.startsWith("L")).at(-1) ?? "";
  await page.getByRole("button", { name: new RegExp(`^${head}:`) }).click();
  const panel = page.getByRole("region", { name: "Chosen node" });
  await panel.getByRole("button", { name: "Pin", exact: true }).click();
  await panel.getByLabel("Group").fill("movers");
  await panel.getByLabel("Group").press("Enter");
  await page.getByRole("button", { name: new RegExp(`^${head} · movers`) }).waitFor();
  expect([await state(page, "node"), await state(page, "pins"), await state(page, "group")]).toEqual([head, head, `movers:${head}`]);
  await page.getByRole("slider", { name: "Strongest edges" }).fill("1");
  await expect.poll(() => names(page, "node")).toContainEqual(expect.stringMatching(new RegExp(`^${head}`)));
  await page.reload();
  await settled(page);
  await page.getByRole("button", { name: new RegExp(`^${head} · movers`) }).waitFor();
  await panel.getByRole("link", { name: head }).first().click();
  expect(await state(page, "view")).toBe("attention");
});

test("a group of two is one node, its edges the sums of theirs and patched together", async () => {
  const scores = await estimated();
  const heads = circuitOf(scores, 40).nodes.filter((node) => node.startsWith("a")).slice(-2);
  const labels = heads.map(labelOf);
  const page = await open(place("circuit", { ...NAMES, group: `last:${labels.join(",")}`, edge: "@last->logits" }));
  await settled(page);
  const worth = scores.edges.filter(({ from, to }) => heads.includes(from) && !heads.includes(to)).reduce((sum, { score }) => sum + score, 0);
  const node = page.locator(".circuitgraph .node").filter({ hasText: "last · 2" });
  expect(await node.getAttribute("aria-label")).toContain(`: ${signed(worth)} ${scores.unit}`);
  expect((await names(page, "node")).filter((name) => labels.some((label) => name.startsWith(label)))).toEqual([]);
  const patch = { from: { together: heads.map(String) }, to: { each: ["logits"] }, mlps: "frozen" as const, direction: "noise" as const };
  const record: ExperimentRecord = await ask(on({ prompts: [PROMPT], method: { path_patch: patch }, metrics: ["logit_diff"] }));
  const [clean, , patched] = record.results.prompts[0]?.runs.map(({ metrics }) => metrics[0]?.value ?? Number.NaN) ?? [];
  const estimate = scores.edges.filter(({ from, to }) => heads.includes(from) && to === "logits").reduce((sum, { score }) => sum + score, 0);
  const facts = page.getByRole("region", { name: "Chosen edge" }).locator("dd");
  await expect.poll(() => facts.allTextContents()).toEqual([`${signed(estimate)} ${scores.unit}`, `${signed((clean ?? Number.NaN) - (patched ?? Number.NaN))} ${scores.unit}`]);
  await node.click();
  const panel = page.getByRole("region", { name: "Chosen group" });
  expect(await panel.locator("dd").allTextContents()).toEqual([`${signed(worth)} ${scores.unit}`]);
  await panel.getByRole("button", { name: "Draw apart" }).click();
  await page.getByRole("button", { name: new RegExp(`^${labels[0] ?? ""} · last`) }).waitFor();
  expect(await state(page, "gather")).toBe("apart");
});

test.each([["SVG", "svg"], ["PNG", "png"], ["DOT", "dot"], ["EAP JSON", "eap-json"]])("the circuit is saved as %s", async (label, kind) => {
  const scores = await estimated();
  const page = await open(place("circuit", NAMES));
  await settled(page);
  await page.getByRole("button", { name: "Export" }).click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByText(`Circuit (${label})`, { exact: true }).click()]);
  const bytes = readFileSync(await download.path());
  const edges = circuitOf(scores, 40).edges.length;
  if (kind === "png") expect(bytes.subarray(1, 4).toString()).toBe("PNG");
  else if (kind === "svg") expect(bytes.toString().match(/<path /g)).toHaveLength(edges);
  else if (kind === "dot") expect(bytes.toString().match(/ -> /g)).toHaveLength(edges);
  else {
    const file = JSON.parse(bytes.toString()) as { edges: Record<string, { score: number; in_graph: boolean }> };
    const strongest = scores.edges[0];
    expect(file.edges[strongest?.name ?? ""]).toEqual({ score: strongest?.score, in_graph: true });
    expect(Object.values(file.edges).filter(({ in_graph }) => in_graph)).toHaveLength(edges);
  }
});

test("the attribution graph is the one that the command writes, with the groups as supernodes", async () => {
  const [head = ""] = circuitOf(await estimated(), 40).nodes.filter((node) => node.startsWith("a")).map(labelOf);
  const page = await open(place("circuit", { ...NAMES, group: `first:${head}` }));
  await settled(page);
  await page.getByRole("button", { name: "Export" }).click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByText("Circuit (attribution graph)", { exact: true }).click()]);
  const ours = JSON.parse(readFileSync(await download.path()).toString()) as AttributionGraph;
  const file = join(mkdtempSync(join(tmpdir(), "microtome-")), "graph.json");
  const { prompt, corrupt, target, foil } = NAMES;
  execFileSync(program(), ["edges", prompt, "-c", corrupt, "-t", target, "-f", foil, "--steps", "5", "--top", "40", "--attribution-graph", file], { stdio: "ignore" });
  const theirs = JSON.parse(readFileSync(file).toString()) as AttributionGraph;
  expect({ ...ours.metadata, info: null }).toEqual({ ...theirs.metadata, info: null });
  const bare = ({ nodes }: AttributionGraph): object[] => nodes.map((node) => ({ ...node, clerp: "" })).sort((a, b) => a.node_id.localeCompare(b.node_id));
  expect(bare(ours)).toEqual(bare(theirs));
  const links = ({ links }: AttributionGraph): string[] => links.map(({ source, target: to, weight }) => `${source} ${to} ${weight.toFixed(9)}`).sort();
  expect(links(ours)).toEqual(links(theirs));
  expect(ours.qParams.supernodes).toEqual([["first", ours.nodes.find(({ clerp }) => clerp.startsWith(`${head} `))?.node_id]]);
});

test("at 360 px the drawing scrolls by itself and an edge is chosen by a finger", async () => {
  const page = await open(place("circuit", NAMES), PHONE);
  await settled(page);
  await page.getByRole("list", { name: "Strongest edges" }).getByRole("button").first().tap();
  await page.getByRole("region", { name: "Chosen edge" }).waitFor();
  expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBeLessThanOrEqual(0);
});
