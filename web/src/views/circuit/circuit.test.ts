import { expect, test } from "vitest";
import { drawn } from "./drawing";
import { grouped, parseGroups, withPinned, writeGroups } from "./groups";
import { inversions } from "./order";
import { placed, rising } from "./places";
import { circuitOf, labelOf, nodesOf, scoresOf } from "./scores";
import { CHANGES, TABLE } from "./twoLayers";

test("a score is minus the change, and a node's the sum of its edges onwards", () => {
  const scores = scoresOf(TABLE);
  expect(scores.edges).toHaveLength(CHANGES.flat().filter((value) => value !== null).length);
  expect(scores.edges.slice(0, 3).map(({ name, score }) => [name, score])).toEqual([["a1.h0->logits", 4], ["a0.h0->a1.h0<q>", 3], ["input->a0.h0<v>", 2]]);
  expect(scores.nodes.get("a1.h0")).toBeCloseTo(3.65);
  expect(scores.edges.every(({ score }) => !Object.is(score, -0))).toBe(true);
});

test("a circuit has only what lies on a way from the input to the logits", () => {
  const scores = scoresOf(TABLE);
  expect(circuitOf(scores, 2).edges).toEqual([]);
  expect(circuitOf(scores, 3)).toMatchObject({ nodes: ["input", "a0.h0", "a1.h0", "logits"] });
  // Nothing but these leads into MLP 0.
  expect(circuitOf(scores, 5).nodes).not.toContain("m0");
  expect(circuitOf(scores, 99).edges.every(({ score }) => score !== 0)).toBe(true);
});

test("a pinned node is drawn on its strongest edges", () => {
  const scores = scoresOf(TABLE);
  const edges = withPinned(circuitOf(scores, 3), scores, ["m0"]);
  expect(edges.map(({ name }) => name)).toEqual(["a1.h0->logits", "a0.h0->a1.h0<q>", "input->a0.h0<v>", "m0->a1.h0<v>", "a0.h0->m0"]);
  expect(withPinned(circuitOf(scores, 3), scores, ["L1H0", "L9H9"])).toHaveLength(3);
});

test("groups survive the address, and a node is in one at most", () => {
  const groups = grouped(grouped(parseGroups(["a:b:L0H1,m2"]), "L3H2", "movers"), "m2", "movers");
  expect(writeGroups(groups)).toEqual(["a:b:L0H1", "movers:L3H2,m2"]);
  expect(parseGroups(writeGroups(groups))).toEqual(groups);
  expect(writeGroups(grouped(groups, "L0H1", ""))).toEqual(["movers:L3H2,m2"]);
  expect(parseGroups(["", ":L0H1", "none", "empty:"])).toEqual([]);
});

test("nodes and edges of a row keep their distance, whatever passes", () => {
  const blocks = [0, 1, 2, 3].map((row) => ({ row, width: 40 }));
  const link = (from: number, to: number) => ({ from, to, width: 2, shift: 0 });
  const { x, ways } = placed(blocks, [link(0, 1), link(1, 2), link(2, 3), link(0, 3)]);
  expect(ways.map((way) => way.length)).toEqual([0, 0, 0, 2]);
  ways[3]?.forEach((way, row) => expect(Math.abs(way - (x[row + 1] ?? 0))).toBeGreaterThanOrEqual(20 + 1 + 7 - 1e-9));
  expect(placed([], [])).toEqual({ x: [], ways: [], width: 0 });
});

test("falling pairs are counted, and falling values meet at their weighted mean", () => {
  expect([inversions([1, 2, 2, 3]), inversions([3, 2, 1]), inversions([2, 1, 2, 1])]).toEqual([0, 3, 3]);
  expect(rising([{ value: 4, weight: 1 }, { value: 1, weight: 2 }, { value: 9, weight: 1 }])).toEqual([2, 2, 9]);
});

test("a drawing has every node and edge once, the input below the logits", () => {
  const scores = scoresOf(TABLE);
  const circuit = circuitOf(scores, 99);
  const drawing = drawn(circuit);
  expect(drawing.boxes.map(({ label }) => label)).toEqual(nodesOf(circuit.edges).map(labelOf));
  expect(drawing.paths.map(({ edge }) => edge.name).sort()).toEqual(circuit.edges.map(({ name }) => name).sort());
  const y = (node: string): number => drawing.boxes.find((box) => box.node === node)?.y ?? Number.NaN;
  expect(y("input") > y("a0.h0") && y("a0.h0") > y("m0") && y("m0") > y("a1.h0") && y("m1") > y("logits")).toBe(true);
  expect(drawing.paths.every(({ d }) => /^M[-\d. ]+V[-\d.]+(C[-\d. ]+V[-\d.]+)+$/.test(d))).toBe(true);
  expect(Math.max(...drawing.paths.map(({ width }) => width))).toBe(6);
});
