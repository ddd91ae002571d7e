// State of the page.
//
//   workspace.FIELD.value     what the address says, one signal per field (fields.ts)
//   change({field: ..})       a deliberate change: a step of undo and of the back button
//   typed({prompt: ..})       a keystroke: a burst of them is one step
//   stepped({pos: ..})       one of many small moves (arrow keys): a burst of them is one step
//   settle({..})              filled in by the page itself: no step
//   snapshot() undo() redo() canUndo() canRedo()
//   asked                     the inputs to ask the server about (with the model's id), null at first;
//                             runNow() runs them where the model is too large to run while typing
//   useResource(key, fetcher) an answer that follows a key signal; resource() outside components
//   model, models, modelId, examples, chooseExample
//   useTokens(text)           a text in tokens, as it is typed
//   useRoles()                scores of all heads: previous_token, duplicate_token, induction
//   show({record, experiment, table})   tells the top bar what Copy as and Export are about
//   promptOf, metricsFor, experiment, rounding, replacement, CUT_NAMES, usesSeed
//   headName, parseHead, picked; parseComponent, componentTitle; theme, toggleTheme

export { asked, awaitingRun, followInputs, runNow } from "./asked";
export type { Asked } from "./asked";
export { componentTitle, parseComponent } from "./components";
export type { Component } from "./components";
export { CUTS, DEFAULTS, VIEWS, decode, encode } from "./fields";
export type { Cut, Fields, View } from "./fields";
export { headName, parseHead, picked } from "./heads";
export type { Head, Pick } from "./heads";
export { chooseExample, examples, followModel, model, modelError, modelId, models, openModels } from "./model";
export { CUT_NAMES, experiment, isCut, metricsFor, promptOf, replacement, rounding, usesSeed } from "./prompt";
export { resource, useResource } from "./resource";
export type { Far, Fetching, Phase, Resource } from "./resource";
export { useRoles } from "./roles";
export { show, shown, useShown } from "./shown";
export type { Shown, ShownFile } from "./shown";
export { useTokens } from "./tokens";
export { followTheme, theme, toggleTheme } from "./theme";
export type { Theme } from "./theme";
export {
  canRedo, canUndo, change, openWorkspace, redo, settle, snapshot, stepped, typed, typing, undo, workspace,
} from "./workspace";
