import type { ExperimentRecord } from "../../api";
import { BarList, Panel, TokenText, exact, percent, plain } from "../../components";
import { findTable } from "../tables";

interface CellCardProps {
  record: ExperimentRecord;
  layer: number;
  pos: number;
  dim: boolean;
}

/** One cell of the lens: its five most probable tokens, and what it gives the answer. */
export function CellCard({ record, layer, pos, dim }: CellCardProps) {
  const { lens, tables, prompts } = record.results;
  const prompt = prompts[0];
  const n = prompt?.clean.labels.length ?? 0;
  const value = (metric: string): number | null => findTable(tables, metric, ["value"])?.table.values[layer * n + pos] ?? null;
  const [prob, rank, entropy] = [value("prob"), value("rank"), value("entropy")];
  const tone = (id: number) =>
    prompt?.answers.some((one) => one.id === id) ? "for" as const : prompt?.wrong_answers.some((one) => one.id === id) ? "against" as const : "accent" as const;
  const top = lens?.top[layer]?.[pos] ?? [];
  return (
    <Panel title={<>{lens?.layers[layer]} after <TokenText text={prompt?.clean.labels[pos] ?? ""} /></>} note={`position ${pos}`} label="Chosen cell">
      <div class={dim ? "dimmed stack" : "stack"}>
        <BarList
          label="Most probable next tokens of this cell"
          entries={top.map(({ id, token, prob }) => ({ key: String(id), name: <TokenText text={token} plain />, value: prob, text: percent(prob), tone: tone(id) }))}
        />
        <dl class="facts">
          {prob !== null && <div><dt>Answer</dt><dd title={exact(prob)}>{percent(prob)}</dd></div>}
          {rank !== null && <div><dt>Rank</dt><dd>{plain(rank)}</dd></div>}
          {entropy !== null && <div><dt>Entropy</dt><dd title={exact(entropy)}>{plain(entropy)} nats</dd></div>}
        </dl>
      </div>
    </Panel>
  );
}
