import type { ApiError } from "../../api";
import { TokenText } from "../../components";
import { differing } from "../../inputs";

interface LengthsDifferProps {
  clean: readonly string[];
  corrupt: readonly string[];
  error: ApiError;
}

/** Two prompts that do not align: shown side by side, with what to do about it. */
export function LengthsDiffer({ clean, corrupt, error }: LengthsDifferProps) {
  const [a, b] = differing(clean, corrupt);
  const more = clean.length > corrupt.length ? "clean" : "corrupt";
  const by = Math.abs(clean.length - corrupt.length);
  const row = (name: string, labels: readonly string[], odd: readonly boolean[], tone: "outline-for" | "outline-against") => (
    <div class="unaligned">
      <span class="soft">{name}, {labels.length} tokens</span>
      <div>{labels.map((label, i) => <TokenText key={i} text={label} tone={odd[i] ? tone : undefined} />)}</div>
    </div>
  );
  return (
    <div class="lengths" role="alert">
      <p><strong>The prompts have {clean.length} and {corrupt.length} tokens.</strong> A patch puts an activation into the same position of the other run, so both must have the same number.</p>
      {row("Clean", clean, a, "outline-for")}
      {row("Corrupt", corrupt, b, "outline-against")}
      <p>The {more} prompt has {by} {by === 1 ? "token" : "tokens"} more. Change what is outlined until both have as many: most common names and nouns are one token.</p>
      <p class="soft small">The server says: {error.detail.split("\n")[0]?.replace(/:$/, "")}</p>
    </div>
  );
}
