import type { TokenValue } from "../api";
import { TokenText, signed } from "../components";

interface EndTableProps {
  /** What the table is called. */
  label: string;
  promoted: readonly TokenValue[];
  suppressed: readonly TokenValue[];
}

interface EndTokensProps extends EndTableProps {
  title: string;
  note: string;
}

/** The tokens at either end of a list over the vocabulary, under a title. */
export function EndTokens({ title, note, ...ends }: EndTokensProps) {
  return (
    <div class="ends">
      <h3 class="small">{title} <span class="soft">{note}</span></h3>
      <EndTable {...ends} />
    </div>
  );
}

export function EndTable({ label, promoted, suppressed }: EndTableProps) {
  return (
    <table class="metrictable" aria-label={label}>
      <thead><tr><th scope="col" class="words" colSpan={2}>Raises</th><th scope="col" class="words second" colSpan={2}>Lowers</th></tr></thead>
      <tbody>
        {promoted.map((high, i) => {
          const low = suppressed[i];
          return (
            <tr key={high.token.id}>
              <td class="words"><TokenText text={high.token.token} /></td>
              <td>{signed(high.value)}</td>
              <td class="words second">{low && <TokenText text={low.token.token} />}</td>
              <td>{low && signed(low.value)}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
