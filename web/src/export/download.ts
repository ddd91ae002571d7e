// Handing files to the browser, and what they are called.

import type { Experiment } from "../api/schema";

/** Saves bytes as a file, as if a link to it had been clicked. */
export function saveFile(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The browser reads the address after the click has returned.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function saveText(name: string, text: string, type: string): void {
  saveFile(name, new Blob([text], { type: `${type};charset=utf-8` }));
}

/** `microtome-demo-ablate.csv`: the model and the method, in letters every file system takes. */
export function fileName({ model, method }: Experiment, ending: string): string {
  const what = typeof method === "string" ? method : (Object.keys(method)[0] ?? "experiment");
  const words = ["microtome", model, what].join("-").replace(/[^A-Za-z0-9-]+/g, "-").replace(/^-+|-+$/g, "");
  return `${words}.${ending}`;
}
