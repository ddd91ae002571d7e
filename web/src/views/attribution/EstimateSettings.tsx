import { Segmented } from "../../components";
import { NumberInput } from "../../inputs";
import { change, workspace } from "../../state";
import type { Fields } from "../../state";
import { AttributionChoice } from "./AttributionChoice";
import { TOP } from "./questions";

const SITES = [
  { value: "resid_pre", text: "Residual", title: "The residual stream before each layer" },
  { value: "attn_out", text: "Attention", title: "What each attention layer writes" },
  { value: "mlp_out", text: "MLP", title: "What each MLP writes" },
  { value: "z", text: "Heads", title: "Each head's output, before W_O" },
  { value: "q", text: "Queries", title: "Each head's queries" },
  { value: "k", text: "Keys", title: "Each head's keys" },
  { value: "v", text: "Values", title: "Each head's values" },
] as const;

const hasHeads = (site: string): boolean => ["z", "q", "k", "v"].includes(site);

/** What is patched, how it is estimated, and how many are measured. */
export function EstimateSettings() {
  const { site, layout, direction, fixes, check, quantity } = workspace;
  const everywhere = layout.value === "head" || layout.value === "layer";
  const layoutFor = (site: string, everywhere: boolean): Fields["layout"] => (hasHeads(site) ? (everywhere ? "head" : "head_position") : everywhere ? "layer" : "layer_position");
  const dropped = fixes.value.includes("grad_drop");
  const fix = (name: string, text: string, title: string, open: boolean) => (
    <label class="tick" title={title}>
      <input
        type="checkbox" checked={open && fixes.value.includes(name)} disabled={!open}
        onChange={(event) => change({ fixes: event.currentTarget.checked ? [...fixes.value, name] : fixes.value.filter((other) => other !== name) })}
      />
      {text}
    </label>
  );
  return (
    <div class="settings">
      <AttributionChoice />
      <Segmented label="What is patched" options={SITES} value={site.value as typeof SITES[number]["value"]} onChange={(site) => change({ site, layout: layoutFor(site, everywhere), patch: [], part: "" })} />
      <Segmented
        label="At" value={everywhere ? "all" : "each"} onChange={(at) => change({ layout: layoutFor(site.value, at === "all"), patch: [], part: "" })}
        options={[{ value: "each", text: "each position" }, { value: "all", text: "all at once", title: "All positions patched together" }]}
      />
      <Segmented
        label="Direction" value={direction.value} onChange={(direction) => change({ direction })}
        options={[
          { value: "denoise", text: "Clean → corrupt", title: "Clean activations go into the corrupt run: what is enough to restore the answer?" },
          { value: "noise", text: "Corrupt → clean", title: "Corrupt activations go into the clean run: what is needed for the answer?" },
        ]}
      />
      <span title="Integrated gradients: derivatives averaged over so many steps from one prompt's embeddings to the other's. 0: the derivative at the run that is patched"><NumberInput field="steps" label="IG steps" max={100} /></span>
      {fix("qk_fix", "QK fix", "The softmax is computed again with the patched queries or keys (AtP*): for queries and keys", site.value === "q" || site.value === "k")}
      {fix("grad_drop", "GradDrop", "The mean size over derivatives that each leave out one layer (AtP*), so that nothing cancels: sizes, without a sign", true)}
      <Segmented
        label="Show" value={dropped || quantity.value !== "recovery" ? "change" : "recovery"} onChange={(quantity) => change({ quantity })}
        options={[{ value: "recovery", text: "Recovery", title: "0 as the corrupt run, 1 as the clean run", disabled: dropped }, { value: "change", text: "Change", title: "In the metric's unit, against the run that is patched" }]}
      />
      <Segmented
        label="Measure" showLabel value={check.value} onChange={(check) => change({ check })}
        options={[{ value: "top", text: `Top ${TOP}`, title: "The cells with the largest estimates are run as patches" }, { value: "all", text: "All", title: "Every cell is run as a patch" }, { value: "off", text: "None" }]}
      />
    </div>
  );
}
