import type { ExperimentRecord } from "../../api";
import { Segmented, TopList, plain } from "../../components";
import { cardHandlers } from "../../shell/componentCard";
import { change, workspace } from "../../state";
import { headOf, scoreOf } from "../roles";
import { findTable, strongest } from "../tables";

const STATISTICS = [
  { value: "pattern_entropy", text: "Entropy" },
  { value: "attention_distance", text: "Distance" },
  { value: "bos_share", text: "First" },
  { value: "self_share", text: "Self" },
  { value: "previous_share", text: "Prev" },
] as const;

/** Statistics of the prompt's attention: the heads with most of one, and the chosen head's place. */
export function Statistics({ record, head, dim }: { record: ExperimentRecord; head: string; dim: boolean }) {
  const chosen = STATISTICS.find(({ value }) => value === workspace.metric.value) ?? STATISTICS[0];
  const table = findTable(record.results.tables, chosen.value, ["value"])?.table;
  if (!table) return null;
  const own = scoreOf(table, head);
  const shares = table.unit === "share of attention";
  return (
    <div class={dim ? "stack tight dimmed" : "stack tight"}>
      <Segmented label="Statistic" options={STATISTICS} value={chosen.value} onChange={(metric) => change({ metric })} />
      <TopList
        label={`Heads by ${table.title.toLowerCase()}`} unsigned {...(shares ? { max: 1 } : {})} onPress={(name) => change({ head: name })}
        entries={strongest(table.values, 5).map(({ cell, value }) => {
          const name = headOf(table, cell);
          return { key: name, name, value, text: plain(value), pressed: name === head, pointing: cardHandlers(name) };
        })}
      />
      <p class="soft small">
        {own !== null && <><span class="mono">{head}</span> has {plain(own)}{shares ? "" : ` ${table.unit}`}. </>}{table.title} on this prompt. {table.baseline}.
      </p>
    </div>
  );
}
