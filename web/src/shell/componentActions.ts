// What can be done with a part of the model wherever its name stands. A view that shows parts adds its line here.

import { workspace } from "../state";
import type { Component, Fields } from "../state";

export interface Action {
  text: string;
  /** Where it leads. */
  fields: Partial<Fields>;
}

/** The views that show a part, the one its name leads to first. */
export function actionsFor(name: string, component: Component): Action[] {
  const withIt = [...new Set([...workspace.cut.value, name])];
  switch (component.kind) {
    case "head":
      return [
        { text: "Open in Attention", fields: { view: "attention", head: name } },
        { text: "Cut in Surgery", fields: { view: "surgery", cut: withIt } },
        { text: "Ablate", fields: { view: "ablation", cut: [name] } },
        { text: "Patch", fields: { view: "patching", layout: "head", site: "z", patch: [name] } },
        { text: "Attribute", fields: { view: "attribution", attribution: "direct", parts: "components", part: name } },
        { text: "Trace in Circuit", fields: { view: "circuit", node: name, edge: "", pins: [...new Set([...workspace.pins.value, name])] } },
      ];
    case "attention":
      return [
        { text: "Patch its output", fields: { view: "patching", layout: "layer_position", site: "attn_out", patch: [] } },
        { text: "Read the stream after it", fields: { view: "lens", layer: component.layer + 1 } },
      ];
    case "mlp":
      return [
        { text: "Patch the MLP's output", fields: { view: "patching", layout: "layer_position", site: "mlp_out", patch: [] } },
        { text: "Ablate", fields: { view: "ablation", cut: [name] } },
        { text: "Its neurons", fields: { view: "neurons", mlp: component.layer, neuron: "" } },
        { text: "Trace in Circuit", fields: { view: "circuit", node: name, edge: "", pins: [...new Set([...workspace.pins.value, name])] } },
        { text: "Read the stream after it", fields: { view: "lens", layer: component.layer + 1 } },
      ];
    case "neuron":
      return [
        { text: "Open in Neurons", fields: { view: "neurons", neuron: name } },
        { text: "Ablate", fields: { view: "ablation", cut: [name] } },
        { text: "Steer with it", fields: { view: "steering", along: "neuron", neuron: name, into: null } },
        { text: "Patch the MLP's output", fields: { view: "patching", layout: "layer_position", site: "mlp_out", patch: [] } },
        { text: "Read the stream after it", fields: { view: "lens", layer: component.layer + 1 } },
      ];
  }
}
