// Cutting heads by pointer: a stroke cuts what it passes, or mends it, as its first cell decides.

import { headName } from "../../state/heads";

export interface Stroke {
  /** Whether the stroke cuts; otherwise it mends. */
  cuts: boolean;
  cut: readonly string[];
}

export function begin(cut: readonly string[], name: string): Stroke {
  return pass({ cuts: !cut.includes(name), cut }, name);
}

export function pass(stroke: Stroke, name: string): Stroke {
  const { cuts, cut } = stroke;
  if (cut.includes(name) === cuts) return stroke;
  return { cuts, cut: cuts ? [...cut, name] : cut.filter((other) => other !== name) };
}

export function row(layer: number, nHeads: number): string[] {
  return Array.from({ length: nHeads }, (_, head) => headName(layer, head));
}

export function column(head: number, nLayers: number): string[] {
  return Array.from({ length: nLayers }, (_, layer) => headName(layer, head));
}

/** The names of the `count` largest values, layer-major, largest first. */
export function strongest(values: readonly (number | null)[], nHeads: number, count: number): string[] {
  return values
    .map((value, cell) => ({ size: Math.abs(value ?? 0), cell }))
    .filter(({ size }) => size > 0)
    .sort((a, b) => b.size - a.size)
    .slice(0, count)
    .map(({ cell }) => headName(Math.floor(cell / nHeads), cell % nHeads));
}

/** Points on the way from one to another, close enough that no cell between them is missed. */
export function between(from: { x: number; y: number }, to: { x: number; y: number }, step = 8): { x: number; y: number }[] {
  const count = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / step));
  return Array.from({ length: count }, (_, i) => {
    const share = (i + 1) / count;
    return { x: from.x + share * (to.x - from.x), y: from.y + share * (to.y - from.y) };
  });
}

/** Two figures, for a cell. */
export function brief(value: number): string {
  return Math.abs(value) >= 10 ? value.toFixed(0) : Number(value.toPrecision(2)).toString();
}
