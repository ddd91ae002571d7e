// What the Neurons view asks: which neurons are strongest, and what one of them does.

import type { Experiment } from "../../api";
import { experiment, parseComponent } from "../../state";
import type { Asked, Fields } from "../../state";

/** How many neurons are listed, and how many tokens at either end. */
const [LISTED, TOKENS] = [24, 8];

export type Ranking = Pick<Fields, "mlp" | "ranked" | "pos">;

/** The strongest neurons at a position; by what they write only where there is an answer. */
export function strongestNeurons(inputs: Asked | null, { mlp, ranked, pos }: Ranking): Experiment | null {
  if (!inputs || inputs.prompt === "") return null;
  const by = inputs.target === "" ? "activation" : ranked;
  const method = { strongest_neurons: { ...(mlp === null ? {} : { layers: [mlp] }), by, top: LISTED } };
  return experiment({ ...inputs, corrupt: "" }, method, { metrics: [], ...(pos === null ? {} : { read_at: pos }) });
}

/** What one neuron does on the prompt; null for anything else. */
export function neuronProfile(inputs: Asked | null, neuron: string): Experiment | null {
  if (!inputs || inputs.prompt === "" || parseComponent(neuron)?.kind !== "neuron") return null;
  const metrics = [...(inputs.target && inputs.foil ? ["logit_diff"] : []), ...(inputs.target ? ["prob"] : []), "kl"];
  return experiment({ ...inputs, corrupt: "" }, { neuron: { neuron, tokens: TOKENS } }, { metrics });
}
