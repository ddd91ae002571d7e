// Inputs that all views share. They read and write the workspace.
//
//   InputStrip   fields? ["target","foil","clamp"], action? {text, onPress, disabled?}, children?
//                the strip on top of a view: prompt, answers, how many tokens, and the main action
//   PairStrip    clean, corrupt (from useTokens), action: the strip for two prompts aligned token by token
//   PairMissing  inputs, answer: what two prompts and an answer still lack
//   PromptInput  field "prompt" | "corrupt", label, tokens (from useTokens), onRun?, autoFocus?, onDone?
//   NumberInput  field "seed" | "length" | "temperature" | "steps" | "reach", label, min?, max?, step?
//   LayerChoice  label, layers, value (null: all), onChange, onAll?
//   TargetInput  field "target" | "foil" | "clamp", label, placeholder?, optional?

export { LayerChoice } from "./LayerChoice";
export { InputStrip } from "./InputStrip";
export type { Action } from "./InputStrip";
export { differing } from "./differing";
export { PairMissing } from "./PairMissing";
export { PairStrip } from "./PairStrip";
export { PromptInput } from "./PromptInput";
export { TargetInput } from "./TargetInput";
export { NumberInput } from "./NumberInput";
