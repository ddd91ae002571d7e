import { useComputed } from "@preact/signals";
import { useId, useState } from "preact/hooks";
import { checkTarget } from "../api";
import type { TargetCheck, TokenLabel } from "../api";
import { TokenButton } from "../components";
import { change, modelId, runNow, typed, useResource, workspace } from "../state";

interface TargetInputProps {
  field: "target" | "foil" | "clamp";
  label: string;
  placeholder?: string;
  /** What it is for, told on hovering. */
  hint?: string;
}

/** An answer, which must be one token: checked as it is typed, with suggestions. */
export function TargetInput({ field, label, placeholder, hint }: TargetInputProps) {
  const id = useId();
  // Suggestions are for who is typing: they are gone once one is taken or the input is left.
  const [open, setOpen] = useState(false);
  const text = workspace[field].value;
  const key = useComputed(() => {
    const typed = workspace[field].value;
    return modelId.value === null || typed === "" ? null : { model: modelId.value, text: typed };
  });
  const check = useResource(key, (request, { signal }) => checkTarget(request, { signal }), { typing_ms: 60 });
  const found = text === "" || check.stale.value ? null : check.data.value;
  const bad = found !== null && !found.token;
  const others = found ? suggestions(found) : [];
  const shown = open && found !== null && (bad || others.length > 0);
  const keys = (event: KeyboardEvent): void => {
    if (event.key === "Escape") setOpen(false);
    if (event.key === "Enter" && !event.isComposing) runNow();
  };
  return (
    <div class="field target" title={hint} onFocusOut={(event) => !event.currentTarget.contains(event.relatedTarget as Node | null) && setOpen(false)}>
      <label for={id}>{label}</label>
      <div class="letters line">
        <div class="backdrop" aria-hidden="true">
          {text.split(/( )/).map((part, i) => (part === " " ? <i class="space" key={i}> </i> : part))}
        </div>
        <input
          id={id} class={bad ? "textbox mono bad" : "textbox mono"} value={text} placeholder={placeholder} spellcheck={false}
          autocomplete="off" autocapitalize="off" aria-invalid={bad} aria-describedby={`${id}-note`} size={9} onKeyDown={keys}
          onFocus={() => bad && setOpen(true)}
          onInput={(event) => {
            setOpen(true);
            typed({ [field]: event.currentTarget.value });
          }}
        />
      </div>
      <div id={`${id}-note`} class={shown ? "targetnote" : "hidden-text"} role="status">
        {found && (bad || shown) && <span>{bad ? sentence(found) : "Tokens like it"}</span>}
        {shown && others.length > 0 && (
          <span class="row tight">
            {others.map((one) => (
              <TokenButton
                key={one.id} text={one.token} label={`Take the token ${one.token}`}
                onPress={() => {
                  setOpen(false);
                  change({ [field]: one.token });
                }}
              />
            ))}
          </span>
        )}
      </div>
    </div>
  );
}

const sentence = ({ message, pieces }: TargetCheck): string =>
  message ? message.charAt(0).toUpperCase() + message.slice(1) : `${pieces.length} tokens; give one`;

/** Tokens that begin like it; where there are none, the first it falls into. */
function suggestions({ token, pieces, suggestions }: TargetCheck): TokenLabel[] {
  const others = suggestions.filter((one) => one.id !== token?.id).slice(0, 6);
  return others.length > 0 || token ? others : pieces.slice(0, 1);
}
