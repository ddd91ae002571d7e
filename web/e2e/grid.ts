// Reading a heatmap: its canvas has no cells, so they are walked by arrow keys and read in words.

import type { Locator, Page } from "playwright-core";

/** A heatmap by its name. */
export function heatmap(page: Page, name: RegExp | string): Locator {
  return page.getByRole("grid", { name });
}

/** The cell that the keyboard is at, in words. */
export async function cellText(grid: Locator): Promise<string> {
  return (await grid.locator('[role="gridcell"]').textContent()) ?? "";
}

/** Every cell in words, row by row from the first, whichever way the rows run. */
export async function readCells(grid: Locator, { topDown = false } = {}): Promise<string[]> {
  const rows = Number(await grid.getAttribute("aria-rowcount"));
  const columns = Number(await grid.getAttribute("aria-colcount"));
  const [back, on] = topDown ? ["ArrowUp", "ArrowDown"] : ["ArrowDown", "ArrowUp"];
  const read = async (row: number, column: number): Promise<string> =>
    (await grid.locator(`[role="row"][aria-rowindex="${row + 1}"] > [aria-colindex="${column + 1}"]`).textContent()) ?? "";
  await grid.focus();
  for (let i = 1; i < rows; i++) await grid.press(back);
  const cells: string[] = [];
  for (let row = 0; row < rows; row++) {
    await grid.press("Home");
    for (let column = 0; column < columns; column++) {
      cells.push(await read(row, column));
      if (column + 1 < columns) await grid.press("ArrowRight");
    }
    if (row + 1 < rows) await grid.press(on);
  }
  return cells;
}
