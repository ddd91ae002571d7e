// Attribution: the answer's logit taken apart, and patches estimated all at once.

import { workspace } from "../state";
import { EstimatesFace } from "./attributionEstimates";
import { SharesFace } from "./attributionShares";

export function AttributionPage() {
  return workspace.attribution.value === "estimate" ? <EstimatesFace /> : <SharesFace />;
}
