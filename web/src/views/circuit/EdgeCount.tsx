import { useId } from "preact/hooks";
import { Button, Segmented, plain } from "../../components";
import { change, stepped, workspace } from "../../state";
import { labelOf } from "./scores";
import type { Scores } from "./scores";

/** The most edges that can still be told apart. */
const MOST = 200;

const GATHER = [
  { value: "one", text: "As one node", title: "An edge of a group stands for all edges between the members, added up" },
  { value: "apart", text: "Apart", title: "Every member by itself, with the name of its group" },
] as const;

interface EdgeCountProps {
  scores: Scores;
  /** Edges on a way from the input to the logits. */
  drawn: number;
  /** Groups that cannot be one node. */
  apart: readonly string[];
}

/** How many of the strongest edges are taken, live, and how groups are drawn. */
export function EdgeCount({ scores, drawn, apart }: EdgeCountProps) {
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
      {workspace.groups.value.length > 0 && <Segmented showLabel label="Groups" options={GATHER} value={workspace.gather.value} onChange={(gather) => change({ gather })} />}
      {apart.length > 0 && <span class="soft small">{apart.join(", ")} would read what {apart.length > 1 ? "they write" : "it writes"}: drawn apart.</span>}
    </div>
  );
}
