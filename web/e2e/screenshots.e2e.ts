// Pictures of every view, to be looked at; those of the documentation are made here too.

import { mkdirSync, mkdtempSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { PHONE, open, place, useBrowser } from "./browser";
import type { Look } from "./browser";
import { FACT, NAMES, SAID_TWICE } from "./prompts";
import { settled } from "./settled";

useBrowser();

const folder = process.env["UPDATE_SCREENSHOTS"] === "1"
  ? resolve(import.meta.dirname, "../../docs/workbench")
  : (process.env["SCREENSHOTS"] ?? mkdtempSync(join(tmpdir(), "microtome-pictures-")));
mkdirSync(folder, { recursive: true });

const MOST_BYTES = 250_000;

const SURGERY = place("surgery", { ...FACT, cut: "L0H3,L1H2,L4H3" });
const ABLATION = place("ablation", { ...FACT, cut: "L0H3,L1H2" });
const PAIRS = place("ablation", { ...NAMES, sweep: "pairs", cut: "L0H3,L1H2" });
const PATCHING = place("patching", { ...NAMES, patch: "L3@10", pos: "10" });
const LENS = place("lens", { ...FACT, with: FACT.corrupt });
const TUNED = place("lens", { ...FACT, tuned: "demo", curve: "kl", layer: "2" });
const CIRCUIT = place("circuit", { ...NAMES, edge: "a1.h2->a2.h1<v>" });
const SHARES = place("attribution", { ...NAMES, part: "L2H1" });
const ESTIMATES = place("attribution", { ...NAMES, attribution: "estimate", part: "L2@10" });
const NEURONS = place("neurons", { ...NAMES, ranked: "direct_attribution" });
const FEATURES = place("features", { ...NAMES, listing: "worth", feature: "490" });
const STEERING = place("steering", { ...FACT, length: "30" });
const ATTENTION = place("attention", SAID_TWICE);

const PICTURES: readonly (Look & { name: string; at: string; wait?: string })[] = [
  { name: "surgery", at: SURGERY },
  { name: "surgery-dark", at: SURGERY, theme: "dark" },
  { name: "surgery-360", at: SURGERY, ...PHONE },
  { name: "ablation", at: ABLATION },
  { name: "ablation-360", at: ABLATION, ...PHONE },
  { name: "pairs", at: PAIRS },
  { name: "patching", at: PATCHING },
  { name: "patching-dark", at: PATCHING, theme: "dark" },
  { name: "lens", at: LENS },
  { name: "lens-tuned", at: TUNED },
  { name: "lens-tuned-dark", at: TUNED, theme: "dark" },
  { name: "lens-tuned-360", at: TUNED, ...PHONE },
  { name: "attention", at: ATTENTION },
  { name: "attention-circuit", at: place("attention", { ...SAID_TWICE, face: "circuit", head: "L1H3" }), theme: "dark", wait: "dl.facts dd" },
  { name: "attribution", at: SHARES },
  { name: "attribution-dark", at: SHARES, theme: "dark" },
  { name: "attribution-360", at: SHARES, ...PHONE },
  { name: "attribution-estimates", at: ESTIMATES },
  { name: "neurons", at: NEURONS },
  { name: "neurons-dark", at: NEURONS, theme: "dark" },
  { name: "neurons-360", at: NEURONS, ...PHONE },
  { name: "features", at: FEATURES },
  { name: "features-360", at: FEATURES, ...PHONE },
  { name: "steering", at: STEERING },
  { name: "steering-360", at: STEERING, ...PHONE },
  { name: "circuit", at: CIRCUIT },
  { name: "circuit-dark", at: CIRCUIT, theme: "dark" },
  { name: "circuit-360", at: CIRCUIT, ...PHONE },
];

test.each(PICTURES)("a picture of $name", async ({ name, at, wait, ...look }) => {
  const page = await open(at, look);
  if (wait) await page.locator(wait).first().waitFor();
  await settled(page);
  await still(page);
  const path = join(folder, `${name}.png`);
  await page.screenshot({ path });
  expect(statSync(path).size).toBeLessThan(MOST_BYTES);
});

/** Waits for letters and for canvases to have been drawn. */
async function still(page: Page): Promise<void> {
  await page.evaluate(async () => {
    await document.fonts.ready;
    await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
  });
}
