// Heads by name, and how a click changes which are chosen.

export interface Head {
  layer: number;
  head: number;
}

export const headName = (layer: number, head: number): string => `L${layer}H${head}`;

export function parseHead(name: string): Head | null {
  const found = /^L(\d+)H(\d+)$/.exec(name);
  return found ? { layer: Number(found[1]), head: Number(found[2]) } : null;
}

/** How a pick joins what is chosen: alone, added to it, or turned over. */
export type Pick = "replace" | "add" | "toggle";

/** The names chosen after picking some, in their old order, new ones behind. */
export function picked(chosen: readonly string[], names: readonly string[], pick: Pick): string[] {
  if (pick === "replace") {
    // A click on the only chosen one gives it up.
    return chosen.length === 1 && names.length === 1 && chosen[0] === names[0] ? [] : [...names];
  }
  const every = names.every((name) => chosen.includes(name));
  if (pick === "toggle" && every) return chosen.filter((name) => !names.includes(name));
  return [...chosen, ...names.filter((name) => !chosen.includes(name))];
}
