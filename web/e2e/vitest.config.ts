import { resolve } from "node:path";
import { defineConfig } from "vitest/config";

// The page in a real browser through a real server (`npm run e2e`). What it takes from the environment:
//   MICROTOME_BIN       the server's program; ../target/debug/microtome where left out
//   MICROTOME_PAGE      a folder with a built page to show in place of the one inside the program
//   CHROMIUM            the browser's program; /usr/bin/chromium where left out
//   SCREENSHOTS         where pictures go; a new temporary folder where left out
//   UPDATE_SCREENSHOTS  1: pictures go to docs/workbench
export default defineConfig({
  root: resolve(import.meta.dirname, ".."),
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  test: {
    include: ["e2e/**/*.e2e.ts"],
    globalSetup: ["e2e/setup.ts"],
    // One model answers all of them: side by side they would wait for each other.
    fileParallelism: false,
    maxWorkers: 1,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
