import { Button, Empty } from "../components";
import { chooseExample, examples } from "../state";
import type { Asked } from "../state";

interface PairMissingProps {
  inputs: Asked | null;
  /** What the answer is for: "whose return is measured". */
  answer: string;
}

/** Two prompts and an answer are needed: what is not there yet. */
export function PairMissing({ inputs, answer }: PairMissingProps) {
  if (!inputs) return null;
  const ready = examples.value.filter((example) => example.corrupt !== null);
  const what = inputs.prompt === "" ? "Type the clean prompt, one whose answer the model gets right."
    : inputs.corrupt === "" ? "Type the corrupt prompt: the same sentence with the decisive words changed, so that the answer changes."
      : `Give the answer: the token ${answer}.`;
  return (
    <Empty fill title={what}>
      {ready.length > 0 && <span>Or take an example:</span>}
      <span class="row tight">{ready.map((example) => <Button small key={example.id} onPress={() => chooseExample(example)}>{example.title}</Button>)}</span>
    </Empty>
  );
}
