// What every edge is worth, out of a record of edge attribution, and circuits of the strongest of them.

import type { ExperimentRecord, Table } from "../../api";

/** An input of a receiver: of a head its query, key or value; empty: the one input of an MLP or of the logits. */
export type Port = "q" | "k" | "v" | "";

export interface Edge {
  /** As the EAP files write it: `a5.h1->a8.h6<v>`. */
  name: string;
  from: string;
  to: string;
  port: Port;
  /** What is lost when the edge carries the corrupt run's value: minus the change. */
  score: number;
}

export interface Scores {
  /** The largest first. */
  edges: readonly Edge[];
  /** Of every sender the sum of its edges onwards. */
  nodes: ReadonlyMap<string, number>;
  unit: string;
  metric: string;
}

/** Nodes and edges on a way from the input to the logits. */
export interface Circuit {
  nodes: readonly string[];
  edges: readonly Edge[];
}

/** The table of a record's estimates; null for any other record. */
export function edgeTable(record: ExperimentRecord): Table | null {
  return (record.results.tables ?? []).find(({ axes }) => axes[0]?.name === "sender" && axes[1]?.name === "receiver") ?? null;
}

/** The scores of a table of noising: an edge that helps is positive. */
export function scoresOf(table: Table): Scores {
  const [senders, receivers] = [table.axes[0]?.labels ?? [], table.axes[1]?.labels ?? []];
  const edges = senders.flatMap((from, row) => receivers.flatMap((receiver, column): Edge[] => {
    const change = table.values[row * receivers.length + column];
    if (change == null) return [];
    const [, to = receiver, port = ""] = /^(.*)<([qkv])>$/.exec(receiver) ?? [];
    return [{ name: `${from}->${receiver}`, from, to, port: port as Port, score: change === 0 ? 0 : -change }];
  }));
  const nodes = new Map<string, number>();
  for (const { from, score } of edges) nodes.set(from, (nodes.get(from) ?? 0) + score);
  edges.sort((a, b) => Math.abs(b.score) - Math.abs(a.score));
  return { edges, nodes, unit: table.unit, metric: table.metric };
}

/** The circuit of so many of the strongest edges, as `microtome edges --top` takes it. */
export function circuitOf({ edges }: Scores, count: number): Circuit {
  const taken = edges.slice(0, count).filter(({ score }) => score !== 0);
  const up = reached("input", taken.map(({ from, to }) => [from, to]));
  const down = reached("logits", taken.map(({ from, to }) => [to, from]));
  const kept = taken.filter(({ from, to }) => up.has(from) && down.has(to));
  return { nodes: nodesOf(kept), edges: kept };
}

/** The nodes that edges touch, from the input up. */
export function nodesOf(edges: readonly Edge[]): string[] {
  const nodes = [...new Set(edges.flatMap(({ from, to }) => [from, to]))];
  return nodes.sort((a, b) => rowOf(a) - rowOf(b) || headOf(a) - headOf(b));
}

function reached(start: string, steps: readonly (readonly [string, string])[]): Set<string> {
  const next = new Map<string, string[]>();
  for (const [here, there] of steps) next.set(here, [...(next.get(here) ?? []), there]);
  const found = new Set([start]);
  const open = [start];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    for (const other of next.get(node) ?? []) {
      if (found.has(other)) continue;
      found.add(other);
      open.push(other);
    }
  }
  return found;
}

const HEAD = /^a(\d+)\.h(\d+)$/;
const MLP = /^m(\d+)$/;

/** What the rest of the page calls it: `L5H1`, `m5`, `input`. */
export function labelOf(node: string): string {
  const head = HEAD.exec(node);
  return head ? `L${head[1]}H${head[2]}` : node;
}

/** Rows from the bottom: the input, then of each layer its heads and its MLP, then the logits. */
export function rowOf(node: string): number {
  const [head, mlp] = [HEAD.exec(node), MLP.exec(node)];
  if (head) return 2 * Number(head[1]) + 1;
  if (mlp) return 2 * Number(mlp[1]) + 2;
  return node === "input" ? 0 : Number.MAX_SAFE_INTEGER;
}

/** The layer of a node; null for the ends. */
export function layerOf(node: string): number | null {
  const layer = HEAD.exec(node)?.[1] ?? MLP.exec(node)?.[1];
  return layer === undefined ? null : Number(layer);
}

function headOf(node: string): number {
  return Number(HEAD.exec(node)?.[2] ?? 0);
}
