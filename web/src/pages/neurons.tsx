// Neurons: the strongest at a position, and what one of them does on the prompt, by its weights, and over a text.

import { useComputed } from "@preact/signals";
import { runExperiment } from "../api";
import { Empty, Panel, Progress, Result, Segmented, Working, duration } from "../components";
import { InputStrip, LayerChoice } from "../inputs";
import { ComponentLink } from "../shell/ComponentLink";
import { useRun } from "../shell/useRun";
import { asked, change, examples, model, useResource, useShown, workspace } from "../state";
import { Profile } from "../views/neurons/Profile";
import { StrongestNeurons, firstOf } from "../views/neurons/StrongestNeurons";
import { neuronProfile, strongestNeurons } from "../views/neurons/questions";
import { Passages } from "../views/passages/Passages";
import { neuronPassages } from "../views/passages/questions";
import { textOf } from "../views/passages/text";

export function NeuronsPage() {
  const strongestKey = useComputed(() => strongestNeurons(asked.value, { mlp: workspace.mlp.value, ranked: workspace.ranked.value, pos: workspace.pos.value }));
  const strongest = useResource(strongestKey, runExperiment);
  const name = useComputed(() => workspace.neuron.value || (strongest.stale.value ? "" : firstOf(strongest.data.value)));
  const key = useComputed(() => neuronProfile(asked.value, name.value));
  const profile = useResource(key, runExperiment);
  const scanKey = useComputed(() => neuronPassages(asked.value, name.value, textOf(examples.value)));
  const run = useRun(strongest);
  const record = profile.data.value;
  const listed = strongest.data.value;
  useShown({ experiment: key.value ?? strongestKey.value, record: profile.stale.value ? null : record, table: 0 });
  const neuron = name.value;
  return (
    <>
      <InputStrip fields={["target", "foil"]} action={{ text: "Read", onPress: run }} />
      <RankSettings />
      <div class="columns neurons">
        <Panel
          fill scroll title="Strongest neurons" label="Strongest neurons" note={listed ? listed.results.tables?.[0]?.unit ?? "" : ""}
          aside={<Progress phase={strongest.phase.value} progress={strongest.progress.value} onStop={strongest.cancel} />}
        >
          <Working phase={strongest.phase.value} />
          <Result of={strongest} empty={<Empty fill title="Type a prompt to see which neurons are active." />}>
            {(data, stale) => <StrongestNeurons record={data} neuron={neuron} dim={stale} />}
          </Result>
        </Panel>
        <Panel
          fill class="main" title={neuron === "" ? "One neuron" : <ComponentLink name={neuron} />} label={neuron === "" ? "One neuron" : `Neuron ${neuron}`}
          note={record && !profile.stale.value ? `exact, ${duration(record.elapsed_secs)}` : ""}
          aside={<><Progress phase={profile.phase.value} progress={profile.progress.value} onStop={profile.cancel} /><NeuronInput neuron={neuron} /></>}
        >
          <Working phase={profile.phase.value} progress={profile.progress.value} />
          <Result of={profile} empty={<Empty fill title={strongest.error.value ? "" : "What one neuron does, once there is a prompt."} />}>
            {(data, stale) => <Profile record={data} dim={stale} />}
          </Result>
        </Panel>
        <Passages question={scanKey} name={neuron} longer="microtome neurons scan" />
      </div>
    </>
  );
}

/** Any neuron by its name. */
function NeuronInput({ neuron }: { neuron: string }) {
  return (
    <div class="field">
      <label for="neuron">Neuron</label>
      <input
        id="neuron" class="textbox mono" size={8} value={neuron} placeholder="L2N17" spellcheck={false} autocomplete="off"
        onChange={(event) => change({ neuron: event.currentTarget.value.trim().toUpperCase() })}
      />
    </div>
  );
}

function RankSettings() {
  const layers = model.value?.config.n_layers ?? 1;
  const answered = Boolean(asked.value?.target);
  return (
    <div class="settings">
      <LayerChoice label="Layer" layers={layers} value={workspace.mlp.value} onChange={(mlp) => change({ mlp, neuron: "" })} onAll={() => change({ mlp: null, neuron: "" })} />
      <Segmented
        label="Ranked by" showLabel value={answered ? workspace.ranked.value : "activation"} onChange={(ranked) => change({ ranked, neuron: "" })}
        options={[
          { value: "activation", text: "Activation", title: "Their activation at the position, whatever its sign" },
          { value: "direct_attribution", text: "What they write", title: answered ? "Their share of the answer's logit, by direct attribution" : "Give an answer to rank by what they write towards it", disabled: !answered },
        ]}
      />
      <span class="soft small">at {workspace.pos.value === null ? "the last position" : `position ${workspace.pos.value}`}; a token of the prompt chooses another</span>
    </div>
  );
}
