// Nodes gathered under a name, and nodes that stay in the drawing, as the address keeps them: `movers:L3H2,L2H1`.

import type { Circuit, Edge, Scores } from "./scores";
import { labelOf } from "./scores";

export interface Group {
  name: string;
  /** Labels of its nodes. */
  nodes: readonly string[];
}

export function parseGroups(texts: readonly string[]): Group[] {
  return texts.flatMap((text): Group[] => {
    const cut = text.lastIndexOf(":");
    const nodes = text.slice(cut + 1).split(",").filter(Boolean);
    return cut > 0 && nodes.length > 0 ? [{ name: text.slice(0, cut), nodes }] : [];
  });
}

export function writeGroups(groups: readonly Group[]): string[] {
  return groups.filter(({ nodes }) => nodes.length > 0).map(({ name, nodes }) => `${name}:${nodes.join(",")}`);
}

/** The groups with a node in the one of this name, and in no other; an empty name takes it out. */
export function grouped(groups: readonly Group[], node: string, name: string): Group[] {
  const without = groups.map((group) => ({ ...group, nodes: group.nodes.filter((other) => other !== node) }));
  if (name === "") return without.filter(({ nodes }) => nodes.length > 0);
  const known = without.some((group) => group.name === name);
  const all = known ? without : [...without, { name, nodes: [] }];
  return all.map((group) => (group.name === name ? { name, nodes: [...group.nodes, node] } : group)).filter(({ nodes }) => nodes.length > 0);
}

/** A circuit with these nodes in it: each on its strongest edges from the input and on to the logits. */
export function withPinned(circuit: Circuit, { edges }: Scores, pinned: readonly string[]): Edge[] {
  const taken = new Map(circuit.edges.map((edge) => [edge.name, edge]));
  const inside = new Set(circuit.nodes);
  const walk = (start: string, end: string, next: (node: string) => Edge | undefined, other: (edge: Edge) => string): void => {
    for (let node = start; node !== end;) {
      const edge = next(node);
      if (!edge) return;
      taken.set(edge.name, edge);
      node = other(edge);
      if (inside.has(node)) return;
    }
  };
  // Edges are sorted by strength: the first found is the strongest.
  const nodes = new Set(edges.map(({ from }) => from).filter((node) => pinned.includes(labelOf(node))));
  for (const node of nodes) {
    if (inside.has(node)) continue;
    walk(node, "input", (to) => edges.find((edge) => edge.to === to && edge.score !== 0), ({ from }) => from);
    walk(node, "logits", (from) => edges.find((edge) => edge.from === from && edge.score !== 0), ({ to }) => to);
  }
  return edges.filter(({ name }) => taken.has(name));
}
