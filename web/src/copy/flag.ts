// Options of a command.

import type { Text } from "../api/schema";

export type Flag = [flag: string, value?: string];

/** A flag where there is something to say with it. */
export function given(flag: string, value: string | number | null | undefined): Flag[] {
  return value == null ? [] : [[flag, String(value)]];
}

/** A flag without a value, where it is meant. */
export function when(is: boolean, flag: string): Flag[] {
  return is ? [[flag]] : [];
}

/** A list, where it is not empty. */
export function listed(flag: string, items: readonly (string | number)[]): Flag[] {
  return items.length === 0 ? [] : [[flag, items.join(",")]];
}

/** Names of the API are flags' values with dashes. */
export function dashed(name: string): string {
  return name.replaceAll("_", "-");
}

export function written(text: Text): string {
  return typeof text === "string" ? text : text.join(",");
}
