import { Segmented } from "../../components";
import { NumberInput, TargetInput } from "../../inputs";
import { CUT_NAMES, asked, change, usesSeed, workspace } from "../../state";
import type { Cut } from "../../state";
import { metricOptions, metricShown } from "./metrics";

const REPLACEMENTS: readonly { value: Cut; title: string }[] = [
  { value: "zero", title: "The head's output becomes 0" },
  { value: "mean", title: "The head's output becomes its mean over the prompt's positions" },
  { value: "resample", title: "The head's output is taken from the run of the corrupt prompt" },
  { value: "uniform", title: "The head attends equally to all it sees" },
  { value: "random", title: "The head's attention is softmax of seeded noise" },
  { value: "previous", title: "The head attends as the same head one layer below" },
];

/** What is measured, what takes the heads' place, and where. */
export function CutSettings() {
  const inputs = asked.value;
  if (!inputs) return null;
  const { how } = workspace;
  return (
    <div class="settings">
      <Segmented
        label="Heads" showLabel value={workspace.sweep.value} onChange={(sweep) => change({ sweep })}
        options={[
          { value: "single", text: "One by one", title: "Every head cut by itself" },
          { value: "pairs", text: "In pairs", title: "Every two heads cut together, and what that does beyond each alone" },
        ]}
      />
      <Segmented label="Measure" showLabel options={metricOptions(inputs)} value={metricShown(inputs, workspace.metric.value)} onChange={(metric) => change({ metric })} />
      <Segmented
        label="Cut with" showLabel value={how.value} onChange={(how) => change({ how })}
        options={REPLACEMENTS.map(({ value, title }) => ({ value, title, text: CUT_NAMES[value] }))}
      />
      {usesSeed(how.value) && <NumberInput field="seed" label="Seed" />}
      <Segmented
        label="At" showLabel value={workspace.at.value} onChange={(at) => change({ at })}
        options={[{ value: "all", text: "All positions" }, { value: "last", text: "Last" }]}
      />
      {workspace.sweep.value === "single" && <TargetInput field="clamp" label="Hold" placeholder="no token" hint="A token whose logit is set back to its unedited value before measuring" />}
    </div>
  );
}
