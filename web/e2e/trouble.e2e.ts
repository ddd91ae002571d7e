// When it takes long, when there is no server, when the server turns away.

import { afterEach, expect, test } from "vitest";
import type { Job } from "../src/api/schema";
import { cancel, get, on, submit } from "./api";
import { open, place, useBrowser } from "./browser";
import { heatmap } from "./grid";
import { FACT, LONG } from "./prompts";
import { startServer } from "./server";
import type { Server } from "./server";
import { settled } from "./settled";

let servers: Server[] = [];
// Said before the browser is opened, this runs after its windows are closed: they would miss their server.
afterEach(async () => {
  await Promise.all(servers.map((server) => server.kill()));
  servers = [];
});

useBrowser();

async function own(more: readonly string[], port?: number): Promise<Server> {
  const server = await startServer(more, port);
  servers.push(server);
  return server;
}

/** Minutes of work: every neuron of the model cut by itself, on long prompts. */
function occupy(url: string, seed: number): Promise<Job> {
  const prompts = Array.from({ length: 8 }, () => ({ clean: LONG }));
  return submit(on({ prompts, method: { ablate: { targets: { neurons: [] }, with: "zero" } }, metrics: ["entropy"], seed }), url);
}

test("a sweep that waits says that it works and can be stopped and run again", async () => {
  const { url } = await own(["--workers", "1"]);
  const page = await open(place("ablation", FACT), { server: url });
  await settled(page);
  const busy = await occupy(url, 1);
  await page.getByRole("radio", { name: "Mean" }).click();
  await page.locator(".heatmap.dim").waitFor();
  const main = page.locator(".panel.main");
  await main.locator(".working.on").waitFor({ state: "attached" });
  const progress = main.getByRole("status");
  await progress.getByText("waiting in line").waitFor();
  await progress.getByRole("button", { name: "Stop" }).click();
  expect(await progress.count()).toBe(0);
  await main.getByText("Stopped; this is the older result.").waitFor();
  await cancel(busy.id, url);
  await main.getByRole("button", { name: "Run it again" }).click();
  await settled(page);
  expect(await page.locator(".panel.main h2").textContent()).toContain("mean");
});

test("a long sweep shows its rows as they come and how far it is, and leaving it frees the server", async () => {
  // In small steps, so that it takes long enough to be looked at.
  const { url } = await own(["--workers", "1", "--memory", "1"]);
  const page = await open(place("patching", { ...FACT, prompt: LONG, corrupt: LONG.replace("cat", "dog"), site: "z", layout: "head_position" }), { server: url });
  const main = page.locator(".panel.main");
  const progress = main.getByRole("status");
  await expect.poll(() => progress.textContent(), { timeout: 60_000 }).toMatch(/^[1-9]\d* of \d+ runs/);
  const [done, wanted] = /(\d+) of (\d+)/.exec((await progress.textContent()) ?? "")?.slice(1).map(Number) ?? [];
  expect(done).toBeLessThan(wanted ?? 0);
  const grid = heatmap(page, /by head and position/);
  await grid.waitFor();
  await expect.poll(async () => { await grid.press("Home"); return grid.locator('[role="gridcell"]').textContent(); }).toMatch(/recovered/);
  await page.close();
  // The only worker is free again.
  const job = await submit(on({ prompts: [{ clean: FACT.prompt }], method: "measure", metrics: ["entropy"] }), url);
  await expect.poll(async () => (await get<Job>(`/api/experiments/${job.id}`, url)).status, { timeout: 30_000 }).toBe("done");
});

test("a long generation counts its tokens and can be stopped", async () => {
  const { url } = await own(["--workers", "1"]);
  const page = await open(place("surgery", { prompt: FACT.prompt, cut: "L0H3", length: "8" }), { server: url });
  await settled(page);
  const busy = await occupy(url, 2);
  await page.getByLabel("Length").fill("30");
  await page.locator(".panel.texts").getByRole("button", { name: "Stop" }).click();
  expect(await page.locator(".panel.texts").textContent()).toContain("stopped");
  await cancel(busy.id, url);
  await page.getByRole("button", { name: /^Generate/ }).click();
  await expect.poll(() => page.getByRole("group", { name: "Control text" }).getByRole("button").count(), { timeout: 60_000 }).toBe(30);
});

test("without its server the page says so, and goes on once it is back", async () => {
  const first = await own([]);
  const page = await open(place("ablation", FACT), { server: first.url, expected: /ERR_/ });
  await settled(page);
  await first.kill();
  await page.getByRole("radio", { name: "Mean" }).click();
  const told = page.locator(".panel.main").getByRole("alert");
  await told.waitFor();
  expect(await told.textContent()).toContain("The server does not answer");
  expect(await told.textContent()).toContain("microtome serve");
  expect(await page.locator(".heatmap.dim").count(), "the old result stays, dimmed").toBe(1);
  await own([], first.port);
  await told.getByRole("button", { name: "Try again" }).click();
  await settled(page);
  expect(await page.locator(".panel.main h2").textContent()).toContain("mean");
  expect(await page.getByRole("alert").count()).toBe(0);
});

test("an answer cut off in the middle says so, and can be asked for again", async () => {
  const first = await own(["--workers", "1"]);
  const page = await open(place("ablation", FACT), { server: first.url, expected: /ERR_/ });
  await settled(page);
  await occupy(first.url, 3);
  await page.getByRole("radio", { name: "Mean" }).click();
  await page.locator(".panel.main").getByRole("button", { name: "Stop" }).waitFor();
  await first.kill();
  const told = page.locator(".panel.main").getByRole("alert");
  await told.waitFor();
  expect(await told.textContent()).toContain("The connection ended before the answer was complete");
  await own([], first.port);
  await told.getByRole("button", { name: "Try again" }).click();
  await settled(page);
});

test("a page opened while the server is away says so, and opens once it is there", async () => {
  const first = await own([]);
  const page = await open(place("lens", FACT), { server: first.url, expected: /ERR_/ });
  await settled(page);
  for (const unanswered of ["**/api/models", "**/api/models/demo"]) {
    await page.route(unanswered, (route) => route.abort("connectionrefused"));
    await page.reload();
    const told = page.getByRole("alert");
    await told.waitFor();
    expect(await told.textContent()).toContain("The server does not answer");
    await page.unroute(unanswered);
    await told.getByRole("button", { name: "Try again" }).click();
    await settled(page);
  }
});

test("a server with a full line is told about, with a way to try again", async () => {
  const { url } = await own(["--workers", "1", "--queue", "1"]);
  const page = await open(place("ablation", FACT), { server: url, expected: /503/ });
  await settled(page);
  const jobs = [await occupy(url, 4)];
  // One runs, one waits: the line is full.
  await expect.poll(async () => (await get<Job>(`/api/experiments/${jobs[0]?.id}`, url)).status).toBe("running");
  jobs.push(await occupy(url, 5));
  await page.getByRole("radio", { name: "Mean" }).click();
  const told = page.locator(".panel.main").getByRole("alert");
  await told.waitFor();
  const { detail, hint } = await refusal(url);
  expect(await told.textContent()).toContain(detail.slice(1));
  expect(await told.textContent()).toContain(hint.slice(1));
  await Promise.all(jobs.map(({ id }) => cancel(id, url)));
  await told.getByRole("button", { name: "Try again" }).click();
  await settled(page);
  expect(await page.locator(".panel.main h2").textContent()).toContain("mean");
});

/** What the server says to one more experiment. */
async function refusal(url: string): Promise<{ detail: string; hint: string }> {
  const response = await fetch(`${url}/api/experiments`, {
    method: "POST", headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(on({ prompts: [{ clean: "one more" }], method: "measure", metrics: ["entropy"] })),
  });
  expect(response.status).toBe(503);
  return response.json() as Promise<{ detail: string; hint: string }>;
}
