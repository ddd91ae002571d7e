import type { Tokens } from "../../api";
import { Button, TokenButton, TokenText, readable } from "../../components";
import { change, stepped, workspace } from "../../state";
import { positionOf } from "./questions";

/** The position whose next token is attributed: a token pressed chooses it. */
export function PositionChoice({ tokens }: { tokens: Tokens | null }) {
  const labels = tokens?.labels ?? [];
  if (labels.length < 2) return null;
  const last = labels.length - 1;
  const at = positionOf(workspace.pos.value, labels.length) ?? last;
  const next = labels[at + 1];
  return (
    <div class="setting positionchoice">
      <span class="name">After</span>
      <div class="tokenheat" role="group" aria-label="The token whose next one is attributed">
        {labels.map((label, pos) => (
          <TokenButton key={pos} text={label} chosen={pos === at} label={`${readable(label)} at ${pos}`} onPress={() => stepped({ pos: pos === last ? null : pos })} />
        ))}
      </div>
      <span class="soft small">{at === last ? "the last position" : `position ${at}`}</span>
      {next !== undefined && next !== workspace.target.value && (
        <Button small title="The answer becomes the token that the prompt goes on with there" onPress={() => change({ target: next })}>Answer <TokenText text={next} plain /></Button>
      )}
    </div>
  );
}
