// A circuit as boxes and paths in pixels, the input at the bottom.

import { labelOf, layerOf, rowOf as rowOfNode } from "./scores";
import type { Circuit, Edge, Port } from "./scores";
import { placed } from "./places";

export interface Box {
  node: string;
  label: string;
  x: number;
  y: number;
  width: number;
  height: number;
  /** Inputs that edges enter, and where from the middle. */
  ports: readonly { port: Port; x: number }[];
}

export interface Path {
  edge: Edge;
  d: string;
  width: number;
}

export interface Band {
  layer: number;
  y: number;
  height: number;
}

export interface Drawing {
  width: number;
  height: number;
  boxes: readonly Box[];
  /** The weakest first. */
  paths: readonly Path[];
  bands: readonly Band[];
}

const WIDEST = 6;
const THINNEST = 0.7;
const CLEAR = 4;
const PORTS: readonly Port[] = ["q", "k", "v"];
/** Room for the names of layers. */
const LEFT = 62;
const RIGHT = 10;

/** How wide an edge is drawn: in proportion to its score, as far as that can be seen. */
export function strokeOf(score: number, strongest: number): number {
  return strongest > 0 ? Math.min(WIDEST, Math.max(THINNEST, (WIDEST * Math.abs(score)) / strongest)) : 1;
}

/** What stands in for nodes' own names and rows, where groups are drawn. */
export interface Look {
  nameOf: (node: string) => string;
  rowOf: (node: string) => number;
}

/** The drawing of a circuit. */
export function drawn({ nodes, edges }: Circuit, { nameOf, rowOf }: Look = { nameOf: labelOf, rowOf: rowOfNode }): Drawing {
  const strongest = Math.abs(edges[0]?.score ?? 0);
  const weakestFirst = [...edges].reverse();
  const used = [...new Set(nodes.map(rowOf))].sort((a, b) => a - b);
  const index = new Map(nodes.map((node, at) => [node, at]));
  const at = (node: string): number => index.get(node) ?? 0;
  const sized = nodes.map((node) => {
    const label = nameOf(node);
    const ports = PORTS.filter((port) => edges.some((edge) => edge.to === node && edge.port === port));
    const width = Math.max(44, Math.ceil(7.4 * [...label].length + 14), 17 * ports.length);
    const height = 20 + (node === "logits" ? 0 : 11) + (ports.length > 0 ? 10 : 0);
    return { node, label, width, height, ports: ports.map((port, i) => ({ port, x: width * ((i + 0.5) / ports.length - 0.5) })) };
  });
  const rows = nodes.map((node) => used.indexOf(rowOf(node)));
  const portOf = (edge: Edge): number => sized[at(edge.to)]?.ports.find(({ port }) => port === edge.port)?.x ?? 0;
  const places = placed(
    sized.map(({ width }, node) => ({ row: rows[node] ?? 0, width })),
    weakestFirst.map((edge) => ({ from: at(edge.from), to: at(edge.to), width: strokeOf(edge.score, strongest), shift: portOf(edge) })),
  );
  const halves = used.map((_, row) => Math.max(...sized.filter((_, node) => rows[node] === row).map(({ height }) => height / 2 + CLEAR)));
  const middles = rowMiddles(halves, weakestFirst.map((edge, i) => {
    const stops = [places.x[at(edge.from)] ?? 0, ...(places.ways[i] ?? []), places.x[at(edge.to)] ?? 0];
    return { first: (rows[at(edge.from)] ?? 0) + 1, stops };
  }));
  const x = (node: number): number => LEFT + (places.x[node] ?? 0);
  const top = (row: number): number => (middles[row] ?? 0) - (halves[row] ?? 0);
  const floor = (row: number): number => (middles[row] ?? 0) + (halves[row] ?? 0);
  const boxes = sized.map((box, node) => ({ ...box, x: x(node), y: middles[rows[node] ?? 0] ?? 0 }));

  // Edges leave and enter side by side, in the order of where they lead.
  const widths = weakestFirst.map(({ score }) => strokeOf(score, strongest));
  const ways = places.ways.map((way) => way.map((to) => LEFT + to));
  const end = (edge: Edge): number => x(at(edge.to)) + portOf(edge);
  const starts = abreast(weakestFirst, widths, ({ from }) => from, (edge, i) => ways[i]?.[0] ?? end(edge), ({ from }) => [x(at(from)), (sized[at(from)]?.width ?? 0) - 12]);
  const ends = abreast(weakestFirst, widths, ({ to, port }) => `${to}<${port}`, (edge, i) => ways[i]?.at(-1) ?? x(at(edge.from)), (edge) => {
    const box = sized[at(edge.to)];
    const n = Math.max(1, box?.ports.length ?? 1);
    return [end(edge), (box?.width ?? 0) / n - (n > 1 ? 4 : 12)];
  });
  const paths = weakestFirst.map((edge, i): Path => {
    const [low, high] = [rows[at(edge.from)] ?? 0, rows[at(edge.to)] ?? 0];
    const [from, to] = [boxes[at(edge.from)], boxes[at(edge.to)]];
    let here: readonly [number, number] = [starts[i] ?? 0, top(low)];
    let d = `M${px(here[0])} ${px((from?.y ?? 0) - (from?.height ?? 0) / 2)}V${px(here[1])}`;
    (ways[i] ?? []).forEach((way, step) => {
      const row = low + 1 + step;
      d += `${curve(here, [way, floor(row)])}V${px(top(row))}`;
      here = [way, top(row)];
    });
    d += `${curve(here, [ends[i] ?? 0, floor(high)])}V${px((to?.y ?? 0) + (to?.height ?? 0) / 2)}`;
    return { edge, d, width: widths[i] ?? 1 };
  });
  const width = LEFT + places.width + RIGHT;
  return { width, height: used.length === 0 ? 0 : floor(0) + 2, boxes, paths, bands: bandsOf(nodes, rowOf, rows, top, floor) };
}

/** Middles of rows, the highest row at the top; edges that go far to the side need height to do so. */
function rowMiddles(halves: readonly number[], edges: readonly { first: number; stops: readonly number[] }[]): number[] {
  const sideways = halves.map(() => 0);
  for (const { first, stops } of edges) {
    stops.slice(1).forEach((stop, i) => {
      sideways[first + i] = Math.max(sideways[first + i] ?? 0, Math.abs(stop - (stops[i] ?? 0)));
    });
  }
  const middles = halves.map(() => 0);
  let y = 2;
  for (let row = halves.length - 1; row >= 0; row -= 1) {
    middles[row] = y + (halves[row] ?? 0);
    y += 2 * (halves[row] ?? 0) + Math.min(84, 16 + 0.11 * (sideways[row] ?? 0));
  }
  return middles;
}

function abreast(edges: readonly Edge[], widths: readonly number[], key: (edge: Edge) => string, towards: (edge: Edge, i: number) => number, room: (edge: Edge) => readonly [middle: number, width: number]): number[] {
  const at = edges.map(() => 0);
  const groups = new Map<string, { edge: Edge; i: number }[]>();
  edges.forEach((edge, i) => groups.set(key(edge), [...(groups.get(key(edge)) ?? []), { edge, i }]));
  for (const group of groups.values()) {
    const first = group[0];
    if (!first) continue;
    group.sort((a, b) => towards(a.edge, a.i) - towards(b.edge, b.i));
    const [middle, most] = room(first.edge);
    const total = group.reduce((sum, { i }) => sum + (widths[i] ?? 1) + 0.4, 0);
    const squeeze = Math.min(1, Math.max(2, most) / total);
    let x = middle - (total * squeeze) / 2;
    for (const { i } of group) {
      const width = ((widths[i] ?? 1) + 0.4) * squeeze;
      at[i] = x + width / 2;
      x += width;
    }
  }
  return at;
}

function bandsOf(nodes: readonly string[], rowOf: (node: string) => number, rows: readonly number[], top: (row: number) => number, floor: (row: number) => number): Band[] {
  const layers = [...new Set(nodes.map(layerOf))].filter((layer) => layer !== null);
  // A group that is read from below may move what it writes to up among the next layers.
  const stays = nodes.every((node) => layerOf(node) === null || rowOf(node) === rowOfNode(node));
  if (!stays) return [];
  return layers.map((layer) => {
    const own = rows.filter((_, node) => layerOf(nodes[node] ?? "") === layer);
    const y = top(Math.max(...own)) - 4;
    return { layer, y, height: floor(Math.min(...own)) + 4 - y };
  });
}

function px(value: number): string {
  return String(Math.round(value * 100) / 100);
}

function curve([x0, y0]: readonly [number, number], [x1, y1]: readonly [number, number]): string {
  const middle = px((y0 + y1) / 2);
  return `C${px(x0)} ${middle} ${px(x1)} ${middle} ${px(x1)} ${px(y1)}`;
}
