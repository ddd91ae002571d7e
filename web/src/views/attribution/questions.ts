// What the Attribution view asks: shares of the answer's logit, and patches estimated.

import type { AttributionPatching, Correction, Experiment } from "../../api";
import { experiment } from "../../state";
import type { Asked, Fields } from "../../state";

/** How many of the strongest estimates are measured as well. */
export const TOP = 20;

/** The position attributed: the one chosen where the prompt has it; null: the last. */
export function positionOf(pos: number | null, length: number): number | null {
  return pos !== null && pos < length - 1 ? pos : null;
}

const readAt = (at: number | null): Pick<Experiment, "read_at"> => (at === null ? {} : { read_at: at });

export type Parts = Pick<Fields, "parts" | "mlp"> & { at: number | null };

/** Shares of the logit of the answer, or of the logit difference, after the token at a position; null while there is none. */
export function shares(inputs: Asked | null, { parts, mlp, at }: Parts, layers: number): Experiment | null {
  if (!inputs || inputs.prompt === "" || inputs.target === "") return null;
  const apart = parts === "sources" ? { heads: "by_source" as const }
    : parts === "neurons" ? { neurons: [layerOf(mlp, layers)] }
      : {};
  return experiment({ ...inputs, corrupt: "" }, { direct_attribution: apart }, { metrics: [], ...readAt(at) });
}

/** The layer whose neurons are told apart: the one chosen where there is such a layer, else the last. */
export function layerOf(mlp: number | null, layers: number): number {
  return mlp !== null && mlp < layers ? mlp : layers - 1;
}

export type Estimated = Pick<Fields, "site" | "layout" | "direction" | "steps" | "fixes" | "check"> & { at: number | null };

/** Every patch of the layout, estimated by what it does to the answer after the token at a position; null where something is missing. */
export function estimate(inputs: Asked | null, how: Estimated): Experiment | null {
  if (!inputs || inputs.prompt === "" || inputs.corrupt === "" || inputs.target === "") return null;
  const corrections = correctionsOf(how);
  const method: AttributionPatching = {
    site: how.site, by: how.layout, direction: how.direction,
    ...(how.steps > 0 ? { steps: how.steps } : {}), ...(corrections.length > 0 ? { corrections } : {}),
    ...(how.check === "off" ? {} : { check: how.check === "all" ? "all" as const : { top: TOP } }),
  };
  return experiment(inputs, { attribution_patching: method }, { metrics: [inputs.foil ? "logit_diff" : "prob"], ...readAt(how.at) });
}

/** The corrections that fit the site; the QK fix stands in the address until the site is queries or keys. */
export function correctionsOf({ site, fixes }: Pick<Fields, "site" | "fixes">): Correction[] {
  const known: Correction[] = ["qk_fix", "grad_drop"];
  return known.filter((fix) => fixes.includes(fix) && (fix !== "qk_fix" || site === "q" || site === "k"));
}
