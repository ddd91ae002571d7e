// An experiment as something to copy: what menus offer.

import type { Experiment } from "../api";
import type { MenuItem } from "../components";
import { commandFor, curlFor, readableJson, rustFor } from "../copy";
import { copy } from "./notice";

export function copyItems(experiment: Experiment | null): MenuItem[] {
  if (!experiment) return [{ key: "none", text: "Nothing to copy yet", disabled: true }];
  const item = (key: string, text: string, note: string, content: () => string): MenuItem => ({
    key, text, note, onPress: () => void copy(content(), `Copied as ${text}`),
  });
  return [
    item("command", "Command", "for a terminal", () => commandFor(experiment)),
    item("curl", "curl", "asks this server", () => curlFor(experiment, { origin: window.location.origin })),
    item("rust", "Rust", "with the microtome crate", () => rustFor(experiment)),
    item("json", "JSON", "the experiment itself", () => readableJson(experiment)),
  ];
}
