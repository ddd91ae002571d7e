import type { ComponentChildren } from "preact";

interface TokenProps {
  text: string;
  /** Put there by the model's tokenizer rather than typed. */
  special?: boolean;
  title?: string;
  /** For: blue, pushes towards; against: red; the outlines mark without colouring the text. */
  tone?: "for" | "against" | "outline-for" | "outline-against" | undefined;
  /** Without the chip's ground. */
  plain?: boolean;
}

/** Tokens between `<|` and `|>` are signs of the tokenizer, not text. */
const isSign = (text: string): boolean => /^<\|.*\|>$/.test(text);

/** A token in plain letters: spaces as a middle dot, line ends as a sign. For canvas and titles. */
export function readable(text: string): string {
  if (isSign(text)) return text === "<|endoftext|>" ? "BOS" : text;
  return text.replace(/ /g, "·").replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/\r/g, "␍");
}

/** One token as a chip, what cannot be seen shown by faint signs. */
export function TokenText(props: TokenProps) {
  return <span class={classes(props)} title={props.title}>{content(props)}</span>;
}

interface TokenButtonProps extends TokenProps {
  chosen?: boolean;
  onPress: () => void;
  label?: string;
}

/** A token to be pressed. */
export function TokenButton({ chosen, onPress, label, ...props }: TokenButtonProps) {
  const names = chosen ? `${classes(props)} chosen` : classes(props);
  return (
    <button type="button" class={names} title={props.title} aria-label={label} aria-pressed={chosen ?? false} onClick={onPress}>
      {content(props)}
    </button>
  );
}

function classes({ text, special, tone, plain }: TokenProps): string {
  return ["token", (special || isSign(text)) && "special", tone, plain && "plain"].filter(Boolean).join(" ");
}

function content({ text, special }: TokenProps): ComponentChildren {
  if (special || isSign(text)) return readable(text);
  const parts = text.split(/([ \n\t\r])/).filter((part) => part !== "");
  return parts.map((part, i) => (/^[ \n\t\r]$/.test(part) ? <span class="mark" key={i}>{readable(part)}</span> : part));
}
