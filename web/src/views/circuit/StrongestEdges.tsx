import { TopList, signed } from "../../components";
import { change, workspace } from "../../state";
import { labelOf } from "./scores";
import type { Edge } from "./scores";
import { groupNode } from "./supernodes";

interface StrongestEdgesProps {
  label: string;
  edges: readonly Edge[];
  dim?: boolean;
}

/** Edges with their estimates; a press chooses one. */
export function StrongestEdges({ label, edges, dim }: StrongestEdgesProps) {
  const entries = edges.map((edge) => ({
    key: edge.name, name: edgeLabel(edge), value: edge.score, text: signed(edge.score), pressed: workspace.edge.value === edge.name,
  }));
  return <div class={dim ? "dimmed" : ""}><TopList label={label} entries={entries} onPress={(name) => change({ edge: name, node: "" })} /></div>;
}

/** `L1H2 → L2H1 v`. */
export function edgeLabel({ from, to, port }: Edge): string {
  return `${endLabel(from)} → ${endLabel(to)}${port && ` ${port}`}`;
}

/** A component, or the name of a group. */
export function endLabel(node: string): string {
  return node.startsWith(groupNode("")) ? node.slice(groupNode("").length) : labelOf(node);
}
