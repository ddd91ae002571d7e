import { useRef, useState } from "preact/hooks";
import { BarList, HoverCard, TokenText, percent, readable } from "../../components";
import type { GeneratedToken } from "../../api/schema";

interface GeneratedTextProps {
  label: string;
  tokens: readonly GeneratedToken[];
  /** Place of the first token that differs from the other text. */
  first: number | null;
  /** Place of the token whose logit lens is shown. */
  chosen: number | null;
  dim: boolean;
  onChoose: (pos: number) => void;
}

/** A generated text: underlined as strongly as each token was probable, with what else was likely. */
export function GeneratedText({ label, tokens, first, chosen, dim, onChoose }: GeneratedTextProps) {
  const box = useRef<HTMLDivElement>(null);
  const [over, setOver] = useState<{ pos: number; x: number; y: number } | null>(null);
  const places = tokens.flatMap((token, pos) => (token.is_prompt ? [] : [pos]));
  const stop = chosen !== null && places.includes(chosen) ? chosen : places[0];
  const show = (pos: number) => ({ currentTarget }: { currentTarget: EventTarget }): void => {
    const { left, bottom } = (currentTarget as HTMLElement).getBoundingClientRect();
    setOver({ pos, x: left - 10, y: bottom - 6 });
  };
  const walk = (event: KeyboardEvent): void => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const buttons = Array.from(box.current?.querySelectorAll<HTMLButtonElement>("button") ?? []);
    const now = buttons.indexOf(document.activeElement as HTMLButtonElement);
    if (way === undefined || now < 0) return;
    event.preventDefault();
    buttons[Math.min(buttons.length - 1, Math.max(0, now + way))]?.focus();
  };
  const listed = over ? tokens[over.pos] : undefined;
  return (
    <div class={dim ? "generated dim" : "generated"} ref={box} role="group" aria-label={label} onKeyDown={walk} onPointerLeave={() => setOver(null)}>
      {places.map((pos) => {
        const token = tokens[pos] as GeneratedToken;
        const names = ["word", pos === first && "first", pos === chosen && "chosen"].filter(Boolean).join(" ");
        return (
          <button
            type="button" key={pos} class={names} tabIndex={pos === stop ? 0 : -1} aria-pressed={pos === chosen}
            aria-label={`${readable(token.token)}, ${percent(token.prob)}`} style={{ "--p": `${Math.round(100 * token.prob)}%` }}
            onClick={() => onChoose(pos)} onFocus={show(pos)} onBlur={() => setOver(null)} onPointerEnter={show(pos)}
          >
            <TokenText text={token.token} plain />
          </button>
        );
      })}
      {over && listed && (
        <HoverCard at={over}>
          <div class="candidates">
            <BarList
              label="Most probable here"
              entries={listed.top.map(({ id, token, prob }) => ({
                key: String(id), name: <TokenText text={token} />, value: prob, text: percent(prob), tone: id === listed.id ? "accent" : "ground",
              }))}
            />
            {!listed.top.some(({ id }) => id === listed.id) && <div class="soft">Drawn: {percent(listed.prob)}</div>}
          </div>
        </HoverCard>
      )}
    </div>
  );
}
