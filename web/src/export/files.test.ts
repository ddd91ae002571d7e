import { expect, test } from "vitest";
import type { Experiment, ExperimentRecord } from "../api/schema";
import { artefacts } from "./artefacts";
import { escapeHtml } from "./document";
import { fileName } from "./download";

const experiment: Experiment = { model: "org/my model", prompts: [{ clean: "A" }], method: { ablate: { targets: "heads", with: "zero" } } };
const record = (tables: object[]): ExperimentRecord =>
  ({ experiment, results: { prompts: [], tables, notes: [], runs: 1, runs_wanted: 1 } }) as unknown as ExperimentRecord;

test("a file is named after model and method, in letters every file system takes", () => {
  expect(fileName(experiment, "csv")).toBe("microtome-org-my-model-ablate.csv");
  expect(fileName({ ...experiment, method: "measure" }, "json")).toBe("microtome-org-my-model-measure.json");
});

test("pictures and tables are offered where there is a table", () => {
  expect(artefacts(record([])).map(({ label }) => label)).toEqual(["Record (JSON)"]);
  expect(artefacts(record([{}])).map(({ label }) => label)).toEqual([
    "Plot (PNG)", "Plot (SVG)", "Table (CSV)", "All tables (safetensors)", "Record (JSON)",
  ]);
  expect(artefacts(record([{}]), 1)).toHaveLength(1);
});

test("text in HTML stays text, in attributes too", () => {
  expect(escapeHtml(`<a href="x">'&'</a>`)).toBe("&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
});
