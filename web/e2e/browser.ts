// Windows onto the page. A window that has complained in its console fails its test.

import { readFileSync } from "node:fs";
import { extname, join } from "node:path";
import AxeBuilder from "@axe-core/playwright";
import { chromium } from "playwright-core";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, inject } from "vitest";

export interface Look {
  width?: number;
  height?: number;
  theme?: "light" | "dark";
  /** Another server than the shared one. */
  server?: string;
  /** Complaints that belong to the test: what the browser says of an answer that is an error, say. */
  expected?: RegExp;
}

export const DESK = { width: 1440, height: 900 } as const;
export const PHONE = { width: 360, height: 780 } as const;

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

let browser: Browser;
let windows: { context: BrowserContext; complaints: string[]; expected: RegExp | undefined }[] = [];

/** Opens the browser for the tests of a file, and closes their windows after each. */
export function useBrowser(): void {
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium", args: FLAGS });
  });
  afterEach(async () => {
    const opened = windows;
    windows = [];
    await Promise.all(opened.map(({ context }) => context.close()));
    for (const { complaints, expected } of opened) {
      expect(complaints.filter((complaint) => !expected?.test(complaint)), "what the browser's console says").toEqual([]);
    }
  });
  afterAll(() => browser?.close());
}

/** A new window, with storage of its own, on a place of the page: `/?view=lens&prompt=Hello`. */
export async function open(place = "/", { width = DESK.width, height = DESK.height, theme = "light", server = inject("server"), expected }: Look = {}): Promise<Page> {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: theme, baseURL: server, reducedMotion: "reduce",
    permissions: ["clipboard-read", "clipboard-write"], hasTouch: width < 600,
  });
  context.setDefaultTimeout(30_000);
  const complaints: string[] = [];
  windows.push({ context, complaints, expected });
  // What the content security policy refuses is said in the console too.
  context.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(`${message.text()} (${message.location().url})`);
  });
  context.on("weberror", (error) => complaints.push(String(error.error())));
  await showOwnPage(context, server);
  const page = await context.newPage();
  await page.goto(place);
  return page;
}

/** The address of a view with some of its state. */
export function place(view: string, state: Readonly<Record<string, string>> = {}): string {
  return `/?${new URLSearchParams({ view, ...state }).toString()}`;
}

/** A part of the page's state, from its address as it is at this moment. */
export function state(page: Page, field: string): Promise<string | null> {
  return page.evaluate((name) => new URLSearchParams(window.location.search).get(name), field);
}

export interface Finding {
  rule: string;
  where: string[];
}

/** What axe finds serious or critical by WCAG 2 A and AA. */
export async function seriousFindings(page: Page): Promise<Finding[]> {
  const { violations } = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa"]).analyze();
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => ({ rule: id, where: nodes.map(({ target, failureSummary }) => `${target.join(" ")}: ${failureSummary ?? ""}`) }));
}

const TYPES: Readonly<Record<string, string>> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

/** A page built since the program was, under the policy that the program sets. */
async function showOwnPage(context: BrowserContext, server: string): Promise<void> {
  const folder = process.env["MICROTOME_PAGE"];
  if (!folder) return;
  const policy = (await fetch(server)).headers.get("content-security-policy") ?? "";
  const files: Readonly<Record<string, string>> = { "/": "index.html", "/docs": "docs.html" };
  const isPage = ({ pathname }: URL): boolean => pathname in files || pathname.startsWith("/assets/") || pathname === "/icon.svg";
  await context.route(isPage, (route) => {
    const { pathname } = new URL(route.request().url());
    const file = join(folder, files[pathname] ?? pathname);
    return route.fulfill({
      body: readFileSync(file), headers: { "content-type": TYPES[extname(file)] ?? "", "content-security-policy": policy },
    });
  });
}
