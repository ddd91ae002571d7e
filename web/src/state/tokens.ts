// A text in tokens, as it is typed.

import { useComputed } from "@preact/signals";
import type { ReadonlySignal } from "@preact/signals";
import { tokenize } from "../api";
import type { Tokenized } from "../api";
import { modelId } from "./model";
import { useResource } from "./resource";
import type { Resource } from "./resource";

/** Tokenizing is quick: it waits for no pause in the typing. */
const PACE = { typing_ms: 25 };

export function useTokens(text: ReadonlySignal<string>): Resource<Tokenized> {
  const key = useComputed(() => (modelId.value === null ? null : { model: modelId.value, text: text.value }));
  return useResource(key, (request, { signal }) => tokenize(request, { signal }), PACE);
}
