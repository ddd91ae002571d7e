import type { ReadonlySignal } from "@preact/signals";
import { runExperiment } from "../../api";
import type { Experiment, FeatureSummary, Passage } from "../../api";
import { Menu, Panel, Progress, Result, TokenHeat, Working, exact, percent, plain, sequential } from "../../components";
import { copyItems } from "../../shell/copyItems";
import { useResource } from "../../state";
import { Distribution } from "./Distribution";
import { TextChoice } from "./TextChoice";

interface PassagesProps {
  /** The scan; it may be of more than the one on show. */
  question: ReadonlySignal<Experiment | null>;
  /** The neuron or feature on show, as the scan calls it; empty: none. */
  name: string;
  /** The command for texts too long to be sent. */
  longer: string;
}

/** Where in a text a neuron or a feature is most active, and how its activation is distributed. */
export function Passages({ question, name, longer }: PassagesProps) {
  const scan = useResource(question, runExperiment);
  const report = scan.data.value?.results.text_scan ?? null;
  const found = report?.features ?? [];
  // The one before, dimmed, while the scan of another is on its way.
  const before = scan.stale.value && found.length === 1 ? found[0] : undefined;
  const summary = found.find(({ feature }) => feature === name) ?? before ?? null;
  return (
    <Panel
      fill scroll class="passages" title="Most activating passages" label="Most activating passages" note={report && !scan.stale.value ? `${report.tokens} tokens` : ""}
      aside={<Progress phase={scan.phase.value} progress={scan.progress.value} unit="windows" onStop={scan.cancel} />}
    >
      <Working phase={scan.phase.value} progress={scan.progress.value} />
      <TextChoice longer={longer} />
      <Result of={scan}>
        {(_, stale) => summary && <div class={stale ? "dimmed stack" : "stack"}><Found summary={summary} question={question.value} /></div>}
      </Result>
    </Panel>
  );
}

function Found({ summary, question }: { summary: FeatureSummary; question: Experiment | null }) {
  const { passages, max, density, moments, histogram } = summary;
  return (
    <>
      <div class="row spread">
        <dl class="facts" aria-label="Over the text">
          <div><dt title="Share of tokens at which it is above 0">Active</dt><dd title={exact(density)}>{percent(density)}</dd></div>
          <div><dt>Largest</dt><dd title={exact(max)}>{plain(max)}</dd></div>
          <div><dt>Mean</dt><dd title={exact(moments.mean)}>{plain(moments.mean)}</dd></div>
        </dl>
        <Menu text="Copy as" label="Copy these passages as" items={copyItems(question)} />
      </div>
      <Distribution histogram={histogram} />
      {passages.length === 0
        ? <p class="soft">It is never above 0 in this text.</p>
        : (
          <ol class="passagelist" aria-label="Passages">
            {passages.map((passage) => <li key={`${passage.window} ${passage.position}`}><One passage={passage} max={max} /></li>)}
          </ol>
        )}
    </>
  );
}

function One({ passage, max }: { passage: Passage; max: number }) {
  return (
    <>
      <span class="soft small">{plain(passage.activation)}</span>
      <TokenHeat
        label={`Passage with ${plain(passage.activation)}`} tokens={passage.tokens} values={passage.activations}
        scale={sequential(max > 0 ? max : 1)} format={exact} chosen={passage.at}
      />
    </>
  );
}
