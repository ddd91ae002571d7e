import type { Tokenized } from "../../api";
import { Segmented } from "../../components";
import { PromptInput } from "../../inputs";
import { change, workspace } from "../../state";
import type { Fields, Resource } from "../../state";

/** How the lens reads. */
export type Lensed = Pick<Fields, "rows" | "norm" | "compare">;

/** Which rows are read, through which norm, and whether beside the corrupt prompt. */
export function LensSettings({ tokens, onRun }: { tokens: Resource<Tokenized>; onRun: () => void }) {
  const { rows, norm, compare } = workspace;
  const parts = rows.value === "contributions";
  const own = norm.value === "" || (parts && norm.value === "final");
  const shown = own ? (parts ? "frozen" : "final") : norm.value;
  return (
    <div class="settings">
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
