// What roles the heads of a model play: their scores as previous-token, duplicate-token and induction heads.

import { useComputed } from "@preact/signals";
import { runExperiment } from "../api";
import type { Experiment, ExperimentRecord } from "../api";
import { model } from "./model";
import { rounding } from "./prompt";
import { useResource } from "./resource";
import type { Resource } from "./resource";

/** Scores need no prompt, so they are asked for once a model; the server keeps the answer. */
export function useRoles(): Resource<ExperimentRecord> & { experiment: Experiment | null } {
  const key = useComputed<Experiment | null>(() => {
    const about = model.value;
    return about && { model: about.id, weights: about.weights, ...rounding(about.precision), prompts: [], method: { head_scores: {} } };
  });
  return { ...useResource(key, runExperiment), experiment: key.value };
}
