import type { CircuitReport, HeadReport } from "../../api";
import { TokenText, percent, plain, signed } from "../../components";

/** What a head's weights come to: two scores, and how tokens stand to themselves. */
export function CircuitFacts({ report }: { report: HeadReport }) {
  const facts: [string, string, string][] = [
    ["Copying", score(report.copying), "Sum of the OV circuit's eigenvalues over the sum of their absolute values: 1 raises the tokens it looks at, −1 lowers them"],
    ["Matching", score(report.matching), "The same of QK: 1 where tokens look for themselves"],
    ["Raises itself most", percent(report.ov.diagonal_first), "Share of tokens that the head, looking at them, raises above all others"],
    ["Looks for itself most", percent(report.qk.diagonal_first), "Share of tokens whose highest attention score is for themselves"],
  ];
  return (
    <dl class="facts">
      {facts.map(([name, value, title]) => <div key={name} title={title}><dt>{name}</dt><dd>{value}</dd></div>)}
    </dl>
  );
}

const score = (value: number | null | undefined): string => (value == null ? "none" : signed(value));

interface PairsProps {
  title: string;
  unit: string;
  arrow: string;
  circuit: CircuitReport;
}

/** The strongest pairs of tokens of a circuit, at both ends. */
export function Pairs({ title, unit, arrow, circuit }: PairsProps) {
  const rows = circuit.highest.slice(0, SHOWN).map((high, i) => ({ high, low: circuit.lowest[i] }));
  return (
    <section class="pairs" aria-label={title}>
      <h3>{title} <span class="soft small">{unit}; all pairs {signed(circuit.mean)} ± {plain(circuit.deviation)}, a token with itself {signed(circuit.diagonal_mean)}</span></h3>
      <div class="scrollx" tabIndex={0} role="region" aria-label={`${title}: strongest pairs`}>
        <table class="metrictable">
          <thead><tr><th scope="col" class="words" colSpan={2}>Highest</th><th scope="col" class="words second" colSpan={2}>Lowest</th></tr></thead>
          <tbody>
            {rows.map(({ high, low }) => (
              <tr key={`${high.from.id} ${high.to.id}`}>
                <td class="words"><TokenText text={high.from.token} /> <span class="soft">{arrow}</span> <TokenText text={high.to.token} /></td>
                <td>{signed(high.value)}</td>
                <td class="words second">{low && <><TokenText text={low.from.token} /> <span class="soft">{arrow}</span> <TokenText text={low.to.token} /></>}</td>
                <td>{low && signed(low.value)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

const SHOWN = 8;
