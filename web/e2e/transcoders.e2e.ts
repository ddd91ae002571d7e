// A transcoder on the page: the Features view says both its places, and what it shows is what the API says.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { percent, plain } from "../src/components/number";
import { ask, on } from "./api";
import { open, place, state, useBrowser } from "./browser";
import { NAMES } from "./prompts";
import { startServer } from "./server";
import type { Server } from "./server";
import { settled } from "./settled";

const [D_MODEL, D_SAE] = [128, 40];
const [READS, WRITES] = ["blocks.1.ln2.hook_normalized", "blocks.2.hook_mlp_out"];

/** A safetensors file of these sizes, its numbers around 0. */
function weights(shapes: Readonly<Record<string, readonly number[]>>): Buffer {
  let at = 0;
  const header: Record<string, object> = {};
  for (const [name, shape] of Object.entries(shapes)) {
    const bytes = 4 * shape.reduce((all, size) => all * size, 1);
    header[name] = { dtype: "F32", shape, data_offsets: [at, at + bytes] };
    at += bytes;
  }
  const json = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(json.length));
  const numbers = Float32Array.from({ length: at / 4 }, (_, i) => 0.3 * Math.sin(i * 0.737) * Math.cos(i * 0.131));
  return Buffer.concat([size, json, Buffer.from(numbers.buffer)]);
}

let folder = "";
let server: Server | undefined;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "transcoder-"));
  writeFileSync(join(folder, "sae_weights.safetensors"), weights({
    W_enc: [D_MODEL, D_SAE], b_enc: [D_SAE], W_dec: [D_SAE, D_MODEL], b_dec: [D_MODEL], W_skip: [D_MODEL, D_MODEL],
  }));
  const kwargs = { fold_ln: true, center_writing_weights: true };
  writeFileSync(join(folder, "cfg.json"), JSON.stringify({
    architecture: "skip_transcoder", d_in: D_MODEL, d_out: D_MODEL, d_sae: D_SAE,
    metadata: { hook_name: READS, hook_name_out: WRITES, model_name: "demo", model_from_pretrained_kwargs: kwargs },
  }));
  server = await startServer(["--sae", folder]);
});
// Said before the browser is opened, this runs after its windows are closed: they would miss their server.
afterEach(async () => {
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

useBrowser();

test("both places of a transcoder are said, and what it keeps is the API's", async () => {
  const url = server?.url ?? "";
  const reading = { prompts: [{ clean: NAMES.prompt }], method: { features: { sae: folder, top: 24, losses: "measured" as const } }, metrics: [] };
  const report = (await ask(on(reading), url)).results.features;
  if (!report) throw new Error("the record says nothing of features");
  const page = await open(place("features", NAMES), { server: url });
  await settled(page);
  const said = page.getByText("skip_transcoder; 40 features that read");
  expect(await said.textContent()).toBe(`skip_transcoder; 40 features that read ${READS}, 128 wide, and write at ${WRITES}, 128 wide`);
  const list = page.getByRole("list", { name: "Active features" });
  expect(await list.locator(".name").allTextContents()).toEqual(report.overall.map(({ feature }) => String(feature)));
  const kept = await page.getByLabel("What it keeps").locator("dd").allTextContents();
  const { quality } = report;
  const shares = [quality.explained_variance, quality.losses?.recovered_from_zero, quality.losses?.recovered_from_mean];
  expect(kept).toEqual([plain(quality.l0), ...shares.map((share) => percent(share ?? Number.NaN))]);
  await list.getByRole("button").first().click();
  await page.getByRole("button", { name: "Steer with it" }).click();
  await settled(page);
  expect(await state(page, "view")).toBe("steering");
  expect(await page.getByRole("radiogroup", { name: "Before layer" }).getByRole("radio", { name: "3" }).isChecked()).toBe(true);
});
