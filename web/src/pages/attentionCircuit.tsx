// A head's circuits, beside its pattern: what its weights match and move, and what it composes with.

import { useComputed, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { runExperiment } from "../api";
import type { Experiment, Tokens } from "../api";
import { Progress, Result, Segmented, Working } from "../components";
import { change, model, parseHead, rounding, useResource, useShown, workspace } from "../state";
import type { ShownFile } from "../state";
import { CircuitFacts, Pairs } from "../views/attention/CircuitFacts";
import { Compositions } from "../views/attention/Compositions";
import { OneToken } from "../views/attention/OneToken";

/** Single tokens asked about at once; the server takes 64. */
const TOKENS = 64;

interface FaceProps {
  head: string;
  /** The prompt's, to say what the head makes of each. */
  tokens: Tokens | null;
  files: readonly ShownFile[];
}

export function HeadCircuitFace({ head, tokens, files }: FaceProps) {
  const about = model.value;
  const layer = parseHead(head)?.layer ?? 0;
  const after = layer > 0 && about?.config.mlp != null;
  const embedding = after ? workspace.embedding.value : "embed";
  const size = about?.config.norm == null ? "as_is" : workspace.size.value;
  const ids = [...new Set(tokens?.ids ?? [])].slice(0, TOKENS);
  const question: Experiment | null = about && {
    model: about.id, weights: about.weights, ...rounding(about.precision), prompts: [], method: { head_circuit: { head, embedding, size, tokens: ids } },
  };
  const key = useSignal(question);
  useEffect(() => {
    key.value = question;
  }, [JSON.stringify(question)]);
  const circuit = useResource(key, runExperiment);
  const all = useComputed<Experiment | null>(() => {
    const now = model.value;
    return now && { model: now.id, weights: now.weights, ...rounding(now.precision), prompts: [], method: { composition: {} } };
  });
  const composition = useResource(all, runExperiment);
  useShown({ experiment: question, record: circuit.data.value, table: 0, files });
  const n = tokens?.ids.length ?? 0;
  const pos = workspace.pos.value !== null && workspace.pos.value < n ? workspace.pos.value : n - 1;
  const id = tokens?.ids[pos];
  return (
    <div class="circuit" tabIndex={0} role="region" aria-label={`Circuits of ${head}`}>
      <div class="settings">
        <Segmented
          label="Tokens as" showLabel value={embedding} onChange={(embedding) => change({ embedding })}
          options={[
            { value: "embed", text: "W_E", title: "A token's embedding" },
            { value: "after_mlp0", text: "after MLP 0", disabled: !after, title: after ? "A token's embedding and what MLP 0 makes of it" : "Heads of layer 0, and models without MLPs, read the embedding" },
          ]}
        />
        <Segmented
          label="Size" showLabel value={size} onChange={(size) => change({ size })}
          options={[
            { value: "as_is", text: "as it is", title: "Products of weights alone" },
            { value: "layer_norm", text: "LayerNorm", disabled: model.value?.config.norm == null, title: "As the head's LayerNorm makes it" },
          ]}
        />
        <Progress phase={circuit.phase.value} progress={circuit.progress.value} onStop={circuit.cancel} />
      </div>
      <Progress phase={composition.phase.value} progress={composition.progress.value} onStop={composition.cancel} />
      <Result of={composition}>{(record) => <Compositions record={record} head={head} />}</Result>
      <Working phase={circuit.phase.value} progress={circuit.progress.value} />
      <Result of={circuit}>
        {(record) => {
          const report = record.results.head_circuit;
          if (!report) return null;
          const token = report.tokens.find((one) => one.token.id === id);
          return (
            <>
              <CircuitFacts report={report} />
              {token && <OneToken report={token} />}
              <div class="two">
                <Pairs title="QK: the query looks at the key" unit="attention score" arrow="at" circuit={report.qk} />
                <Pairs title="OV: looked at, it raises" unit="logits" arrow="→" circuit={report.ov} />
              </div>
            </>
          );
        }}
      </Result>
      {circuit.data.value && <p class="soft small">{circuit.data.value.results.notes[1]}.</p>}
    </div>
  );
}
