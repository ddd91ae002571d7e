import { Segmented } from "../../components";
import { asked, change, workspace } from "../../state";
import { LAYOUTS, layoutOf, layoutsWith } from "./layouts";
import { patchMetric } from "./reading";

/** What is patched, which way, and what is shown of it. */
export function PatchSettings() {
  const { site, layout, direction, quantity, metric } = workspace;
  const inputs = asked.value;
  const foil = Boolean(inputs?.foil);
  const shown = layoutOf(site.value, layout.value);
  const choose = (key: string): void => {
    const found = LAYOUTS.find((choice) => choice.key === key);
    if (found) change({ site: found.site, layout: found.layout, patch: [] });
  };
  return (
    <div class="settings">
      <Segmented label="What is patched" options={layoutsWith(shown).map(({ key, text, title }) => ({ value: key, text, title }))} value={shown.key} onChange={choose} />
      <Segmented
        label="Direction" value={direction.value} onChange={(direction) => change({ direction })}
        options={[
          { value: "denoise", text: "Clean → corrupt", title: "Clean activations go into the corrupt run: what is enough to restore the answer?" },
          { value: "noise", text: "Corrupt → clean", title: "Corrupt activations go into the clean run: what is needed for the answer?" },
        ]}
      />
      <Segmented
        label="Show" showLabel value={quantity.value === "value" ? "value" : "recovery"} onChange={(quantity) => change({ quantity })}
        options={[{ value: "recovery", text: "Recovery", title: "0 as the corrupt run, 1 as the clean run" }, { value: "value", text: "Value", title: "The metric of the patched run" }]}
      />
      <Segmented
        label="Metric" value={patchMetric(foil, metric.value)} onChange={(metric) => change({ metric })}
        options={[
          { value: "logit_diff", text: "Logit diff.", disabled: !foil, ...(foil ? {} : { title: "Give a wrong answer (Not) to measure this" }) },
          { value: "prob", text: "Probability", title: "Probability of the answer" },
        ]}
      />
    </div>
  );
}
