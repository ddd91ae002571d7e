import type { Tokenized } from "../api";

/** How many tokens a prompt is, and how far over the context. */
export function TokenCount({ tokens }: { tokens: Tokenized | null }) {
  if (!tokens) return null;
  const n = tokens.ids.length;
  if (n > tokens.n_ctx) return <span class="against small">{n} tokens, {n - tokens.n_ctx} more than the {tokens.n_ctx} the model reads</span>;
  return <span class="soft small">{n} {n === 1 ? "token" : "tokens"}{tokens.bos_prepended ? ", BOS added" : ""}</span>;
}
