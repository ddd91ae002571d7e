import type { PromptReport, RunReport } from "../api";
import { BarList, TokenText, percent } from "../components";

interface NextTokensProps {
  title: string;
  run: RunReport;
  prompt: PromptReport;
  count?: number;
}

/** The most probable next tokens of a run; the answer in blue, the wrong one in red. */
export function NextTokens({ title, run, prompt, count = 5 }: NextTokensProps) {
  const tone = (id: number) =>
    prompt.answers.some((one) => one.id === id) ? "for" as const : prompt.wrong_answers.some((one) => one.id === id) ? "against" as const : undefined;
  return (
    <div class="nexttokens">
      <div class="soft small">{title}</div>
      <BarList
        label={`${title}: most probable next tokens`}
        entries={run.top.slice(0, count).map(({ id, token, prob }) => ({
          key: String(id), name: <TokenText text={token} plain />, value: prob, text: percent(prob), tone: tone(id),
        }))}
      />
    </div>
  );
}
