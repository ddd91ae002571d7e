// Groups drawn as one node each: an edge of theirs stands for all edges between the members.

import type { Group } from "./groups";
import { labelOf, layerOf, nodesOf, rowOf } from "./scores";
import type { Circuit, Edge, Scores } from "./scores";

/** A circuit as it is drawn. */
export interface Gathered {
  circuit: Circuit;
  /** Of every node drawn, its name, its row from the bottom and what it is worth. */
  nameOf: (node: string) => string;
  rowOf: (node: string) => number;
  worthOf: (node: string) => number | null;
  /** The edges that an edge stands for, the strongest first: itself, or all between the members of its ends. */
  edgesOf: (edge: Edge) => readonly Edge[];
  /** Groups with a way out of them and back in, which as one node would read what it writes; their members stand apart. */
  apart: readonly string[];
}

const MARK = "@";

/** What nodes are worth together: the sum of the edges onwards from them, without those from one to another, whose effect is in what that one writes. */
export function worthTogether({ edges }: Scores, nodes: readonly string[]): number {
  const within = (node: string): boolean => nodes.includes(labelOf(node));
  return edges.reduce((sum, { from, to, score }) => sum + (within(from) && !within(to) ? score : 0), 0);
}

/** The node of a group. */
export function groupNode(name: string): string {
  return `${MARK}${name}`;
}

/** The group whose node this is. */
export function groupOfNode(node: string, groups: readonly Group[]): Group | undefined {
  return groups.find(({ name }) => groupNode(name) === node);
}

/** The circuit with a node for every group of two members or more that are in it, as far as no group reads itself. */
export function gathered(circuit: Circuit, scores: Scores, groups: readonly Group[], gather: "one" | "apart" = "one"): Gathered {
  const drawn = gather === "apart" ? [] : groups.filter(({ nodes }) => circuit.nodes.filter((node) => nodes.includes(labelOf(node))).length > 1);
  const apart: string[] = [];
  for (;;) {
    const whole = drawn.filter(({ name }) => !apart.includes(name));
    const [made, looped] = merged(circuit, scores, whole);
    const group = whole.findLast(({ name }) => looped.has(groupNode(name)));
    if (!group) return { ...made, nameOf: named(groups, whole), apart };
    apart.push(group.name);
  }
}

/** The nodes and edges drawn, and the nodes that no order puts above all they read. */
function merged(circuit: Circuit, scores: Scores, groups: readonly Group[]): [Omit<Gathered, "nameOf" | "apart">, ReadonlySet<string>] {
  const ends = new Map(groups.flatMap(({ name, nodes }) => nodes.map((node) => [node, groupNode(name)] as const)));
  const endOf = (node: string): string => ends.get(labelOf(node)) ?? node;
  const nameOfEdge = ({ from, to, port }: Edge): string => `${endOf(from)}->${endOf(to)}${port && `<${port}>`}`;
  const taken = new Set(circuit.edges.map(nameOfEdge));
  const parts = new Map<string, Edge[]>();
  for (const edge of scores.edges) {
    const name = nameOfEdge(edge);
    if (endOf(edge.from) !== endOf(edge.to) && taken.has(name)) parts.set(name, [...(parts.get(name) ?? []), edge]);
  }
  const edges = [...parts].map(([name, of]): Edge => {
    const [first] = of as [Edge];
    return { name, from: endOf(first.from), to: endOf(first.to), port: first.port, score: of.reduce((sum, { score }) => sum + score, 0) };
  });
  edges.sort((a, b) => Math.abs(b.score) - Math.abs(a.score));
  const [rows, looped] = rowsOf(edges, groups);
  const row = (node: string): number => rows.get(node) ?? rowOf(node);
  const nodes = nodesOf(edges).sort((a, b) => row(a) - row(b));
  const worthOf = (node: string): number | null => {
    const group = groupOfNode(node, groups);
    return group ? worthTogether(scores, group.nodes) : (scores.nodes.get(node) ?? null);
  };
  return [{ circuit: { nodes, edges }, rowOf: row, worthOf, edgesOf: (edge) => parts.get(edge.name) ?? [edge] }, looped];
}

/** The lowest rows in which every node stands above all it reads, no node below its own; of a group, its lowest member's. */
function rowsOf(edges: readonly Edge[], groups: readonly Group[]): [ReadonlyMap<string, number>, ReadonlySet<string>] {
  const lowest = (node: string): number => {
    const members = groupOfNode(node, groups)?.nodes ?? [];
    return members.length > 0 ? Math.min(...members.map((label) => rowOf(nodeOf(label)))) : rowOf(node);
  };
  const open = new Set(edges.flatMap(({ from, to }) => [from, to]));
  const rows = new Map<string, number>();
  for (let found = true; found;) {
    found = false;
    for (const node of open) {
      const reads = edges.filter(({ to }) => to === node).map(({ from }) => from);
      if (reads.some((from) => open.has(from))) continue;
      rows.set(node, Math.max(lowest(node), ...reads.map((from) => (rows.get(from) ?? 0) + 1)));
      open.delete(node);
      found = true;
    }
  }
  return [rows, open];
}

/** `L5H1` as `a5.h1`. */
export function nodeOf(label: string): string {
  return label.replace(/^L(\d+)H(\d+)$/, "a$1.h$2");
}

/** What boxes say: a component and the group it is in, or a group with its layers where they are several. */
function named(groups: readonly Group[], whole: readonly Group[]): (node: string) => string {
  return (node) => {
    const group = groupOfNode(node, whole);
    if (!group) {
      const label = labelOf(node);
      const of = groups.find(({ nodes }) => nodes.includes(label));
      return of ? `${label} · ${of.name}` : label;
    }
    const layers = group.nodes.map((label) => layerOf(nodeOf(label)) ?? 0);
    const [first, last] = [Math.min(...layers), Math.max(...layers)];
    return `${group.name} · ${group.nodes.length}${first === last ? "" : ` of layers ${first} to ${last}`}`;
  };
}
