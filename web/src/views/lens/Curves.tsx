import { useSignal } from "@preact/signals";
import type { ApiError, ExperimentRecord } from "../../api";
import { Button, Empty, LinePlot, Panel, percent } from "../../components";
import { change, stepped, workspace } from "../../state";
import { curveOf } from "./curves";

/** A further prompt's answer, or why there is none. */
export interface Other {
  prompt: string;
  record: ExperimentRecord | null;
  error: ApiError | null;
}

interface CurvesProps {
  record: ExperimentRecord;
  others: readonly Other[];
  pos: number | null;
  answer: string;
}

const MOST = 6;
const colour = (i: number): string => `var(--series-${i % MOST})`;

/** The answer's probability by layer at the chosen position, for this prompt and further ones. */
export function Curves({ record, others, pos, answer }: CurvesProps) {
  // The list tells the values of the layer under the pointer, and else those of the last.
  const hover = useSignal<number | null>(null);
  const prompts = [{ prompt: workspace.prompt.value, record, error: null }, ...others];
  const curves = prompts.map(({ prompt, record, error }, i) => ({
    prompt, colour: colour(i), curve: record && curveOf(record, pos), missing: error?.detail ?? (record ? "shorter than the chosen position" : ""),
  }));
  const labels = curves.find(({ curve }) => curve)?.curve?.layers ?? [];
  const drawn = curves.flatMap(({ curve, prompt, colour }, i) => (curve ? [{ name: `${i + 1}: ${short(prompt)}`, values: curve.values, colour }] : []));
  const at = hover.value;
  const remove = (i: number): void => change({ others: workspace.others.peek().filter((_, k) => k !== i) });
  return (
    <Panel fill title="Answer by layer" note={pos === null ? "last position" : `position ${pos}`} label="Answer by layer">
      {answer === "" || drawn.length === 0
        ? <Empty fill title={answer === "" ? "Give an answer to draw its probability layer by layer." : "No curve at this position."} />
        : <LinePlot fill label="Probability of the answer by layer" labels={labels} series={drawn} range={[0, 1]} format={percent} onPick={(layer) => stepped({ layer })} onHover={(layer) => (hover.value = layer)} />}
      <ul class="curvelist" aria-label="Prompts drawn">
        {curves.map(({ prompt, colour, curve, missing }, i) => (
          <li key={i}>
            <span class="swatch" style={{ background: colour }} />
            <span class="grow ellipsis" title={prompt}>{prompt}{!curve && missing && <span class="against small"> {missing}</span>}</span>
            {curve && <span class="soft">{at === null ? "" : `${labels[at] ?? ""} `}{percent(curve.values.at(at ?? -1) ?? 0)}</span>}
            {i > 0 && <button type="button" class="cross" aria-label={`Remove ${prompt}`} onClick={() => remove(i - 1)}>×</button>}
          </li>
        ))}
      </ul>
      {prompts.length < MOST && <AddPrompt />}
    </Panel>
  );
}

function AddPrompt() {
  const text = useSignal("");
  const { others, corrupt, prompt } = workspace;
  const add = (added: string): void => {
    if (added.trim() === "" || others.peek().includes(added)) return;
    change({ others: [...others.peek(), added] });
    text.value = "";
  };
  const submit = (event: Event): void => {
    event.preventDefault();
    add(text.value);
  };
  const offersCorrupt = corrupt.value !== "" && corrupt.value !== prompt.value && !others.value.includes(corrupt.value);
  return (
    <form class="row tight addprompt" onSubmit={submit}>
      <input class="textbox mono grow" aria-label="Another prompt" placeholder="Another prompt to compare" value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />
      <button type="submit" class="button small" disabled={text.value.trim() === ""}>Add</button>
      {offersCorrupt && <Button small onPress={() => add(corrupt.peek())} title={corrupt.value}>Add corrupt</Button>}
    </form>
  );
}

const short = (prompt: string): string => (prompt.length > 18 ? `…${prompt.slice(-17)}` : prompt);
