// What the page puts on the clipboard.

import type { Page } from "playwright-core";

/** What "Copy as" gives under this name. */
export async function copied(page: Page, name: string): Promise<string> {
  await page.getByRole("button", { name: "Copy as" }).click();
  await page.getByRole("menuitem", { name }).click();
  await page.getByRole("status").getByText(`Copied as ${name}`).waitFor();
  return page.evaluate(() => navigator.clipboard.readText());
}
