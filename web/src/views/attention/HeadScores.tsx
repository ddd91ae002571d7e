import type { ExperimentRecord } from "../../api";
import { Segmented, TopList, plain } from "../../components";
import { cardHandlers } from "../../shell/componentCard";
import { change, workspace } from "../../state";
import { SCORES, headOf, scoreTable } from "../roles";
import { strongest } from "../tables";

/** The heads that score highest in one of three roles. */
export function HeadScores({ record, head }: { record: ExperimentRecord; head: string }) {
  const chosen = SCORES.find(({ value }) => value === workspace.metric.value) ?? SCORES[2];
  const table = scoreTable(record, chosen.value);
  return (
    <>
      <Segmented label="Role" options={SCORES} value={chosen.value} onChange={(metric) => change({ metric })} />
      {table && (
        <TopList
          label={`Heads by ${chosen.name} score`} unsigned max={1} onPress={(name) => change({ head: name })}
          entries={strongest(table.values, 5).map(({ cell, value }) => {
            const name = headOf(table, cell);
            return { key: name, name, value, text: plain(value), pressed: name === head, pointing: cardHandlers(name) };
          })}
        />
      )}
      <p class="soft small">{chosen.title}, on random tokens said twice. {table?.baseline}</p>
    </>
  );
}
