import type { ExperimentRecord } from "../../api";
import { Result, TokenText, signed } from "../../components";
import type { Resource } from "../../state";

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
  if (!found) return null;
  const rows = found.promoted.map((high, i) => ({ high, low: found.suppressed[i] }));
  return (
    <table class={`metrictable${dim ? " dimmed" : ""}`} aria-label="Promoted tokens">
      <thead><tr><th scope="col" class="words" colSpan={2}>Raises</th><th scope="col" class="words second" colSpan={2}>Lowers</th></tr></thead>
      <tbody>
        {rows.map(({ high, low }) => (
          <tr key={high.token.id}>
            <td class="words"><TokenText text={high.token.token} /></td>
            <td>{signed(high.value)}</td>
            <td class="words second">{low && <TokenText text={low.token.token} />}</td>
            <td>{low && signed(low.value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
