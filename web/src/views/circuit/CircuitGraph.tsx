import { colourOf, css, diverging, inkOn, signed, symmetricMax } from "../../components";
import { change, theme, workspace } from "../../state";
import type { Drawing } from "./drawing";
import { labelOf } from "./scores";
import { endLabel } from "./StrongestEdges";
import type { Scores } from "./scores";
import type { Gathered } from "./supernodes";

interface CircuitGraphProps {
  drawing: Drawing;
  look: Gathered;
  scores: Scores;
  dim: boolean;
}

/** The scale of the nodes drawn. The input is not coloured: the whole difference between the prompts comes from there. */
export function nodeScale(drawing: Drawing, { worthOf }: Gathered) {
  const coloured = drawing.boxes.filter(({ node }) => node !== "input").map(({ node }) => worthOf(node));
  return diverging(symmetricMax(coloured));
}

/** The circuit from the input at the bottom to the logits at the top; a press chooses a node or an edge. */
export function CircuitGraph({ drawing, look, scores, dim }: CircuitGraphProps) {
  const scale = nodeScale(drawing, look);
  const pinned = workspace.pins.value;
  const { width, height } = drawing;
  const onKey = (press: () => void) => (event: KeyboardEvent): void => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    press();
  };
  return (
    <div class={dim ? "circuitgraph dimmed" : "circuitgraph"} tabIndex={0} role="region" aria-label="Circuit">
      <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="group" aria-label={`${drawing.paths.length} edges between ${drawing.boxes.length} nodes`}>
        {drawing.bands.map(({ layer, y, height: tall }) => (
          <g class="band" key={layer}>
            <rect x={0} y={y} width={width} height={tall} rx={6} />
            <text x={8} y={y + tall / 2 + 4}>layer {layer}</text>
          </g>
        ))}
        {drawing.paths.map(({ edge, d, width: stroke }) => {
          const chosen = workspace.edge.value === edge.name;
          const press = (): void => change({ edge: chosen ? "" : edge.name, node: "" });
          const told = `${endLabel(edge.from)} to ${endLabel(edge.to)}${edge.port && ` ${edge.port}`}: ${signed(edge.score)} ${scores.unit}`;
          return (
            <g key={edge.name} class={`edge ${edge.score < 0 ? "against" : "for"}${chosen ? " chosen" : ""}`} role="button" tabIndex={-1} aria-label={told} aria-pressed={chosen} onClick={press} onKeyDown={onKey(press)}>
              <title>{told}</title>
              <path class="hit" d={d} />
              <path d={d} stroke-width={chosen ? stroke + 1.5 : stroke} />
            </g>
          );
        })}
        {drawing.boxes.map(({ node, label, x, y, width: wide, height: tall, ports }) => {
          const score = look.worthOf(node);
          const name = labelOf(node);
          const chosen = workspace.node.value === name;
          const colour = score === null || node === "input" ? null : colourOf(scale, score, theme.value);
          const ink = colour ? { fill: inkOn(colour) } : {};
          const press = (): void => change({ node: chosen ? "" : name, edge: "" });
          const text = y - tall / 2 + (score === null ? tall / 2 + 4 : 14);
          return (
            <g key={node} class={chosen ? "node chosen" : "node"} role="button" tabIndex={0} aria-pressed={chosen} aria-label={`${label}${score === null ? "" : `: ${signed(score)} ${scores.unit}`}`} onClick={press} onKeyDown={onKey(press)}>
              <rect x={x - wide / 2} y={y - tall / 2} width={wide} height={tall} rx={5} style={colour ? { fill: css(colour) } : {}} class={pinned.includes(name) ? "pinned" : ""} />
              <text class="label" x={x} y={text} style={ink}>{label}</text>
              {score !== null && <text x={x} y={text + 11.5} style={ink}>{signed(score)}</text>}
              {ports.map((port) => <text key={port.port} x={x + port.x} y={y + tall / 2 - 3.5} style={ink}>{port.port}</text>)}
            </g>
          );
        })}
      </svg>
    </div>
  );
}
