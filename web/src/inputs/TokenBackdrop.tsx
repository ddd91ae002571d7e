import { readable } from "../components";
import type { Tokenized } from "../api";

/** Tokens behind the text they are the tokens of: one span each, exactly as wide as its text. */
export function TokenBackdrop({ text, tokens }: { text: string; tokens: Tokenized | null }) {
  const pieces = piecesOf(text, tokens);
  return (
    <div class="backdrop" aria-hidden="true">
      {pieces.map((piece, i) => (
        <span class={piece.tip ? "piece" : ""} key={i} data-tip={piece.tip}>
          {piece.text.split(/([ \n])/).map((part, k) => (part === " " ? <i class="space" key={k}> </i> : part === "\n" ? <i class="newline" key={k}>{"\n"}</i> : part))}
        </span>
      ))}
      {"\u200b"}
    </div>
  );
}

interface Piece {
  text: string;
  /** What its tokens are; empty where they are not known (yet). */
  tip: string;
}

/**
 * Cuts a text where its tokens end. Tokens that hold part of a character only (their label is not in
 * the text) are shown as one piece with their neighbours.
 */
export function piecesOf(text: string, tokens: Tokenized | null): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  let held: string[] = [];
  const first = tokens?.bos_prepended ? 1 : 0;
  for (let i = first; tokens && i < tokens.labels.length; i++) {
    const label = tokens.labels[i] ?? "";
    const tip = `${readable(label)}  id ${tokens.ids[i] ?? "?"}, bytes ${tokens.bytes[i]?.replace(/(..)(?=.)/g, "$1 ") ?? "?"}, position ${i}`;
    const found = label === "" ? -1 : text.indexOf(label, at);
    if (found === at || (found > at && held.length > 0)) {
      if (found > at) pieces.push({ text: text.slice(at, found), tip: held.join("\n") });
      pieces.push({ text: label, tip });
      at = found + label.length;
      held = [];
    } else {
      held.push(tip);
    }
  }
  if (at < text.length) pieces.push({ text: text.slice(at), tip: held.join("\n") });
  return pieces;
}
