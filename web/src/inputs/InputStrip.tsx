import type { ComponentChildren } from "preact";
import { Button } from "../components";
import { awaitingRun, model, useTokens, workspace } from "../state";
import { PromptInput } from "./PromptInput";
import { TargetInput } from "./TargetInput";
import { TokenCount } from "./TokenCount";

export interface Action {
  text: string;
  onPress: () => void;
  disabled?: boolean;
}

interface InputStripProps {
  fields?: readonly ("target" | "foil" | "clamp")[];
  action?: Action;
  children?: ComponentChildren;
}

const LABELS = { target: "Answer", foil: "Not", clamp: "Hold" };
const HINTS = { target: " Paris", foil: "optional", clamp: "nothing" };

/** The strip on top of a view: the prompt, its answers and the main action. */
export function InputStrip({ fields = [], action, children }: InputStripProps) {
  const tokens = useTokens(workspace.prompt);
  return (
    <section class="panel strip" aria-label="Inputs">
      <span class="soft name">Prompt</span>
      <PromptInput field="prompt" label="Prompt" tokens={tokens} placeholder="Type a prompt" {...(action ? { onRun: action.onPress } : {})} />
      {fields.map((field) => <TargetInput key={field} field={field} label={LABELS[field]} placeholder={HINTS[field]} />)}
      {children}
      <span class="end">
        {action && waiting() ? <span class="small accent">changed, not run yet</span> : <TokenCount tokens={tokens.data.value} />}
        {action && <ActionButton action={action} />}
      </span>
    </section>
  );
}

/** The main action, with its key; also for what is typed on a large model. */
export function ActionButton({ action }: { action: Action }) {
  return (
    <Button primary disabled={action.disabled ?? false} onPress={action.onPress} title={waiting() ? "The inputs were changed" : "Run it again"}>
      {action.text} <span aria-hidden="true">{RUN_KEY}</span>
    </Button>
  );
}

/** On a large model what is typed waits to be run. */
const waiting = (): boolean => awaitingRun.value && model.value?.quick === false;

const RUN_KEY = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘↵" : "Ctrl ↵";
