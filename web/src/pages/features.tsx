// Features: which directions of a sparse autoencoder are active in the prompt, what one of them is, and what each is worth.

import { useComputed } from "@preact/signals";
import { runExperiment } from "../api";
import { Empty, Panel, Progress, Result, Segmented, Working, duration } from "../components";
import { InputStrip } from "../inputs";
import { useRun } from "../shell/useRun";
import { asked, change, model, useResource, useShown, workspace } from "../state";
import { ActiveList, WorthList, firstFeature } from "../views/features/FeatureLists";
import { Kept } from "../views/features/Kept";
import { OneFeature } from "../views/features/OneFeature";
import { activeFeatures, featureNumber, featureProfile, featureWorth, oneFeature, saeOf, worthMetric } from "../views/features/questions";

export function FeaturesPage() {
  const sae = useComputed(() => saeOf(model.value, workspace.sae.value));
  const activeKey = useComputed(() => activeFeatures(asked.value, sae.value));
  const active = useResource(activeKey, runExperiment);
  const chosen = useComputed(() => featureNumber(workspace.feature.value || (active.stale.value ? "" : firstFeature(active.data.value)), sae.value));
  const traceKey = useComputed(() => oneFeature(asked.value, sae.value, chosen.value));
  const trace = useResource(traceKey, runExperiment);
  const profileKey = useComputed(() => featureProfile(asked.value, sae.value, chosen.value));
  const profile = useResource(profileKey, runExperiment);
  const worthKey = useComputed(() => (workspace.listing.value === "worth" ? featureWorth(asked.value, sae.value) : null));
  const worth = useResource(worthKey, runExperiment);
  const run = useRun(active);
  const byWorth = workspace.listing.value === "worth";
  const shown = byWorth ? worth : active;
  useShown({ experiment: byWorth ? worthKey.value : activeKey.value, record: shown.stale.value ? null : shown.data.value, table: 0 });
  if (model.value && !sae.value) {
    return <Empty fill title="No sparse autoencoder is open beside this model.">The demo model has one with folded weights; microtome serve --sae NAME opens others.</Empty>;
  }
  const length = active.data.value?.results.prompts[0]?.clean.ids.length ?? 0;
  const at = workspace.pos.value !== null && workspace.pos.value < length ? workspace.pos.value : null;
  const record = profile.data.value;
  const metric = asked.value ? worthMetric(asked.value) : "kl";
  return (
    <>
      <InputStrip fields={["target", "foil"]} action={{ text: "Read", onPress: run }} />
      <div class="settings">
        {(model.value?.saes.length ?? 0) > 1 && (
          <Segmented
            label="Autoencoder" showLabel value={sae.value?.name ?? ""} onChange={(name) => change({ sae: name, feature: "" })}
            options={(model.value?.saes ?? []).map(({ name }) => ({ value: name, text: name }))}
          />
        )}
        <Segmented
          label="Features" showLabel value={workspace.listing.value} onChange={(listing) => change({ listing })}
          options={[
            { value: "overall", text: "Strongest", title: "By their largest activation in the prompt" },
            { value: "token", text: "At a token", title: "By their activation at the chosen token" },
            { value: "worth", text: "By what they do", title: "The change when each is set to 0 by itself, exact" },
          ]}
        />
        <span class="soft small">{at === null ? "a token below chooses a position" : `position ${at}`}</span>
      </div>
      <div class="columns neurons features">
        <Panel
          fill scroll title={byWorth ? "Effect of each" : "Active features"} label="Features"
          note={byWorth ? `${metric}, set to 0` : workspace.listing.value === "token" ? (at === null ? "last token" : `position ${at}`) : "largest activation"}
          aside={<Progress phase={shown.phase.value} progress={shown.progress.value} onStop={shown.cancel} />}
        >
          <Working phase={shown.phase.value} progress={shown.progress.value} />
          <Result of={shown} empty={<Empty fill title="Type a prompt to see which features are active." />}>
            {(data, stale) => byWorth
              ? <WorthList record={data} feature={chosen.value} metric={metric} dim={stale} />
              : <ActiveList record={data} feature={chosen.value} pos={workspace.listing.value === "token" ? (at ?? Math.max(0, length - 1)) : null} dim={stale} />}
          </Result>
        </Panel>
        <Panel
          fill class="main" title={chosen.value === null ? "One feature" : `Feature ${chosen.value}`} label="One feature"
          note={record && !profile.stale.value ? duration(record.elapsed_secs) : ""}
          aside={<><Progress phase={profile.phase.value} progress={profile.progress.value} onStop={profile.cancel} /><FeatureInput chosen={chosen.value} /></>}
        >
          <Working phase={trace.phase.value} />
          {chosen.value === null
            ? <Empty fill title={workspace.feature.value === "" ? "One feature, once there is a prompt." : `There is no feature ${workspace.feature.value}; they go from 0 to ${(sae.value?.d_sae ?? 1) - 1}.`} />
            : <Result of={trace}>{(data, stale) => <OneFeature active={data} profile={profile.stale.value ? null : record} pos={at} dim={stale} />}</Result>}
        </Panel>
        <Panel fill scroll title={`Autoencoder ${sae.value?.name ?? ""}`} label="Autoencoder">
          <Result of={active} empty={<Empty title="What it keeps of the prompt." />}>{(data, stale) => <Kept record={data} dim={stale} />}</Result>
        </Panel>
      </div>
    </>
  );
}

/** Any feature by its number. */
function FeatureInput({ chosen }: { chosen: number | null }) {
  return (
    <div class="field">
      <label for="feature">Feature</label>
      <input
        id="feature" class="textbox mono" size={6} inputMode="numeric" value={chosen === null ? workspace.feature.value : String(chosen)} placeholder="305" autocomplete="off"
        onChange={(event) => change({ feature: event.currentTarget.value.trim() })}
      />
    </div>
  );
}
