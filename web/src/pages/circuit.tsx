// Circuit: what every edge between components is worth, the strongest as a graph, and one edge patched exactly.

import { useComputed } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { runExperiment } from "../api";
import { Empty, Legend, Panel, Progress, Result, Working, duration, plain } from "../components";
import { PairMissing, PairStrip } from "../inputs";
import { useRun } from "../shell/useRun";
import { asked, useResource, useShown, useTokens, workspace } from "../state";
import { ChosenEdge } from "../views/circuit/ChosenEdge";
import { ChosenGroup } from "../views/circuit/ChosenGroup";
import { ChosenNode } from "../views/circuit/ChosenNode";
import { CircuitGraph, nodeScale } from "../views/circuit/CircuitGraph";
import { EdgeCount } from "../views/circuit/EdgeCount";
import { StrongestEdges } from "../views/circuit/StrongestEdges";
import { drawn } from "../views/circuit/drawing";
import { circuitFiles } from "../views/circuit/files";
import { parseGroups, withPinned } from "../views/circuit/groups";
import { allEdges, oneEdge, promotedBy } from "../views/circuit/questions";
import { circuitOf, edgeTable, nodesOf, scoresOf } from "../views/circuit/scores";
import { gathered, groupOfNode } from "../views/circuit/supernodes";

export function CircuitPage() {
  const key = useComputed(() => allEdges(asked.value));
  const all = useResource(key, runExperiment);
  const exactKey = useComputed(() => oneEdge(asked.value, workspace.edge.value, parseGroups(workspace.groups.value)));
  const exact = useResource(exactKey, runExperiment);
  const promotedKey = useComputed(() => promotedBy(asked.value, workspace.node.value));
  const promoted = useResource(promotedKey, runExperiment);
  const clean = useTokens(workspace.prompt);
  const corrupt = useTokens(workspace.corrupt);
  const run = useRun(all);

  const record = all.data.value;
  const [count, pins, texts, gather] = [workspace.edges.value, workspace.pins.value, workspace.groups.value, workspace.gather.value];
  const groups = useMemo(() => parseGroups(texts), [texts]);
  const scores = useMemo(() => {
    const table = record && edgeTable(record);
    return table && scoresOf(table);
  }, [record]);
  const made = useMemo(() => {
    if (!scores) return null;
    const edges = withPinned(circuitOf(scores, count), scores, pins);
    const circuit = { nodes: nodesOf(edges), edges };
    const look = gathered(circuit, scores, groups, gather);
    return { circuit, look, drawing: drawn(look.circuit, look) };
  }, [scores, count, pins, groups, gather]);
  const old = all.stale.value;
  const files = useMemo(() => (record && scores && made && !old ? circuitFiles(record, scores, made.circuit, made.look, groups) : []), [record, scores, made, groups, old]);
  useShown({ experiment: key.value, record: old ? null : record, table: 0, files });

  const chosenEdge = made?.look.circuit.edges.find(({ name }) => name === workspace.edge.value) ?? scores?.edges.find(({ name }) => name === workspace.edge.value);
  const chosenNode = workspace.node.value;
  const chosenGroup = groupOfNode(chosenNode, groups);
  return (
    <>
      <PairStrip clean={clean} corrupt={corrupt} action={{ text: "Estimate", onPress: run }} />
      {scores && <EdgeCount scores={scores} drawn={made?.circuit.edges.length ?? 0} apart={made?.look.apart ?? []} />}
      <div class="columns circuitview">
        <Panel
          fill class="main" title="Circuit"
          note={record && !old && made ? `${made.circuit.edges.length} of ${scores?.edges.length ?? 0} edges, ${made.circuit.nodes.length} nodes · ${duration(record.elapsed_secs)}` : ""}
          aside={<Progress phase={all.phase.value} progress={all.progress.value} onStop={all.cancel} />}
        >
          <Working phase={all.phase.value} progress={all.progress.value} />
          {key.value === null
            ? <PairMissing inputs={asked.value} answer="whose edges are traced" />
            : (
              <Result of={all}>
                {(_, stale) => scores && made && (made.circuit.edges.length === 0
                  ? <Empty fill title="No way from the input to the logits." >Take more edges.</Empty>
                  : (
                    <>
                      <CircuitGraph drawing={made.drawing} look={made.look} scores={scores} dim={stale} />
                      <Legend scale={nodeScale(made.drawing, made.look)} line={`${scores.unit ? `${scores.unit}; ` : ""}nodes and edges: what is lost when they carry the corrupt run's value, estimated; 0 = the clean run. Edges as wide as they are strong, up to ${plain(Math.abs(made.look.circuit.edges[0]?.score ?? 0))}`} />
                    </>
                  ))}
              </Result>
            )}
        </Panel>
        <div class="stack">
          {scores && key.value !== null && chosenEdge
            ? <ChosenEdge edge={chosenEdge} parts={made?.look.edgesOf(chosenEdge) ?? []} unit={scores.unit} of={exact} />
            : scores && made && key.value !== null && chosenGroup
              ? <ChosenGroup group={chosenGroup} scores={scores} groups={groups} look={made.look} />
            : scores && key.value !== null && chosenNode !== ""
              ? <ChosenNode name={chosenNode} scores={scores} edges={made?.circuit.edges ?? []} groups={groups} promoted={promoted} />
              : (
                <Panel fill scroll title="Strongest edges" label="Strongest edges" note={scores ? "estimated" : ""}>
                  {scores && made && key.value !== null
                    ? <StrongestEdges label="Strongest edges" edges={made.circuit.edges.slice(0, 16)} dim={old} />
                    : <Empty title="The edges that matter most." />}
                </Panel>
              )}
        </div>
      </div>
    </>
  );
}
