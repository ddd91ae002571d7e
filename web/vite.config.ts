import { resolve } from "node:path";
import { defineConfig } from "vitest/config";

// The address `microtome serve --no-open` listens on; MICROTOME_URL points the dev server elsewhere.
const server = process.env["MICROTOME_URL"] ?? "http://127.0.0.1:8642";
const served = ["/api", "/health", "/metrics", "/openapi.json"];

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: {
    // Origin is rewritten as well: the server refuses posts from pages it did not serve.
    proxy: Object.fromEntries(served.map((path) => [path, { target: server, changeOrigin: true, headers: { origin: server } }])),
  },
  build: {
    target: "es2022",
    // The content security policy allows scripts from the server alone, so nothing is inlined.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { index: resolve(import.meta.dirname, "index.html"), docs: resolve(import.meta.dirname, "docs.html") },
    },
  },
  test: { include: ["src/**/*.test.ts", "src/**/*.test.tsx"] },
});
