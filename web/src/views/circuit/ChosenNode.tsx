import { useId } from "preact/hooks";
import type { ExperimentRecord } from "../../api";
import { Button, Panel, signed } from "../../components";
import { ComponentLink } from "../../shell/ComponentLink";
import { componentTitle, change, parseComponent, workspace } from "../../state";
import type { Resource } from "../../state";
import { Promotes } from "./Promotes";
import { StrongestEdges } from "./StrongestEdges";
import { grouped, writeGroups } from "./groups";
import type { Group } from "./groups";
import { labelOf } from "./scores";
import { worthTogether } from "./supernodes";
import type { Edge, Scores } from "./scores";

interface ChosenNodeProps {
  /** Its label. */
  name: string;
  scores: Scores;
  /** The edges drawn. */
  edges: readonly Edge[];
  groups: readonly Group[];
  promoted: Resource<ExperimentRecord>;
}

/** One node: what it is worth and promotes, what it reads and what reads it, and the group it is in. */
export function ChosenNode({ name, scores, edges, groups, promoted }: ChosenNodeProps) {
  const id = useId();
  const list = useId();
  const component = parseComponent(name);
  const score = [...scores.nodes].find(([node]) => labelOf(node) === name)?.[1] ?? null;
  const [into, from] = [edges.filter(({ to }) => labelOf(to) === name), edges.filter(({ from }) => labelOf(from) === name)];
  const pinned = workspace.pins.value.includes(name);
  const group = groups.find(({ nodes }) => nodes.includes(name));
  const members = group?.nodes ?? [];
  const total = worthTogether(scores, members);
  return (
    <Panel
      fill scroll label="Chosen node" title={component ? <ComponentLink name={name} /> : name} note={component ? componentTitle(component) : ""}
      aside={<Button small onPress={() => change({ node: "" })}>Clear</Button>}
    >
      <dl class="facts">
        <div><dt>worth, estimated</dt><dd>{score === null ? "what all is measured by" : `${signed(score)} ${scores.unit}`}</dd></div>
      </dl>
      {component && (
        <div class="row tight">
          <Button small title="Keep it in the drawing however few edges are taken" onPress={() => change({ pins: pinned ? workspace.pins.value.filter((pin) => pin !== name) : [...workspace.pins.value, name] })}>{pinned ? "Unpin" : "Pin"}</Button>
          <span class="field">
            <label for={id}>Group</label>
            <input
              id={id} key={name} class="textbox" list={list} value={group?.name ?? ""} placeholder="name, Enter" size={14}
              onChange={(event) => change({ groups: writeGroups(grouped(groups, name, event.currentTarget.value.trim())) })}
            />
            <datalist id={list}>{groups.map((known) => <option key={known.name} value={known.name} />)}</datalist>
          </span>
        </div>
      )}
      {group && members.length > 1 && (
        <p class="small">{group.name}: {members.map((member) => <span key={member}><ComponentLink name={member} /> </span>)}<span class="soft">together {signed(total)} {scores.unit}</span></p>
      )}
      {component && <Promotes of={promoted} />}
      {into.length > 0 && <><h3 class="small">Reads</h3><StrongestEdges label={`What ${name} reads`} edges={into.slice(0, 12)} /></>}
      {from.length > 0 && <><h3 class="small">Is read by</h3><StrongestEdges label={`What reads ${name}`} edges={from.slice(0, 12)} /></>}
    </Panel>
  );
}
