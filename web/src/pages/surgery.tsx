import { useComputed, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import "../views/surgery/surgery.css";
import { asApiError } from "../api";
import type { ApiError, ExperimentRecord } from "../api";
import { Empty, ErrorBox, duration } from "../components";
import type { MenuItem } from "../components";
import { artefacts, fileName, saveText } from "../export";
import type { Artefact } from "../export";
import { InputStrip, PromptInput } from "../inputs";
import { change, model, settle, typed, useShown, useTokens, workspace } from "../state";
import { onRunKey } from "../shell/keys";
import { say } from "../shell/notice";
import { measuredOn, readings, readingsOfTables } from "../views/surgery/comparison";
import { HeadsPanel } from "../views/surgery/HeadsPanel";
import { LensPanel } from "../views/surgery/LensPanel";
import { Numbers } from "../views/surgery/Numbers";
import { generation } from "../views/surgery/questions";
import { surgeryReport } from "../views/surgery/report";
import { wayOf } from "../views/surgery/settings";
import { NO_TEXTS } from "../views/surgery/texts";
import { TextsPanel } from "../views/surgery/TextsPanel";
import { chosenIn, useImportance, useLens, useSetup, useTexts } from "./surgeryAnswers";

/** Heads are cut and the model goes on writing, with and without them. */
export function SurgeryPage() {
  const { setup, waiting, run } = useSetup();
  const { generated, step, texts, dim } = useTexts(setup);
  const importance = useImportance();
  const stream = useSignal<"control" | "ablated">("control");
  const chosen = useComputed(() => chosenIn(texts.value, stream.value, workspace.pos.value));
  const ready = useComputed(() => !generated.stale.value || generated.cancelled.value || generated.error.value !== null);
  const lens = useLens(setup, texts, chosen, ready);
  const experiment = useComputed(() => setup.value && generation(setup.value));
  const record = generated.stale.value ? null : generated.data.value;
  useShown({ experiment: experiment.value, record, table: 0 });

  const generate = (): void => {
    if (!run()) generated.retry();
  };
  useEffect(() => onRunKey(generate), []);

  const facts = model.value;
  if (!facts) return <Empty title="Loading the model …" fill />;
  const { cut, how, temperature, seed, length } = workspace;
  const by = workspace.importance.value;
  /** On a large model what is shown may be of older settings until it is run. */
  const held = waiting.value && !facts.quick;
  const resampling = how.value === "resample" && cut.value.length > 0;
  const comparison = generated.data.value?.results.generation?.comparison;
  const compared = resampling ? step.data.value?.compared.results.tables : undefined;
  const numbersNote = cut.value.length === 0 ? "Cut a head to compare the model with and without it."
    : resampling ? "Both models reading the prompt alone." : comparison ? measuredOn(comparison) : "\u00a0";
  const token = chosen.value && texts.value[chosen.value.stream][chosen.value.pos];
  const top = importance.stale.value ? null : importance.data.value;
  const refusal = generated.error.value;
  const nothingCut = cut.value.length === 0 && (
    <Empty title="No head is cut yet.">
      <span>Click heads in the grid, or press Cut top 5, to see what the model would write without them.</span>
    </Empty>
  );
  return (
    <>
      <InputStrip action={{ text: "Generate", onPress: generate }}>
        {how.value === "resample" && <OtherPrompt />}
      </InputStrip>
      <div class="columns surgery">
        <HeadsPanel
          config={facts.config} cut={cut.value} how={how.value} painted={by !== ""}
          importance={{
            by: by || "gradient", table: importance.data.value?.results.tables?.[0] ?? null, error: importance.error.value,
            stale: importance.stale.value, phase: importance.phase.value, retry: importance.retry,
          }}
          sampling={{ temperature: temperature.value, seed: seed.value, length: length.value }}
          onCut={(heads) => change({ cut: heads })} onHow={(way) => change({ how: way })}
          onImportance={(next) => change({ importance: next })} onSampling={typed}
        />
        <div class="stack">
          <Numbers
            readings={resampling ? readingsOfTables(compared ?? []) : readings(comparison ?? null)}
            note={numbersNote}
            dim={held || (resampling ? step.stale.value : generated.stale.value)}
          />
          <TextsPanel
            texts={texts.value} chosen={chosen.value} dim={dim.value || held} phase={generated.phase.value} progress={generated.progress.value}
            state={held ? "Generate runs the changes" : generated.cancelled.value ? "stopped" : record ? duration(record.elapsed_secs) : ""} onStop={generated.cancel} files={files(record, top, wayOf(how.value).means)}
            onChoose={(picked) => {
              stream.value = picked.stream;
              change({ pos: picked.pos });
            }}
            instead={refusal ? <Refused error={refusal} compared={resampling} retry={generated.retry} />
              : nothingCut || null}
          />
          <LensPanel
            token={token && chosen.value ? { text: token.token, stream: chosen.value.stream } : null} curves={lens.data.value}
            dim={lens.stale.value || held} phase={lens.phase.value}
            instead={lens.error.value ? <ErrorBox error={lens.error.value} onRetry={lens.retry} />
              : token ? null : <Empty fill title={texts.value === NO_TEXTS ? "" : "Press a token of a text to see what each layer would make of it."} />}
          />
        </div>
      </div>
    </>
  );
}

/** The report, the record, and the painted grid as picture and numbers. */
function files(record: ExperimentRecord | null, importance: ExperimentRecord | null, how: string): MenuItem[] {
  if (!record) return [{ key: "none", text: "Nothing to save yet", disabled: true }];
  const report = (): void => {
    saveText(fileName(record.experiment, "html"), surgeryReport({ record, how, importance, date: new Date() }), "text/html");
  };
  const item = (what: string) => ({ label, save }: Artefact): MenuItem => ({
    key: what + label, text: label, note: what, onPress: () => void save().catch((error: unknown) => say(asApiError(error).detail)),
  });
  return [
    { key: "report", text: "Report (HTML)", note: "prompt, cut, numbers, both texts, importance and the commands", onPress: report },
    ...artefacts(record).map(item("of this surgery")),
    ...(importance ? artefacts(importance).map(item("importance of the heads")) : []),
  ];
}

/** Why there is no cut text; resampled, the numbers are those of the prompt alone. */
function Refused({ error, compared, retry }: { error: ApiError; compared: boolean; retry: () => void }) {
  return (
    <>
      <ErrorBox error={error} {...(error.passing ? { onRetry: retry } : {})} />
      {compared && <p class="soft small">Without a text, both models are compared on the prompt alone: see above.</p>}
    </>
  );
}

/** What resampled heads take their values from. */
function OtherPrompt() {
  const tokens = useTokens(workspace.corrupt);
  useEffect(() => {
    if (workspace.corrupt.peek() === "") settle({ corrupt: workspace.prompt.peek() });
  }, []);
  return (
    <>
      <span class="soft name">From</span>
      <PromptInput field="corrupt" label="Prompt that resampled heads take their values from" tokens={tokens} placeholder="A prompt of as many tokens" />
    </>
  );
}
