import { asApiError } from "../api";
import { Menu } from "../components";
import type { MenuItem } from "../components";
import { artefacts } from "../export";
import { change, chooseExample, examples, model, modelId, models, shown, theme, toggleTheme } from "../state";
import { copyItems } from "./copyItems";
import { copy, say } from "./notice";

/** The model and facts about it; examples, copying, saving and sharing. */
export function TopBar() {
  return (
    <header class="topbar">
      <div class="brand">micro<span>tome</span></div>
      <Menu text={modelId.value ?? "model"} label={`Model: ${modelId.value ?? "none yet"}`} align="left" items={modelItems()} />
      <div class="facts">{facts()}</div>
      <div class="tools">
        <Menu text="Examples" items={exampleItems()} />
        <Menu text="Copy as" items={copyItems(shown.value.experiment)} />
        <Menu text="Export" items={exportItems()} />
        <button type="button" class="button" onClick={() => void copy(window.location.href, "Link copied")}>Share</button>
        <button
          type="button" class="button icon" onClick={toggleTheme} title={theme.value === "dark" ? "Light theme" : "Dark theme"}
          aria-label={theme.value === "dark" ? "Use the light theme" : "Use the dark theme"}
        >
          <span aria-hidden="true">{theme.value === "dark" ? "☀" : "☾"}</span>
        </button>
      </div>
    </header>
  );
}

function facts(): string {
  const about = model.value;
  if (!about) return "";
  const { n_layers, n_heads, d_model } = about.config;
  const threads = `${about.threads} ${about.threads === 1 ? "thread" : "threads"}`;
  const weights = about.precision === "f32" ? about.weights : `${about.weights} ${about.precision}`;
  const device = about.device === "cpu" ? `CPU, ${threads}` : `GPU (${about.device})`;
  return `${n_layers} layers × ${n_heads} heads · ${d_model} wide · ${weights} weights · ${device}`;
}

function modelItems(): MenuItem[] {
  const offered = models.value?.models ?? [];
  return offered.map(({ id }) => ({
    key: id, text: id, note: id === modelId.value ? "in use" : undefined,
    onPress: () => change({ model: id, cut: [], patch: [], head: "", pos: null, part: "", mlp: null, neuron: "", into: null, node: "", edge: "", pins: [], groups: [] }),
  }));
}

function exampleItems(): MenuItem[] {
  if (examples.value.length === 0) return [{ key: "none", text: "No examples for this model", disabled: true }];
  return examples.value.map((example) => ({
    key: example.id, text: example.title, note: example.teaches, onPress: () => chooseExample(example),
  }));
}

function exportItems(): MenuItem[] {
  const { record, table, files = [] } = shown.value;
  const all = [...files, ...(record ? artefacts(record, table) : [])];
  if (all.length === 0) return [{ key: "none", text: "Nothing to export yet", disabled: true }];
  return all.map((artefact) => ({
    key: artefact.label, text: artefact.label,
    onPress: () => void artefact.save().catch((error: unknown) => say(asApiError(error).detail)),
  }));
}
