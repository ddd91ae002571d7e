import type { Tokenized } from "../../api";
import { Segmented } from "../../components";
import { PromptInput } from "../../inputs";
import { change, model, workspace } from "../../state";
import type { Resource } from "../../state";
import { openLens, takesTuned } from "./lenses";

/** By which lens, which rows are read, through which norm, and whether beside the corrupt prompt. */
export function LensSettings({ tokens, onRun }: { tokens: Resource<Tokenized>; onRun: () => void }) {
  const { rows, norm, compare } = workspace;
  const parts = rows.value === "contributions";
  const own = norm.value === "" || (parts && norm.value === "final");
  const shown = own ? (parts ? "frozen" : "final") : norm.value;
  return (
    <div class="settings">
      <LensChoice />
      <Segmented
        label="Rows" showLabel value={rows.value} onChange={(rows) => change({ rows, layer: null, metric: "" })}
        options={[
          { value: "layers", text: "layers", title: "The stream after every layer" },
          { value: "sublayers", text: "sublayers", title: "The stream before each attention layer and each MLP" },
          { value: "contributions", text: "contributions", title: "What each of them adds; they sum to the model's own logits" },
        ]}
      />
      <Segmented
        label="LayerNorm" showLabel value={shown} onChange={(norm) => change({ norm })}
        options={[
          { value: "final", text: "own scale", title: parts ? "Parts divided each by its own deviation do not sum to the logits" : "The final LayerNorm with each row's own deviation", disabled: parts },
          { value: "frozen", text: "frozen scale", title: "The final LayerNorm with the deviation of the last row: linear in the stream" },
          { value: "tl_cached_scale", text: "TransformerLens", title: "The frozen scale without gain and bias: apply_ln_to_stack" },
          { value: "bare", text: "none", title: "The unembedding alone" },
        ]}
      />
      <Segmented
        label="Show" showLabel value={compare.value} onChange={(compare) => change({ compare })}
        options={[
          { value: "alone", text: "this prompt" },
          { value: "corrupt", text: "minus another", title: "This prompt minus another one of as many tokens, cell by cell" },
        ]}
      />
      {compare.value === "corrupt" && (
        <div class="setting grow">
          <span class="name">Other</span>
          <PromptInput field="corrupt" label="Other prompt" tokens={tokens} placeholder="A prompt of as many tokens" onRun={onRun} />
        </div>
      )}
    </div>
  );
}

/** The lens the grid is read by; where no tuned one is open, how to get one. */
function LensChoice() {
  const { rows, norm, tuned } = workspace;
  const open = model.value?.tuned_lenses ?? [];
  if (model.value && open.length === 0) {
    return (
      <span class="soft small" role="note">
        No tuned lens is open beside this model: <code>microtome train lens</code> learns one, <code>serve --tuned-lens DIR</code> opens it.
      </span>
    );
  }
  const fits = takesTuned({ rows: rows.value, norm: norm.value });
  const title = fits ? "Each layer through a map of its own, learnt to come close to the output" : "A tuned lens reads layers, each with its own scale";
  return (
    <Segmented
      label="Lens" showLabel value={tuned.value !== "" && fits ? (openLens(model.value, tuned.value) ?? "") : ""} onChange={(tuned) => change({ tuned })}
      options={[
        { value: "", text: "logit lens", title: "The stream as it is, through the final LayerNorm and the unembedding" },
        ...open.map(({ name }) => ({ value: name, text: open.length === 1 ? "tuned lens" : `tuned lens ${name}`, title, disabled: !fits })),
      ]}
    />
  );
}
