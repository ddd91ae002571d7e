// Where nodes in rows stand and which way edges take between them: an edge over several rows passes beside the nodes
// there. The same steps as the library's pictures take.

import { ordered } from "./order";
import type { Piece } from "./order";

/** A node as a box of this width in this row, rows counted from the bottom. */
export interface Block {
  row: number;
  width: number;
}

/** An edge from a node to one in a higher row, ending `shift` from the middle of that. */
export interface Link {
  from: number;
  to: number;
  width: number;
  shift: number;
}

export interface Places {
  /** Middle of every node, the leftmost edge of anything at 0. */
  x: number[];
  /** Of every edge, its middle in each row that it passes. */
  ways: number[][];
  width: number;
}

const BETWEEN_NODES = 14;
const BESIDE_NODE = 7;
const BETWEEN_EDGES = 5;
/** Of edges that come from one node. */
const IN_BUNDLE = 1.2;
const MOVES = 60;

export function placed(blocks: readonly Block[], links: readonly Link[]): Places {
  const rows: number[][] = Array.from({ length: Math.max(0, ...blocks.map(({ row }) => row + 1)) }, () => []);
  const pieces: Piece[][] = rows.map(() => []);
  const widths = blocks.map(({ width }) => width);
  /** The node the edge comes from, of vertices that are where an edge passes a row. */
  const passing: (number | null)[] = blocks.map(() => null);
  blocks.forEach(({ row }, node) => rows[row]?.push(node));
  const waypoints = links.map(({ from, to, width, shift }) => {
    const way: number[] = [];
    let lower = from;
    const last = blocks[to]?.row ?? 0;
    for (let row = (blocks[from]?.row ?? 0) + 1; row < last; row += 1) {
      const upper = widths.push(width) - 1;
      passing.push(from);
      rows[row]?.push(upper);
      pieces[row]?.push({ lower, upper, shift: 0, weight: lower === from ? 2 : 8 });
      way.push(upper);
      lower = upper;
    }
    pieces[last]?.push({ lower, upper: to, shift, weight: lower === from ? 1 : 2 });
    return way;
  });
  const order = ordered(rows, pieces, widths);
  const gap = (a: number, b: number): number => {
    const [one, other] = [passing[a] ?? null, passing[b] ?? null];
    if (one === null && other === null) return BETWEEN_NODES;
    if (one === null || other === null) return BESIDE_NODE;
    return one === other ? IN_BUNDLE : BETWEEN_EDGES;
  };
  const x = settled(order, pieces, widths, gap);
  const half = (vertex: number): number => (widths[vertex] ?? 0) / 2;
  const vertices = order.flat();
  const left = vertices.reduce((least, vertex) => Math.min(least, (x[vertex] ?? 0) - half(vertex)), Infinity);
  const right = vertices.reduce((most, vertex) => Math.max(most, (x[vertex] ?? 0) + half(vertex)), -Infinity);
  const at = (vertex: number): number => (x[vertex] ?? 0) - left;
  return {
    x: blocks.map((_, node) => at(node)), ways: waypoints.map((way) => way.map(at)),
    width: vertices.length === 0 ? 0 : right - left,
  };
}

/** Row after row moves as near to the weighted means of its neighbours as order and distances allow. */
function settled(order: readonly (readonly number[])[], pieces: readonly (readonly Piece[])[], widths: readonly number[], gap: (a: number, b: number) => number): Float64Array {
  const x = new Float64Array(widths.length);
  const offsets = order.map((row) => {
    let at = 0;
    return row.map((vertex, i) => {
      const before = row[i - 1];
      if (before !== undefined) at += ((widths[before] ?? 0) + (widths[vertex] ?? 0)) / 2 + gap(before, vertex);
      return at;
    });
  });
  order.forEach((row, r) => {
    const own = offsets[r] ?? [];
    row.forEach((vertex, i) => (x[vertex] = (own[i] ?? 0) - (own.at(-1) ?? 0) / 2));
  });
  for (let turn = 0; turn < MOVES; turn += 1) {
    for (let step = 0; step < order.length; step += 1) {
      const row = turn % 2 === 0 ? step : order.length - 1 - step;
      const wish = new Map<number, { sum: number; weight: number }>();
      const pull = (vertex: number, to: number, weight: number): void => {
        const { sum, weight: before } = wish.get(vertex) ?? { sum: 0, weight: 0 };
        wish.set(vertex, { sum: sum + weight * to, weight: before + weight });
      };
      for (const { lower, upper, shift, weight } of pieces[row] ?? []) pull(upper, (x[lower] ?? 0) - shift, weight);
      for (const { lower, upper, shift, weight } of pieces[row + 1] ?? []) pull(lower, (x[upper] ?? 0) + shift, weight);
      const [vertices, own] = [order[row] ?? [], offsets[row] ?? []];
      const wished = vertices.map((vertex, i) => {
        const of = wish.get(vertex);
        const value = of ? of.sum / of.weight : (x[vertex] ?? 0);
        return { value: value - (own[i] ?? 0), weight: of?.weight ?? 0.1 };
      });
      rising(wished).forEach((value, i) => (x[vertices[i] ?? 0] = value + (own[i] ?? 0)));
    }
  }
  return x;
}

/** The nearest values that never fall, by weighted least squares (pooling adjacent violators). */
export function rising(wished: readonly { value: number; weight: number }[]): number[] {
  const pools: { value: number; weight: number; n: number }[] = [];
  for (const one of wished) {
    let pool = { ...one, n: 1 };
    for (let last = pools.at(-1); last && last.value > pool.value; last = pools.at(-1)) {
      const weight = last.weight + pool.weight;
      pool = { value: (last.value * last.weight + pool.value * pool.weight) / weight, weight, n: last.n + pool.n };
      pools.pop();
    }
    pools.push(pool);
  }
  return pools.flatMap(({ value, n }) => new Array<number>(n).fill(value));
}
