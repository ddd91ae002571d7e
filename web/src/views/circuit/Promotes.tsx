import type { ExperimentRecord } from "../../api";
import { Result } from "../../components";
import type { Resource } from "../../state";
import { EndTable } from "../EndTokens";

/** The tokens whose logits the chosen component raises and lowers most, where the answer is read. */
export function Promotes({ of }: { of: Resource<ExperimentRecord> }) {
  return (
    <>
      <h3 class="small" title="Its output at the last position through the final LayerNorm, less the mean over the vocabulary">Promotes <span class="soft">logits at the last position</span></h3>
      <Result of={of} empty="…">{(record, stale) => <Tokens record={record} dim={stale} />}</Result>
    </>
  );
}

function Tokens({ record, dim }: { record: ExperimentRecord; dim: boolean }) {
  const found = record.results.promotions?.[0];
  return found ? <div class={dim ? "dimmed" : ""}><EndTable label="Promoted tokens" promoted={found.promoted} suppressed={found.suppressed} /></div> : null;
}
