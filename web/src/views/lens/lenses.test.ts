import { describe, expect, it } from "vitest";
import type { Lens, Table } from "../../api";
import { ofLens, openLens, readingsOf, takesTuned, topOf } from "./lenses";

const table = (axes: Table["axes"], values: number[]): Table =>
  ({ metric: "kl", quantity: "value", title: "", unit: "nats", baseline: "", basis: "exact", axes, values });
const layers = { name: "layer", labels: ["embed", "L0"] };
const both = table([{ name: "lens", labels: ["logit lens", "tuned lens"] }, layers], [1, 2, 3, 4]);

describe("two lenses in one record", () => {
  it("are_told_apart_by_the_axis_in_front", () => {
    expect(readingsOf(both)).toEqual(["logit", "tuned"]);
    expect(ofLens(both, "logit")).toMatchObject({ axes: [layers], values: [1, 2] });
    expect(ofLens(both, "tuned")).toMatchObject({ axes: [layers], values: [3, 4] });
  });
  it("are_one_where_no_tuned_lens_read", () => {
    const one = table([layers], [1, 2]);
    expect(readingsOf(one)).toEqual(["logit"]);
    expect(ofLens(one, "tuned")).toBe(one);
  });
  it("have_their_own_tokens", () => {
    const cell = (token: string) => [[[{ id: 1, token, prob: 1 }]]];
    const lens: Lens = { layers: ["embed"], top: cell("a"), tuned_top: cell("b") };
    expect(topOf(lens, "logit", 0, 0)[0]?.token).toBe("a");
    expect(topOf(lens, "tuned", 0, 0)[0]?.token).toBe("b");
    expect(topOf({ layers: ["embed"], top: cell("a") }, "tuned", 0, 0)).toEqual([]);
  });
});

describe("the tuned lens beside a model", () => {
  const open = { tuned_lenses: [{ name: "demo", trained_for: "demo" }, { name: "mine", trained_for: "demo" }] };
  it("is_the_one_named_or_else_the_first", () => {
    expect(openLens(open, "mine")).toBe("mine");
    expect(openLens(open, "gone")).toBe("demo");
    expect(openLens({ tuned_lenses: [] }, "demo")).toBeNull();
    expect(openLens(null, "demo")).toBeNull();
  });
  it("reads_layers_with_their_own_scale_only", () => {
    expect(takesTuned({ rows: "layers", norm: "" })).toBe(true);
    expect(takesTuned({ rows: "layers", norm: "final" })).toBe(true);
    expect(takesTuned({ rows: "layers", norm: "bare" })).toBe(false);
    expect(takesTuned({ rows: "sublayers", norm: "" })).toBe(false);
  });
});
