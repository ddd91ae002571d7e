// The circuit on show as files: its picture, DOT, the JSON of the EAP-IG library and of MIB, and that of attribution graphs.

import type { ExperimentRecord } from "../../api";
import { colourOf, css, inkOn, signed } from "../../components";
import { escapeHtml, fileName, saveFile, saveText } from "../../export";
import type { ShownFile } from "../../state";
import { attributionGraph } from "./attributionGraph";
import { nodeScale } from "./CircuitGraph";
import { drawn } from "./drawing";
import { labelOf, rowOf } from "./scores";
import type { Circuit, Scores } from "./scores";
import type { Group } from "./groups";
import type { Gathered } from "./supernodes";

/** `look` is what is drawn of the circuit. */
export function circuitFiles(record: ExperimentRecord, scores: Scores, circuit: Circuit, look: Gathered, groups: readonly Group[]): ShownFile[] {
  const name = (ending: string): string => fileName(record.experiment, ending).replace("edge-attribution", "circuit");
  const text = (label: string, ending: string, type: string, content: () => string): ShownFile =>
    ({ label, save: () => Promise.resolve(saveText(name(ending), content(), type)) });
  return [
    text("Circuit (SVG)", "svg", "image/svg+xml", () => circuitSvg(scores, look)),
    { label: "Circuit (PNG)", save: async () => saveFile(name("png"), await circuitPng(circuitSvg(scores, look))) },
    text("Circuit (DOT)", "dot", "text/vnd.graphviz", () => circuitDot(scores, circuit, groups)),
    text("Circuit (EAP JSON)", "eap.json", "application/json", () => eapJson(record, scores, circuit)),
    text("Circuit (attribution graph)", "attribution-graph.json", "application/json", () => attributionGraph(record, scores, circuit, groups, Date.now())),
  ];
}

const BLUE = "#3f74b1";
const RED = "#bd4f43";

/** The drawing with its own colours, in the light theme. */
export function circuitSvg(scores: Scores, look: Gathered): string {
  const drawing = drawn(look.circuit, look);
  const scale = nodeScale(drawing, look);
  const [width, height] = [Math.max(240, drawing.width), drawing.height + 24];
  const text = (x: number, y: number, said: string, more: string): string => `<text x="${x}" y="${y}" ${more}>${escapeHtml(said)}</text>`;
  const bands = drawing.bands.map(({ layer, y, height: tall }) =>
    `<rect x="0" y="${y}" width="${drawing.width}" height="${tall}" rx="6" fill="#f6f5f1"/>${text(8, y + tall / 2 + 4, `layer ${layer}`, 'font-size="11"')}`);
  const paths = drawing.paths.map(({ edge, d, width: stroke }) =>
    `<path d="${d}" fill="none" stroke="${edge.score < 0 ? RED : BLUE}" stroke-width="${stroke}" stroke-opacity="0.82"><title>${escapeHtml(`${edge.name}: ${signed(edge.score)} ${scores.unit}`)}</title></path>`);
  const boxes = drawing.boxes.map(({ node, label, x, y, width: wide, height: tall, ports }) => {
    const score = look.worthOf(node);
    const colour = score === null || node === "input" ? null : colourOf(scale, score, "light");
    const ink = `text-anchor="middle" fill="${colour ? inkOn(colour) : "#1c1d1f"}"`;
    const top = y - tall / 2 + (score === null ? tall / 2 + 4 : 14);
    return [
      `<rect x="${x - wide / 2}" y="${y - tall / 2}" width="${wide}" height="${tall}" rx="5" fill="${colour ? css(colour) : "#fff"}" stroke="#b9b6ad"/>`,
      text(x, top, label, `${ink} font-size="11.5" font-weight="600"`),
      score === null ? "" : text(x, top + 11.5, signed(score), `${ink} font-size="9.5"`),
      ...ports.map((port) => text(x + port.x, y + tall / 2 - 3.5, port.port, `${ink} font-size="9.5"`)),
    ].join("");
  });
  const unit = `Nodes to ±${signed(scale.max).slice(1)}${scores.unit && ` ${scores.unit}`}: blue helps, red works against; estimated.`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`, ...bands, ...paths, ...boxes, text(8, height - 8, unit, 'font-size="11" fill="#64646a"'), "</svg>\n",
  ].join("\n");
}

async function circuitPng(svg: string): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width * 2, image.height * 2];
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done, failed) => canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("the picture is too large")))));
}

/** A group is a cluster. */
export function circuitDot(scores: Scores, { nodes, edges }: Circuit, groups: readonly Group[]): string {
  const quoted = (text: string): string => `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
  // Graphviz takes a node of a cluster out of it for the sake of a row.
  const single = nodes.filter((name) => !groups.some(({ nodes: members }) => members.includes(labelOf(name))));
  const rows = [...new Set(single.map(rowOf))];
  const node = (name: string): string => {
    const score = scores.nodes.get(name);
    return `${quoted(name)} [label=${quoted(score === undefined ? labelOf(name) : `${labelOf(name)}\n${signed(score)}`)}]`;
  };
  const strongest = Math.abs(edges[0]?.score ?? 1) || 1;
  const clusters = groups.map(({ name, nodes: members }, i) => {
    const inside = nodes.filter((node) => members.includes(labelOf(node)));
    return `  subgraph ${quoted(`cluster_${i}`)} { label=${quoted(name)}; style=rounded; ${inside.map(node).join("; ")} }`;
  });
  return [
    "digraph circuit {", "  graph [rankdir=BT];", "  node [shape=box, style=rounded];",
    ...rows.map((row) => `  { rank=same; ${single.filter((name) => rowOf(name) === row).map(node).join("; ")} }`),
    ...clusters,
    ...edges.map(({ from, to, port, score }) =>
      `  ${quoted(from)} -> ${quoted(to)} [label=${quoted(`${port} ${signed(score)}`.trim())}, color="${score < 0 ? RED : BLUE}", penwidth=${Math.max(0.4, (5 * Math.abs(score)) / strongest).toFixed(2)}, score="${score}"];`),
    "}", "",
  ].join("\n");
}

/** Every score, the circuit `in_graph`. */
export function eapJson(record: ExperimentRecord, scores: Scores, circuit: Circuit): string {
  const { n_layers, n_heads, d_model } = record.model.config;
  const [nodes, edges] = [new Set(circuit.nodes), new Set(circuit.edges.map(({ name }) => name))];
  const ends = ["input", "logits"];
  const names = [...new Set([...scores.nodes.keys(), "logits"])];
  const file = {
    cfg: { n_layers, n_heads, parallel_attn_mlp: false, d_model },
    nodes: Object.fromEntries(names.map((name) => {
      const score = scores.nodes.get(name);
      return [name, { in_graph: ends.includes(name) || nodes.has(name), ...(score === undefined ? {} : { score }) }];
    })),
    edges: Object.fromEntries(scores.edges.map(({ name, score }) => [name, { score, in_graph: edges.has(name) }])),
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}
