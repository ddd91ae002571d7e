import type { Table } from "../../api";
import { Empty, Panel, TopList, exact, signed, signedExact } from "../../components";
import { sumOf } from "./parts";

/** What the shares come to, kind by kind, beside the logit that the model gives. */
export function SumPanel({ tables, what, dim }: { tables: readonly Table[]; what: string; dim: boolean }) {
  const sum = sumOf(tables);
  return (
    <Panel title={`Adds up to the ${what}`} label="The sum" note="logits">
      {sum
        ? (
          <div class={dim ? "dimmed stack sum" : "stack sum"}>
            <TopList
              label="Terms of the sum"
              entries={sum.terms.map(({ name, value, title }) => ({ key: name, name, value, text: signed(value), title: `${title}: ${signedExact(value)} logits` }))}
            />
            <dl class="facts" aria-label="Sum">
              <div><dt>All shares</dt><dd>{exact(sum.total)}</dd></div>
              <div><dt title={`The ${what} of the run itself`}>Model</dt><dd>{exact(sum.model)}</dd></div>
              <div><dt title="Of the sum from the model's own: rounding">Apart</dt><dd>{Math.abs(sum.total - sum.model).toExponential(0).replace("e-", "e−")}</dd></div>
            </dl>
          </div>
        )
        : <Empty title="Every share, and what they come to." />}
    </Panel>
  );
}
