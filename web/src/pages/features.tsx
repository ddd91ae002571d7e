// Features: which directions of a sparse autoencoder are active in the prompt, what one of them is, and what each is worth.

import { useComputed } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import { runExperiment } from "../api";
import { Empty, Panel, Progress, Result, Segmented, Working, duration } from "../components";
import { scatterFiles } from "../export";
import { InputStrip } from "../inputs";
import { useRun } from "../shell/useRun";
import { asked, change, examples, model, useResource, useShown, workspace } from "../state";
import type { Fields } from "../state";
import { EstimateSum } from "../views/features/EstimateSum";
import { ActiveList, EstimateList, WorthList, firstFeature, listedFeatures } from "../views/features/FeatureLists";
import { Kept } from "../views/features/Kept";
import { OneFeature } from "../views/features/OneFeature";
import { activeFeatures, featureEstimates, featureNumber, featureProfile, featureWorth, oneFeature, saeOf, worthMetric } from "../views/features/questions";
import { Passages } from "../views/passages/Passages";
import { featurePassages, scannedFeatures } from "../views/passages/questions";
import type { Scanned } from "../views/passages/questions";
import { textOf } from "../views/passages/text";

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
  const estimateKey = useComputed(() => (workspace.listing.value === "estimate" ? featureEstimates(asked.value, sae.value, workspace.estimated.value) : null));
  const estimates = useResource(estimateKey, runExperiment);
  const scanned = useRef<Scanned | null>(null);
  const scanKey = useComputed(() => {
    const unread = activeKey.value !== null && active.data.value === null && active.error.value === null;
    if (sae.value && chosen.value !== null && !unread) scanned.current = scannedFeatures(sae.value, chosen.value, [active, worth, estimates].flatMap(({ data }) => listedFeatures(data.value)), scanned.current);
    const features = scanned.current?.sae === sae.value?.name ? scanned.current?.features ?? null : null;
    return featurePassages(asked.value, sae.value, features, textOf(examples.value));
  });
  const run = useRun(active);
  const listing = workspace.listing.value;
  const [shown, shownKey] = listing === "worth" ? [worth, worthKey] : listing === "estimate" ? [estimates, estimateKey] : [active, activeKey];
  const measured = estimates.stale.value ? null : (estimates.data.value?.results.remeasured ?? null);
  const files = useMemo(() => (listing === "estimate" && measured && estimates.data.value ? scatterFiles(estimates.data.value) : []), [listing, measured]);
  useShown({ experiment: shownKey.value, record: shown.stale.value ? null : shown.data.value, table: 0, files });
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
            { value: "estimate", text: "Estimated", title: "The same estimated for all at once, and the strongest measured beside it" },
          ]}
        />
        {listing === "estimate" && (
          <Segmented
            label="Estimated by" showLabel value={workspace.estimated.value} onChange={(estimated) => change({ estimated })}
            options={[
              { value: "gradient", text: "Gradient", title: "Change of activation times the derivative of the metric, to first order" },
              { value: "direct", text: "Direct", title: "What each writes at the last position, read as the answer; later layers are not seen" },
            ]}
          />
        )}
        <span class="soft small">{at === null ? "a token below chooses a position" : `position ${at}`}</span>
      </div>
      <div class="columns neurons features">
        <div class="stack">
          <Panel
            fill scroll title={TITLES[listing]} label="Features" note={noteOf(listing, metric, at)}
            aside={<Progress phase={shown.phase.value} progress={shown.progress.value} onStop={shown.cancel} />}
          >
            <Working phase={shown.phase.value} progress={shown.progress.value} />
            {listing === "estimate" && estimateKey.value === null
              ? <Empty fill title="Give the answer: the token whose logit the features are worth something to." />
              : (
                <Result of={shown} empty={<Empty fill title="Type a prompt to see which features are active." />}>
                  {(data, stale) => listing === "worth" ? <WorthList record={data} feature={chosen.value} metric={metric} dim={stale} />
                    : listing === "estimate" ? <EstimateList record={data} feature={chosen.value} dim={stale} />
                      : <ActiveList record={data} feature={chosen.value} pos={listing === "token" ? (at ?? Math.max(0, length - 1)) : null} dim={stale} />}
                </Result>
              )}
          </Panel>
          {listing === "estimate" && measured && estimates.data.value && (
            <Panel title="Agreement" label="Agreement" note={`${measured.cells.length} measured`}>
              <EstimateSum record={estimates.data.value} measured={measured} feature={chosen.value} />
            </Panel>
          )}
        </div>
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
        <div class="stack">
          <Panel title={`Autoencoder ${sae.value?.name ?? ""}`} label="Autoencoder">
            <Result of={active} empty={<Empty title="What it keeps of the prompt." />}>{(data, stale) => <Kept record={data} dim={stale} />}</Result>
          </Panel>
          <Passages question={scanKey} name={chosen.value === null ? "" : String(chosen.value)} longer="microtome sae scan" />
        </div>
      </div>
    </>
  );
}

const TITLES = { overall: "Active features", token: "Active features", worth: "Effect of each", estimate: "Worth of each" } as const;

/** What the numbers of a listing are. */
function noteOf(listing: Fields["listing"], metric: string, at: number | null): string {
  if (listing === "overall") return "largest activation";
  if (listing === "token") return at === null ? "last token" : `position ${at}`;
  return listing === "estimate" && workspace.estimated.value === "direct" ? "logits towards the answer" : `${metric}, set to 0`;
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
