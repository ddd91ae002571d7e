// What the Lens view asks: a prompt read by the logit lens, and by the tuned lens beside it where one is open.

import type { Experiment } from "../../api";
import { experiment } from "../../state";
import type { Asked, Fields } from "../../state";
import { colours } from "./colour";
import { takesTuned } from "./lenses";

/** How the lens reads. */
export type Lensed = Pick<Fields, "rows" | "norm" | "compare">;

/** `open`: the tuned lens open beside the model, which reads along where it can. */
export function lensQuestion(inputs: Asked | null, { rows, norm, compare }: Lensed, open: string | null): Experiment | null {
  if (!inputs || inputs.prompt === "") return null;
  const answered = inputs.target !== "";
  const parts = rows === "contributions";
  const names = colours(rows, answered, inputs.foil !== "").filter((name) => name !== "top1_prob" && (answered || (name !== "prob" && name !== "rank")));
  const asked = { ...inputs, corrupt: compare === "corrupt" ? inputs.corrupt : "", foil: parts ? inputs.foil : "" };
  // The norm that does not fit the rows stands in the address until the rows are others.
  const fits = norm !== "" && !(parts && norm === "final");
  const method = {
    ...(rows === "layers" ? {} : { rows }), ...(fits ? { norm: norm === "bare" ? "none" as const : norm } : {}),
    ...(open !== null && takesTuned({ rows, norm }) ? { tuned: open } : {}),
  };
  return experiment(asked, { logit_lens: method }, { metrics: [...names] });
}
