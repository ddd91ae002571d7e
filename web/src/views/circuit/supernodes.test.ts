// @vitest-environment happy-dom

import { expect, test } from "vitest";
import { drawn } from "./drawing";
import { circuitDot } from "./files";
import { oneEdge } from "./questions";
import { circuitOf, labelOf, scoresOf } from "./scores";
import { gathered, groupNode } from "./supernodes";
import { TABLE } from "./twoLayers";

test("a group is one node, worth its members, and its edges are the sums of theirs", () => {
  const scores = scoresOf(TABLE);
  const group = { name: "early", nodes: ["L0H0", "m0"] };
  const look = gathered(circuitOf(scores, 99), scores, [group]);
  const node = groupNode("early");
  expect(look.circuit.nodes).toEqual(["input", node, "a1.h0", "m1", "logits"]);
  expect(look.nameOf(node)).toBe("early · 2");
  const values = look.circuit.edges.find(({ name }) => name === `${node}->a1.h0<v>`);
  // a0.h0 1, m0 -0.9.
  expect(values?.score).toBeCloseTo(0.1);
  expect(values && look.edgesOf(values).map(({ name }) => name)).toEqual(["a0.h0->a1.h0<v>", "m0->a1.h0<v>"]);
  // What one member writes and the other reads is inside.
  const inside = scores.edges.filter(({ name }) => name === "a0.h0->m0").reduce((sum, { score }) => sum + score, 0);
  const total = (edges: readonly { score: number }[]): number => edges.reduce((sum, { score }) => sum + score, 0);
  expect(total(look.circuit.edges)).toBeCloseTo(total(scores.edges) - inside);
  expect(inside).not.toBe(0);
  expect(look.worthOf(node)).toBeCloseTo((scores.nodes.get("a0.h0") ?? 0) + (scores.nodes.get("m0") ?? 0) - inside);
  expect(gathered(circuitOf(scores, 99), scores, [group], "apart").circuit.nodes).toEqual(circuitOf(scores, 99).nodes);
});

test("a group that would read what it writes stands apart, and says so", () => {
  const scores = scoresOf(TABLE);
  // m0 reads L0H0 and writes to L1H0.
  const around = { name: "around", nodes: ["L0H0", "L1H0"] };
  const look = gathered(circuitOf(scores, 99), scores, [around, { name: "mlps", nodes: ["m0"] }]);
  expect(look.apart).toEqual(["around"]);
  expect(look.circuit).toEqual(circuitOf(scores, 99));
  expect(look.nameOf("a0.h0")).toBe("L0H0 · around");
  // Each of two is in the other's way, and on a way around itself.
  const crossed = gathered(circuitOf(scores, 99), scores, [{ name: "a", nodes: ["L0H0", "m1"] }, { name: "b", nodes: ["m0", "L1H0"] }]);
  expect(crossed.apart).toEqual(["b", "a"]);
});

test("in a drawing with groups every edge goes up, and layers are shown while they are whole", () => {
  const scores = scoresOf(TABLE);
  for (const nodes of [["L0H0", "m0"], ["m0", "m1"], ["L1H0", "m1"]]) {
    const look = gathered(circuitOf(scores, 99), scores, [{ name: "group", nodes }]);
    const drawing = drawn(look.circuit, look);
    const y = new Map(drawing.boxes.map((box) => [box.node, box.y]));
    for (const { edge } of drawing.paths) expect(y.get(edge.from) ?? 0).toBeGreaterThan(y.get(edge.to) ?? Infinity);
    expect(drawing.bands.length === 0).toBe(look.circuit.nodes.some((node) => labelOf(node) !== node && look.rowOf(node) !== gathered(circuitOf(scores, 99), scores, []).rowOf(node)));
  }
});

test("an edge of a group is patched with all members at once", () => {
  const inputs = { model: "demo", weights: "folded" as const, prompt: "a", corrupt: "b", target: " c", foil: "" };
  const asks = (name: string): unknown => {
    const method = oneEdge(inputs, name, [{ name: "late", nodes: ["L1H0", "m1", "L1H2"] }])?.method;
    return method && method !== "measure" && "path_patch" in method ? [method.path_patch.from, method.path_patch.to] : method;
  };
  expect(asks(`a0.h1->${groupNode("late")}<q>`)).toEqual([{ each: ["a0.h1"] }, { together: ["a1.h0<q>", "a1.h2<q>"] }]);
  expect(asks(`a0.h1->${groupNode("late")}`)).toEqual([{ each: ["a0.h1"] }, { each: ["m1"] }]);
  expect(asks(`${groupNode("late")}->logits`)).toEqual([{ together: ["a1.h0", "m1", "a1.h2"] }, { each: ["logits"] }]);
  expect(asks("a0.h1->a1.h0<k>")).toEqual([{ each: ["a0.h1"] }, { each: ["a1.h0<k>"] }]);
});

test("in DOT a group is a cluster and every edge stands by itself", () => {
  const scores = scoresOf(TABLE);
  const circuit = circuitOf(scores, 99);
  const dot = circuitDot(scores, circuit, [{ name: "the \"early\"", nodes: ["L0H0", "m0"] }]);
  expect(dot).toMatch(/subgraph "cluster_0" \{ label="the \\"early\\""; style=rounded; "a0\.h0" \[.*\]; "m0" \[.*\] \}/);
  expect(dot.match(/ -> /g)).toHaveLength(circuit.edges.length);
  expect(dot.match(/[{;] "a0\.h0" \[/g)).toHaveLength(1);
});
