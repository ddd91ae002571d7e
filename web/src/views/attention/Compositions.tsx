import type { ExperimentRecord, Table } from "../../api";
import { plain } from "../../components";
import { ComponentLink } from "../../shell/ComponentLink";
import { findTable } from "../tables";
import { KINDS, partners } from "./compositions";

const SHOWN = 4;

/** The heads that a head has most to do with by their weights, each a link. */
export function Compositions({ record, head }: { record: ExperimentRecord; head: string }) {
  const tables = KINDS.flatMap(({ metric, text }) => {
    const table = findTable(record.results.tables, metric, ["value", "change"])?.table;
    return table ? [{ text, table }] : [];
  });
  return (
    <section class="pairs" aria-label="Composition">
      <h3>Composition <span class="soft small">share of norms by the weights alone; {tables[0]?.table.baseline}</span></h3>
      <table class="metrictable composition">
        <thead><tr><th scope="col">Through its</th><th scope="col" class="words">reads most of what these write</th><th scope="col" class="words">is read most by</th></tr></thead>
        <tbody>
          {tables.map(({ text, table }) => (
            <tr key={text}>
              <th scope="row">{text.toLowerCase()}</th>
              <td class="words"><Partners table={table} head={head} side="from" /></td>
              <td class="words"><Partners table={table} head={head} side="to" /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Partners({ table, head, side }: { table: Table; head: string; side: "from" | "to" }) {
  const found = partners(table, head, side, SHOWN);
  if (found.length === 0) return <span class="soft">{side === "from" ? "no layer before it" : "no layer after it"}</span>;
  return <>{found.map(({ name, value }) => <span class="valued" key={name}><ComponentLink name={name} /> <span class="soft">{plain(value)}</span></span>)}</>;
}
