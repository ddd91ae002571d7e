import type { ExperimentRecord, Lens, Table } from "../../api";
import { BarList, Panel, TokenText, exact, percent, plain } from "../../components";
import { findTable } from "../tables";
import { LENS_NAMES, ofLens, readingsOf, topOf } from "./lenses";
import type { Reading } from "./lenses";

interface CellCardProps {
  record: ExperimentRecord;
  layer: number;
  pos: number;
  dim: boolean;
}

/** One cell of the lens: its five most probable tokens, and what it gives the answer; by both lenses where there are two. */
export function CellCard({ record, layer, pos, dim }: CellCardProps) {
  const { lens, corrupt_lens: other, tables = [], prompts } = record.results;
  const prompt = prompts[0];
  const n = prompt?.clean.labels.length ?? 0;
  const value = (table: Table | undefined, reading: Reading): number | null => (table ? (ofLens(table, reading).values[layer * n + pos] ?? null) : null);
  const facts = (reading: Reading) => FACTS.flatMap(({ metric, name, told }) => {
    const found = value(findTable(tables, metric, ["value"])?.table, reading);
    return found === null ? [] : [<div key={metric}><dt>{name}</dt><dd title={exact(found)}>{told(found)}</dd></div>];
  });
  const share = findTable(tables, "logit_diff", ["change"])?.table ?? findTable(tables, "logit", ["change"])?.table;
  const adds = other ? null : value(share, "logit");
  const readings = readingsOf(findTable(tables, "top1_prob", ["value"])?.table);
  const several = readings.length > 1;
  const tone = (id: number) =>
    prompt?.answers.some((one) => one.id === id) ? "for" as const : prompt?.wrong_answers.some((one) => one.id === id) ? "against" as const : "accent" as const;
  const bars = (of: Lens | null | undefined, reading: Reading, label: string) => (
    <BarList
      label={several ? `${label}, ${LENS_NAMES[reading]}` : label}
      entries={topOf(of, reading, layer, pos).map(({ id, token, prob }) => ({ key: String(id), name: <TokenText text={token} plain />, value: prob, text: percent(prob), tone: tone(id) }))}
    />
  );
  const reader = (reading: Reading) => (
    <div class="stack reader" key={reading}>
      {several && <h3 class="soft small">{LENS_NAMES[reading]}</h3>}
      {bars(lens, reading, "Most probable next tokens of this cell")}
      {other && <><div class="row tight"><span class="soft small">corrupt, after</span><TokenText text={prompt?.corrupt?.labels[pos] ?? ""} /></div>{bars(other, reading, "Most probable next tokens of the corrupt prompt's cell")}</>}
      <dl class="facts">
        {facts(reading)}
        {adds !== null && <div><dt>{share?.metric === "logit" ? "Adds to the answer" : "Adds to the difference"}</dt><dd title={exact(adds)}>{plain(adds)} logits</dd></div>}
      </dl>
    </div>
  );
  return (
    <Panel title={<>{lens?.layers[layer]} after <TokenText text={prompt?.clean.labels[pos] ?? ""} /></>} note={`position ${pos}`} label="Chosen cell">
      <div class={dim ? "dimmed stack" : "stack"}>
        <div class={several ? "readers" : ""}>{readings.map(reader)}</div>
        <Convergence tables={tables} readings={readings} pos={pos} last={lens?.layers.at(-1) ?? ""} />
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

interface ConvergenceProps {
  tables: readonly Table[];
  readings: readonly Reading[];
  pos: number;
  last: string;
}

/** Where this position converges: of the prompt as a whole, whichever row is chosen. */
function Convergence({ tables, readings, pos, last }: ConvergenceProps) {
  const layers = (metric: string, reading: Reading): number | null | undefined => {
    const table = findTable(tables, metric, ["value"])?.table;
    return table && (ofLens(table, reading).values[pos] ?? null);
  };
  const settles = layers("top1_settles", "logit");
  const reaches = layers("answer_reaches", "logit");
  if (settles === undefined) return null;
  if (readings.length === 1) return <p class="soft small" title={`Rows up to ${last}`}>The model's own top token stays on top {inWords(settles)}{reaches === undefined ? "." : `; the answer first has 50 % ${inWords(reaches)}.`}</p>;
  // Both in two lines: the curves stand below.
  const both = (metric: string) => readings.map((reading) => {
    const found = layers(metric, reading);
    return typeof found === "number" ? plain(found) : "never";
  }).join(" · ");
  return <p class="soft small" title={`Layers up to ${last}: logit lens · tuned lens`}>Top token settled after {both("top1_settles")} layers{reaches === undefined ? "" : `, answer at 50 % after ${both("answer_reaches")}`} (logit · tuned).</p>;
}

const inWords = (layers: number | null): string => (layers === null ? "in no row" : layers === 0 ? "from the embedding on" : `after ${plain(layers)} layers`);
