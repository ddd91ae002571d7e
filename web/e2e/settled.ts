// When a view has its answers.

import type { Page } from "playwright-core";

/** Waits until nothing is under way, nothing is dimmed and no panel still waits for its answer. */
export async function settled(page: Page): Promise<void> {
  await page.locator("main.view .panel").first().waitFor();
  await page.waitForFunction(() => {
    const busy = ".working.on, .dim, .dimmed, .progress";
    const waiting = [...document.querySelectorAll(".empty")].some((empty) => /(Working|Loading)/.test(empty.textContent ?? ""));
    return document.querySelector(busy) === null && !waiting && document.querySelector("canvas, .headgrid .cell, .circuitgraph .node, .main .tokenheat .token") !== null;
  });
}
