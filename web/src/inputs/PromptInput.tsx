import { useEffect, useRef, useState } from "preact/hooks";
import { HoverCard } from "../components";
import { runNow, typed, workspace } from "../state";
import type { Resource } from "../state";
import type { Tokenized } from "../api";
import { TokenBackdrop } from "./TokenBackdrop";

interface PromptInputProps {
  field: "prompt" | "corrupt";
  label: string;
  tokens: Resource<Tokenized>;
  /** What Enter does; running the inputs where left out. */
  onRun?: () => void;
  autoFocus?: boolean;
  onDone?: () => void;
  placeholder?: string;
}

/** A prompt with its tokens shown behind the letters while it is typed. */
export function PromptInput({ field, label, tokens, onRun = runNow, autoFocus, onDone, placeholder }: PromptInputProps) {
  const area = useRef<HTMLTextAreaElement>(null);
  const [hover, setHover] = useState<{ x: number; y: number; tip: string } | null>(null);
  const text = workspace[field].value;
  useEffect(() => {
    if (autoFocus) area.current?.focus();
  }, [autoFocus]);
  const key = (event: KeyboardEvent): void => {
    // Shift+Enter is a line end, as in a chat.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    onRun();
    onDone?.();
  };
  const look = (event: PointerEvent): void => {
    const below = document.elementsFromPoint(event.clientX, event.clientY);
    const tip = below.map((element) => element.closest<HTMLElement>("[data-tip]")?.dataset["tip"]).find(Boolean);
    setHover(tip ? { x: event.clientX, y: event.clientY, tip } : null);
  };
  const data = tokens.data.value;
  return (
    <div class="prompt">
      {data?.bos_prepended && <span class="token special" title={`${data.labels[0] ?? "BOS"}, id ${data.ids[0] ?? ""}: put in front by the tokenizer`}>BOS</span>}
      <div class="letters"><div class="sheet">
        <TokenBackdrop text={text} tokens={data} />
        <textarea
          ref={area} rows={1} spellcheck={false} autocomplete="off" autocapitalize="off" aria-label={label} value={text} placeholder={placeholder}
          onInput={(event) => typed({ [field]: event.currentTarget.value })} onKeyDown={key} onBlur={onDone}
          onPointerMove={look} onPointerLeave={() => setHover(null)} onPointerDown={() => setHover(null)}
        />
      </div></div>
      {hover && <HoverCard at={hover}><span class="mono small tokentip">{hover.tip}</span></HoverCard>}
    </div>
  );
}
