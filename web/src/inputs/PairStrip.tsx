import { useState } from "preact/hooks";
import type { Tokenized } from "../api";
import { TokenText } from "../components";
import { workspace } from "../state";
import type { Resource } from "../state";
import { ActionButton } from "./InputStrip";
import type { Action } from "./InputStrip";
import { differing } from "./differing";
import { PromptInput } from "./PromptInput";
import { TargetInput } from "./TargetInput";

type Side = "prompt" | "corrupt";

interface PairStripProps {
  clean: Resource<Tokenized>;
  corrupt: Resource<Tokenized>;
  action: Action;
}

/** A clean and a corrupt prompt, aligned token by token; what differs is outlined. */
export function PairStrip({ clean, corrupt, action }: PairStripProps) {
  const [editing, setEditing] = useState<Side | null>(null);
  const [a, b] = [clean.data.value?.labels ?? [], corrupt.data.value?.labels ?? []];
  const widths = Array.from({ length: Math.max(a.length, b.length) }, (_, i) => width(a[i], b[i]));
  const [differA, differB] = differing(a, b);
  const edit = (side: Side, label: string, tokens: Resource<Tokenized>, placeholder: string) => (
    <Row
      side={side} label={label} tokens={tokens} differ={side === "prompt" ? differA : differB} widths={widths} editing={editing === side}
      placeholder={placeholder} onEdit={() => setEditing(side)} onDone={() => setEditing(null)} onRun={action.onPress}
    />
  );
  const empty = workspace.corrupt.value === "";
  const count = differA.filter(Boolean).length;
  return (
    <section class="panel strip pair" aria-label="Inputs">
      <div class="aligned">
        <div class="indices" aria-hidden="true">
          <span class="side" />
          {!empty && a.length === b.length && widths.map((width, i) => <span class="index" key={i} style={{ width }}>{i}</span>)}
        </div>
        {edit("prompt", "Clean", clean, "Type the prompt that has the answer")}
        {edit("corrupt", "Corrupt", corrupt, "Type the same prompt with the decisive words changed")}
      </div>
      <div class="answers">
        <TargetInput field="target" label="Answer" placeholder=" Paris" />
        <TargetInput field="foil" label="Not" placeholder="optional" />
      </div>
      <span class="end column">
        <ActionButton action={action} />
        <span class={!empty && a.length !== b.length ? "against small" : "soft small"}>{empty ? "" : alignment(a.length, b.length, count)}</span>
      </span>
    </section>
  );
}

function alignment(clean: number, corrupt: number, differ: number): string {
  if (clean !== corrupt) return `${clean} and ${corrupt} tokens: not aligned`;
  if (differ === 0) return `${clean} tokens each, all the same`;
  return `${clean} tokens each, aligned; ${differ === 1 ? "1 position differs" : `${differ} positions differ`}`;
}

/** Widths in letters shared by both rows, so that tokens of one position stand below each other. */
const width = (clean: string | undefined, corrupt: string | undefined): string =>
  `calc(${Math.max(letters(clean), letters(corrupt))}ch + 10px)`;
const letters = (label: string | undefined): number => (label === undefined ? 1 : /^<\|.*\|>$/.test(label) ? 3 : Math.max(1, label.length));

interface RowProps {
  side: Side;
  label: string;
  tokens: Resource<Tokenized>;
  differ: readonly boolean[];
  widths: readonly string[];
  editing: boolean;
  placeholder: string;
  onEdit: () => void;
  onDone: () => void;
  onRun: () => void;
}

function Row({ side, label, tokens, differ, widths, editing, placeholder, onEdit, onDone, onRun }: RowProps) {
  const labels = tokens.data.value?.labels ?? [];
  const marked = workspace.corrupt.value !== "";
  const mark = side === "prompt" ? "outline-for" : "outline-against";
  if (editing || workspace[side].value === "") {
    return (
      <div class="alignedrow">
        <span class="side soft">{label}</span>
        <PromptInput field={side} label={`${label} prompt`} tokens={tokens} autoFocus={editing} onDone={onDone} onRun={onRun} placeholder={placeholder} />
      </div>
    );
  }
  return (
    <div class="alignedrow">
      <span class="side soft">{label}</span>
      <button type="button" class="chips" onClick={onEdit}>
        <span class="hidden-text">Edit the {label.toLowerCase()} prompt: </span>
        {labels.map((token, i) => (
          <span class="slot" key={i} style={{ width: widths[i] }}><TokenText text={token} tone={marked && differ[i] ? mark : undefined} /></span>
        ))}
      </button>
    </div>
  );
}
