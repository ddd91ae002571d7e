// Parts of a model by name, as the API writes them: head `L4H6`, attention layer `a4`, MLP `m4`, neuron `L4N120`.

export type Component =
  | { kind: "head"; layer: number; head: number }
  | { kind: "attention"; layer: number }
  | { kind: "mlp"; layer: number }
  | { kind: "neuron"; layer: number; neuron: number };

/** The part a name stands for; null for any other text. */
export function parseComponent(name: string): Component | null {
  const unit = /^L(\d+)([HN])(\d+)$/.exec(name);
  if (unit) {
    const [layer, index] = [Number(unit[1]), Number(unit[3])];
    return unit[2] === "H" ? { kind: "head", layer, head: index } : { kind: "neuron", layer, neuron: index };
  }
  const layer = /^([am])(\d+)$/.exec(name);
  return layer && { kind: layer[1] === "a" ? "attention" : "mlp", layer: Number(layer[2]) };
}

/** What it is, in words: `Head 6 of layer 4`. */
export function componentTitle(component: Component): string {
  switch (component.kind) {
    case "head": return `Head ${component.head} of layer ${component.layer}`;
    case "attention": return `All heads of layer ${component.layer}`;
    case "mlp": return `MLP of layer ${component.layer}`;
    case "neuron": return `Neuron ${component.neuron} of layer ${component.layer}`;
  }
}
