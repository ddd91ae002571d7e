import { useId } from "preact/hooks";
import { Segmented } from "../../components";
import { LayerChoice, NumberInput } from "../../inputs";
import { change, model, typed, workspace } from "../../state";
import { saeOf } from "../features/questions";
import { layerOf } from "./questions";

/** Where the direction comes from, where it is added, how long it is. */
export function DirectionSettings() {
  const { along, over, into, neuron, sized, prompt, corrupt } = workspace;
  const sae = saeOf(model.value, workspace.sae.value);
  const layers = model.value?.config.n_layers ?? 1;
  const layer = layerOf({ into: into.value, along: along.value, neuron: neuron.value, autoencoder: sae }, layers);
  return (
    <div class="settings">
      <Segmented
        label="Direction" showLabel value={along.value} onChange={(along) => change({ along })}
        options={[
          { value: "texts", text: "Two texts", title: "The activations of one text less those of another" },
          { value: "neuron", text: "A neuron", title: "What a neuron writes to the residual stream when it is 1" },
          { value: "feature", text: "A feature", title: sae ? `What a feature of ${sae.name} adds to the stream when it is 1` : "No sparse autoencoder is open beside this model", disabled: !sae },
        ]}
      />
      {along.value === "texts"
        ? (
          <>
            <TextField field="towards" label="Towards" placeholder={corrupt.value || "a text it leads to"} />
            <TextField field="away" label="away from" placeholder={prompt.value || "a text it leads away from"} />
            <Segmented
              label="Taken at" showLabel value={over.value} onChange={(over) => change({ over })}
              options={[{ value: "last", text: "last token", title: "The activation at the last token of each text" }, { value: "all", text: "all", title: "The mean over all tokens of each text, BOS left out" }]}
            />
          </>
        )
        : along.value === "neuron"
          ? <TextField field="neuron" label="Neuron" placeholder="L2N17" />
          : <TextField field="feature" label="Feature" placeholder="305" />}
      <LayerChoice label="Before layer" layers={layers} value={layer} onChange={(into) => change({ into })} />
      <Segmented
        label="Length" showLabel value={sized.value} onChange={(sized) => change({ sized })}
        options={[{ value: "as_is", text: "as it is", title: "Strength 1 adds the difference, or what the neuron writes, once" }, { value: "one", text: "1", title: "The direction is brought to length 1 first: strength is how far the stream is moved" }]}
      />
      <NumberInput field="reach" label="Reach ±" min={0} step={0.5} />
      <NumberInput field="length" label="Tokens" min={1} max={500} />
      <NumberInput field="temperature" label="Temperature" step={0.1} />
      {workspace.temperature.value > 0 && <NumberInput field="seed" label="Seed" />}
    </div>
  );
}

function TextField({ field, label, placeholder }: { field: "towards" | "away" | "neuron" | "feature"; label: string; placeholder: string }) {
  const id = useId();
  return (
    <div class="field steertext">
      <label for={id}>{label}</label>
      <input
        id={id} class="textbox mono" value={workspace[field].value} placeholder={placeholder} spellcheck={false} autocomplete="off" autocapitalize="off"
        onInput={(event) => typed({ [field]: field === "neuron" ? event.currentTarget.value.trim().toUpperCase() : event.currentTarget.value })}
      />
    </div>
  );
}
