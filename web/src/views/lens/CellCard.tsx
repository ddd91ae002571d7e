import type { ExperimentRecord, Table, TokenProb } from "../../api";
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
  const { lens, corrupt_lens: other, tables, prompts } = record.results;
  const prompt = prompts[0];
  const n = prompt?.clean.labels.length ?? 0;
  const value = (metric: string): number | null => findTable(tables, metric, ["value"])?.table.values[layer * n + pos] ?? null;
  const facts = FACTS.flatMap(({ metric, name, told }) => {
    const found = value(metric);
    return found === null ? [] : [<div key={metric}><dt>{name}</dt><dd title={exact(found)}>{told(found)}</dd></div>];
  });
  const share = findTable(tables, "logit_diff", ["change"]) ?? findTable(tables, "logit", ["change"]);
  const adds = other ? null : (share?.table.values[layer * n + pos] ?? null);
  const layers = lens?.layers ?? [];
  const tone = (id: number) =>
    prompt?.answers.some((one) => one.id === id) ? "for" as const : prompt?.wrong_answers.some((one) => one.id === id) ? "against" as const : "accent" as const;
  const bars = (top: readonly TokenProb[], label: string) => (
    <BarList
      label={label}
      entries={top.map(({ id, token, prob }) => ({ key: String(id), name: <TokenText text={token} plain />, value: prob, text: percent(prob), tone: tone(id) }))}
    />
  );
  return (
    <Panel title={<>{lens?.layers[layer]} after <TokenText text={prompt?.clean.labels[pos] ?? ""} /></>} note={`position ${pos}`} label="Chosen cell">
      <div class={dim ? "dimmed stack" : "stack"}>
        {bars(lens?.top[layer]?.[pos] ?? [], "Most probable next tokens of this cell")}
        {other && <><div class="row tight"><span class="soft small">corrupt, after</span><TokenText text={prompt?.corrupt?.labels[pos] ?? ""} /></div>{bars(other.top[layer]?.[pos] ?? [], "Most probable next tokens of the corrupt prompt's cell")}</>}
        <dl class="facts">
          {facts}
          {adds !== null && <div><dt>{share?.table.metric === "logit" ? "Adds to the answer" : "Adds to the difference"}</dt><dd title={exact(adds)}>{plain(adds)} logits</dd></div>}
        </dl>
        <Convergence tables={tables ?? []} pos={pos} last={layers.at(-1) ?? ""} />
      </div>
    </Panel>
  );
}

const FACTS = [
  { metric: "prob", name: "Answer", told: percent },
  { metric: "rank", name: "Rank", told: plain },
  { metric: "entropy", name: "Entropy", told: (value: number) => `${plain(value)} nats` },
  { metric: "kl", name: "KL to the output", told: (value: number) => `${plain(value)} nats` },
] as const;

/** Where this position converges: of the prompt as a whole, whichever row is chosen. */
function Convergence({ tables, pos, last }: { tables: readonly Table[]; pos: number; last: string }) {
  const after = (metric: string): string | null => {
    const table = findTable(tables, metric, ["value"])?.table;
    if (!table) return null;
    const layers = table.values[pos];
    return layers === null || layers === undefined ? "in no row" : layers === 0 ? "from the embedding on" : `after ${plain(layers)} layers`;
  };
  const [settles, reaches] = [after("top1_settles"), after("answer_reaches")];
  if (settles === null) return null;
  return (
    <p class="soft small" title={`Rows up to ${last}`}>
      The model's own top token stays on top {settles}{reaches === null ? "." : `; the answer first has 50 % ${reaches}.`}
    </p>
  );
}
