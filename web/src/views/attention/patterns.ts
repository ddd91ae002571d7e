// Reading attention patterns: one number for every layer, head, query and key.

import type { AttentionPatterns } from "../../api";

/** The pattern of one head, query by query. */
export function patternOf({ shape, pattern }: AttentionPatterns, layer: number, head: number): Float32Array {
  const [, heads, queries, keys] = shape;
  const start = (layer * heads + head) * queries * keys;
  return pattern.subarray(start, start + queries * keys);
}

export interface Look {
  pos: number;
  weight: number;
}

/** Where a query looks most. */
export function looksFrom(pattern: Float32Array, n: number, query: number, count: number): Look[] {
  return strongest(Array.from({ length: query + 1 }, (_, key) => ({ pos: key, weight: pattern[query * n + key] ?? 0 })), count);
}

/** Which queries look most at a key. */
export function looksAt(pattern: Float32Array, n: number, key: number, count: number): Look[] {
  return strongest(Array.from({ length: n - key }, (_, i) => ({ pos: key + i, weight: pattern[(key + i) * n + key] ?? 0 })), count);
}

/** The largest weight of a pattern; 1 where there is none. */
export function top(pattern: Float32Array): number {
  return pattern.reduce((most, weight) => Math.max(most, weight), 0) || 1;
}

function strongest(looks: Look[], count: number): Look[] {
  return looks.sort((a, b) => b.weight - a.weight).slice(0, count);
}
