import type { TokenReport } from "../../api";
import { TokenText, signed } from "../../components";

/** What a head makes of one token of the prompt. */
export function OneToken({ report }: { report: TokenReport }) {
  const rows = [
    ["looks at", report.looks_at], ["is looked at by", report.looked_at_by], ["raises", report.raises], ["lowers", report.lowers],
  ] as const;
  return (
    <section class="pairs" aria-label="One token">
      <h3><TokenText text={report.token.token} /> <span class="soft small">by itself, whatever the prompt</span></h3>
      <table class="metrictable">
        <tbody>
          {rows.map(([what, values]) => (
            <tr key={what}>
              <th scope="row">{what}</th>
              <td class="words">
                {values.slice(0, 5).map(({ token, value }) => <span class="valued" key={token.id}><TokenText text={token.token} /> <span class="soft">{signed(value)}</span></span>)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
