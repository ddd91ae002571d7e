import { Button, Panel, TopList, signed } from "../../components";
import { change } from "../../state";
import { StrongestEdges } from "./StrongestEdges";
import { writeGroups } from "./groups";
import type { Group } from "./groups";
import { labelOf } from "./scores";
import type { Scores } from "./scores";
import { groupNode, worthTogether } from "./supernodes";
import type { Gathered } from "./supernodes";

interface ChosenGroupProps {
  group: Group;
  scores: Scores;
  groups: readonly Group[];
  look: Gathered;
}

/** A group: what its members are worth, alone and together, what it reads and what reads it. */
export function ChosenGroup({ group, scores, groups, look }: ChosenGroupProps) {
  const node = groupNode(group.name);
  const { edges } = look.circuit;
  const [into, from] = [edges.filter(({ to }) => to === node), edges.filter(({ from }) => from === node)];
  const members = [...scores.nodes].filter(([of]) => group.nodes.includes(labelOf(of))).map(([of, value]) => ({ key: labelOf(of), name: labelOf(of), value, text: signed(value) }));
  members.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  const together = worthTogether(scores, group.nodes);
  return (
    <Panel
      fill scroll label="Chosen group" title={group.name} note={`${group.nodes.length} nodes`}
      aside={<Button small onPress={() => change({ node: "" })}>Clear</Button>}
    >
      <dl class="facts">
        <div><dt>worth together, estimated; edges between them left out</dt><dd>{signed(together)} {scores.unit}</dd></div>
      </dl>
      <div class="row tight">
        <Button small onPress={() => change({ gather: "apart" })}>Draw apart</Button>
        <Button small onPress={() => change({ groups: writeGroups(groups.filter(({ name }) => name !== group.name)), node: "" })}>Ungroup</Button>
      </div>
      <h3 class="small">Members</h3>
      <TopList label={`Members of ${group.name}`} entries={members} onPress={(name) => change({ node: name, edge: "" })} />
      {into.length > 0 && <><h3 class="small">Reads</h3><StrongestEdges label={`What ${group.name} reads`} edges={into.slice(0, 12)} /></>}
      {from.length > 0 && <><h3 class="small">Is read by</h3><StrongestEdges label={`What reads ${group.name}`} edges={from.slice(0, 12)} /></>}
    </Panel>
  );
}
