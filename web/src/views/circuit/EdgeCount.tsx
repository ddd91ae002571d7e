import { useId } from "preact/hooks";
import { Button, plain } from "../../components";
import { change, stepped, workspace } from "../../state";
import { labelOf } from "./scores";
import type { Scores } from "./scores";

/** The most edges that can still be told apart. */
const MOST = 200;

/** How many of the strongest edges are taken, live. */
export function EdgeCount({ scores, drawn }: { scores: Scores; drawn: number }) {
  const id = useId();
  const most = Math.min(MOST, scores.edges.length);
  const count = Math.min(workspace.edges.value, most);
  const weakest = scores.edges[count - 1];
  const pins = workspace.pins.value;
  return (
    <div class="settings">
      <div class="setting">
        <label class="name" for={id}>Strongest edges</label>
        <input
          id={id} type="range" min={1} max={most} value={count} aria-valuetext={`${count} edges`}
          onInput={(event) => stepped({ edges: event.currentTarget.valueAsNumber })}
        />
        <output for={id}>{count}</output>
      </div>
      <span class="soft small">
        {weakest && `of at least ${plain(Math.abs(weakest.score))} ${scores.unit}; `}{drawn} on a way from input to logits
      </span>
      {pins.length > 0 && (
        <span class="row tight">
          <span class="soft small">Pinned:</span>
          {pins.map((pin) => <Button small key={pin} title={`Unpin ${labelOf(pin)}`} onPress={() => change({ pins: pins.filter((other) => other !== pin) })}>{pin} ×</Button>)}
        </span>
      )}
    </div>
  );
}
