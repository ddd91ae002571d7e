import { theme } from "../state";
import { TokenText, readable } from "./TokenText";
import { colourOf, css, inkOn } from "./scale";
import type { Scale } from "./scale";

interface TokenHeatProps {
  tokens: readonly string[];
  /** One per token; null where there is none. */
  values: readonly (number | null)[];
  scale: Scale;
  format: (value: number) => string;
  label: string;
  chosen?: number | null;
  onPick?: (pos: number) => void;
}

/** A text whose tokens are coloured by a number each. */
export function TokenHeat({ tokens, values, scale, format, label, chosen, onPick }: TokenHeatProps) {
  return (
    <div class="tokenheat" role="group" aria-label={label}>
      {tokens.map((token, pos) => {
        const value = values[pos] ?? null;
        const colour = value === null ? null : colourOf(scale, value, theme.value);
        const style = colour ? { background: css(colour), color: inkOn(colour) } : {};
        const said = value === null ? "none" : format(value);
        const names = `token${chosen === pos ? " chosen" : ""}`;
        return onPick
          ? <button type="button" key={pos} class={names} style={style} title={`${readable(token)} at ${pos}: ${said}`} aria-label={`${readable(token)} at ${pos}: ${said}`} aria-pressed={chosen === pos} onClick={() => onPick(pos)}><TokenText text={token} plain /></button>
          : <span key={pos} class={names} style={style} title={said}><TokenText text={token} plain /></span>;
      })}
    </div>
  );
}
