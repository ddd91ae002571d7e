import type { ExperimentRecord } from "../../api";
import { Button, Panel, Progress, Result, Working, duration, signed } from "../../components";
import { ComponentLink } from "../../shell/ComponentLink";
import { change, parseComponent } from "../../state";
import type { Resource } from "../../state";
import { StrongestEdges, edgeLabel, endLabel } from "./StrongestEdges";
import { lost } from "./questions";
import type { Edge } from "./scores";

interface ChosenEdgeProps {
  edge: Edge;
  /** The edges it stands for: itself, or those of a group. */
  parts: readonly Edge[];
  unit: string;
  of: Resource<ExperimentRecord>;
}

const PORTS = { q: "query", k: "key", v: "value", "": "input" } as const;

/** One edge: the estimate beside what patching it alone does. */
export function ChosenEdge({ edge, parts, unit, of }: ChosenEdgeProps) {
  const record = of.data.value;
  return (
    <Panel
      fill scroll title={edgeLabel(edge)} label="Chosen edge" note={record && !of.stale.value ? duration(record.elapsed_secs) : ""}
      aside={<><Progress phase={of.phase.value} onStop={of.cancel} /><Button small onPress={() => change({ edge: "" })}>Clear</Button></>}
    >
      <Working phase={of.phase.value} />
      <p class="soft small">What is lost when the {PORTS[edge.port]} of <End node={edge.to} /> sees what <End node={edge.from} /> writes in the corrupt run, and nothing else changes.</p>
      <dl class="facts">
        <div><dt>estimated</dt><dd>{signed(edge.score)} {unit}</dd></div>
        <div>
          <dt>patched exactly</dt>
          <dd><Result of={of} empty="…">{(data, stale) => <Measured value={lost(data)} unit={unit} dim={stale} />}</Result></dd>
        </div>
      </dl>
      {parts.length > 1 && <><h3 class="small">{parts.length} edges together</h3><StrongestEdges label="Edges it stands for" edges={parts.slice(0, 24)} /></>}
    </Panel>
  );
}

function Measured({ value, unit, dim }: { value: number | null; unit: string; dim: boolean }) {
  return <span class={dim ? "dimmed" : ""}>{value === null ? "no number" : `${signed(value)} ${unit}`}</span>;
}

function End({ node }: { node: string }) {
  const name = endLabel(node);
  return parseComponent(name) ? <ComponentLink name={name} /> : <span class="mono">{name}</span>;
}
