import { expect, test } from "vitest";
import { componentTitle, parseComponent } from "./components";

test("the API's names stand for parts of the model", () => {
  expect(parseComponent("L4H6")).toEqual({ kind: "head", layer: 4, head: 6 });
  expect(parseComponent("L10N3071")).toEqual({ kind: "neuron", layer: 10, neuron: 3071 });
  expect(parseComponent("m2")).toEqual({ kind: "mlp", layer: 2 });
  expect(parseComponent("a11")).toEqual({ kind: "attention", layer: 11 });
});

test("any other text is no part", () => {
  for (const text of ["", "L4", "H6", "L4H", "embed", "m", "ma2", "L4H6 x", "m2b"]) expect(parseComponent(text)).toBeNull();
});

test("a part says what it is", () => {
  expect(["L4H6", "a4", "m4", "L4N120"].map((name) => { const part = parseComponent(name); return part && componentTitle(part); }))
    .toEqual(["Head 6 of layer 4", "All heads of layer 4", "MLP of layer 4", "Neuron 120 of layer 4"]);
});
