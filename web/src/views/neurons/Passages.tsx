import { useComputed, useSignal } from "@preact/signals";
import type { ReadonlySignal } from "@preact/signals";
import { runExperiment } from "../../api";
import type { Passage, TextScanReport } from "../../api";
import { Button, Panel, Progress, Result, Segmented, TokenHeat, Working, exact, percent, plain, sequential } from "../../components";
import { asked, examples, useResource } from "../../state";
import { Distribution } from "./Distribution";
import { passagesOf } from "./questions";
import { ownText, scanned, textOf } from "./text";

/** The most of a file that is read: the server takes no more. */
const MOST_BYTES = 512 * 1024;

/** Where in a text the neuron is most active, and how its activation is distributed. */
export function Passages({ neuron }: { neuron: ReadonlySignal<string> }) {
  const key = useComputed(() => passagesOf(asked.value, neuron.value, textOf(examples.value)));
  const scan = useResource(key, runExperiment);
  const report = scan.data.value?.results.text_scan ?? null;
  return (
    <Panel
      fill scroll class="passages" title="Most activating passages" label="Most activating passages" note={report && !scan.stale.value ? `${report.tokens} tokens` : ""}
      aside={<Progress phase={scan.phase.value} progress={scan.progress.value} unit="windows" onStop={scan.cancel} />}
    >
      <Working phase={scan.phase.value} progress={scan.progress.value} />
      <TextChoice />
      <Result of={scan}>
        {(_, stale) => report && <div class={stale ? "dimmed stack" : "stack"}><Found report={report} /></div>}
      </Result>
    </Panel>
  );
}

function Found({ report }: { report: TextScanReport }) {
  const [summary] = report.features;
  if (!summary) return null;
  const { passages, max } = summary;
  return (
    <>
      <dl class="facts" aria-label="Over the text">
        <div><dt title="Share of tokens at which it is above 0">Active</dt><dd>{percent(summary.density)}</dd></div>
        <div><dt>Largest</dt><dd title={exact(max)}>{plain(max)}</dd></div>
        <div><dt>Mean</dt><dd title={exact(summary.moments.mean)}>{plain(summary.moments.mean)}</dd></div>
      </dl>
      <Distribution histogram={summary.histogram} />
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

/** The text that is scanned: the examples' prompts, or one of one's own. */
function TextChoice() {
  const trouble = useSignal("");
  const own = scanned.value !== null;
  const take = async (file: File | undefined): Promise<void> => {
    if (!file) return;
    const text = await file.slice(0, MOST_BYTES).text();
    // A character cut in two at the end becomes a sign of its own.
    ownText.value = text.replace(/\uFFFD$/, "");
    scanned.value = ownText.value;
    trouble.value = file.size > MOST_BYTES ? `The first ${MOST_BYTES / 1024} KiB of ${file.name}. Longer texts: microtome neurons scan.` : "";
  };
  return (
    <div class="textchoice">
      <Segmented
        label="Text" showLabel value={own ? "own" : "examples"} onChange={(which) => (scanned.value = which === "own" ? ownText.value : null)}
        options={[{ value: "examples", text: "The examples", title: "The prompts under Examples" }, { value: "own", text: "Your own" }]}
      />
      {own && (
        <>
          <textarea
            class="textbox mono" rows={4} aria-label="Text to scan" placeholder="Paste a text" spellcheck={false} value={ownText.value}
            onInput={(event) => (ownText.value = event.currentTarget.value)}
          />
          <span class="row tight">
            <Button small onPress={() => (scanned.value = ownText.value)} disabled={ownText.value.trim() === "" || ownText.value === scanned.value}>Scan</Button>
            <label class="button small">
              Choose a file
              <input type="file" class="hidden-text" accept="text/*,.txt,.md,.csv,.json" onChange={(event) => void take(event.currentTarget.files?.[0])} />
            </label>
          </span>
          {trouble.value && <p class="soft small">{trouble.value}</p>}
        </>
      )}
    </div>
  );
}
