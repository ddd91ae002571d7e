import { useSignal } from "@preact/signals";
import type { ApiError, ExperimentRecord } from "../../api";
import { Empty, LinePlot, Panel, Segmented, percent, plain } from "../../components";
import { largest } from "../../components/scale";
import { change, stepped, workspace } from "../../state";
import type { Fields } from "../../state";
import { AddPrompt } from "./AddPrompt";
import { curvesOf } from "./curves";
import type { Curve } from "./curves";
import { LENS_NAMES } from "./lenses";
import type { Reading } from "./lenses";

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
const DASH = [6, 4];
const colour = (i: number): string => `var(--series-${i % MOST})`;

interface Kind {
  title: string;
  label: string;
  told: (value: number) => string;
}

const KINDS: Readonly<Record<Fields["curve"], Kind>> = {
  prob: { title: "Answer by layer", label: "Probability of the answer by layer", told: percent },
  kl: { title: "KL by layer", label: "KL to the output by layer", told: (value) => `${plain(value)} nats` },
};

/** What each lens says by layer at the chosen position, of this prompt and further ones: colour tells prompts apart, dashes lenses. */
export function Curves({ record, others, pos, answer }: CurvesProps) {
  // The list tells the values of the layer under the pointer, and else those of the last.
  const hover = useSignal<number | null>(null);
  const metric = workspace.curve.value;
  const { title, label, told } = KINDS[metric];
  const prompts = [{ prompt: workspace.prompt.value, record, error: null }, ...others].map((one, i) => ({
    ...one, colour: colour(i), curves: one.record ? curvesOf(one.record, metric, pos) : [],
  }));
  const all = prompts.flatMap(({ curves }) => curves);
  const lenses = [...new Set(all.map(({ reading }) => reading))];
  const labels = all[0]?.layers ?? [];
  const name = (i: number, prompt: string, reading: Reading): string => `${i + 1}: ${short(prompt)}${lenses.length > 1 ? `, ${LENS_NAMES[reading]}` : ""}`;
  const drawn = prompts.flatMap(({ prompt, colour, curves }, i) => curves.map(({ reading, values }) => ({
    name: name(i, prompt, reading), values, colour, ...(reading === "tuned" ? { dash: DASH } : {}),
  })));
  const at = hover.value;
  const value = ({ values }: Curve): string => told(values.at(at ?? -1) ?? 0);
  const missing = metric === "prob" && answer === "";
  const top = metric === "prob" ? 1 : Math.max(0.1, 1.05 * largest(all.flatMap(({ values }) => values)));
  return (
    <Panel
      fill title={title} note={pos === null ? "last position" : `position ${pos}`} label="Curves by layer"
      aside={<Segmented label="Curves of" value={metric} onChange={(curve) => change({ curve })} options={[{ value: "prob", text: "Answer" }, { value: "kl", text: "KL", title: "KL(the model's output || the layer's reading)" }]} />}
    >
      {missing || drawn.length === 0
        ? <Empty fill title={missing ? "Give an answer to draw its probability layer by layer." : "No curve at this position."} />
        : <LinePlot fill label={label} labels={labels} series={drawn} range={[0, top]} format={told} onPick={(layer) => stepped({ layer })} onHover={(layer) => (hover.value = layer)} />}
      {lenses.length > 1 && (
        <ul class="row tight curvekey" aria-label="Lenses drawn">
          {lenses.map((reading) => <li key={reading}><span class={`stroke ${reading}`} />{LENS_NAMES[reading]}</li>)}
        </ul>
      )}
      <ul class="curvelist" aria-label="Prompts drawn">
        {prompts.map(({ prompt, record, error, colour, curves }, i) => (
          <li key={i}>
            <span class="swatch" style={{ background: colour }} />
            <span class="grow ellipsis" title={prompt}>
              {prompt}
              {curves.length === 0 && !missing && <span class="against small"> {error?.detail ?? (record ? "shorter than the chosen position" : "")}</span>}
            </span>
            {curves.length > 0 && <span class="soft">{at === null ? "" : `${labels[at] ?? ""} `}{curves.map(value).join(" · ")}</span>}
            {i > 0 && <button type="button" class="cross" aria-label={`Remove ${prompt}`} onClick={() => change({ others: workspace.others.peek().filter((_, k) => k !== i - 1) })}>×</button>}
          </li>
        ))}
      </ul>
      {prompts.length < MOST && <AddPrompt />}
    </Panel>
  );
}

const short = (prompt: string): string => (prompt.length > 18 ? `…${prompt.slice(-17)}` : prompt);
