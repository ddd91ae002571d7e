import { describe, expect, it } from "vitest";
import { cellBox, cellsBetween, columnCells, layout, rowCells, spotAt, walk } from "./heatmapLayout";

const axes = { rowLabels: ["L0", "L1", "L2"], columnLabels: ["H0", "H1", "H2", "H3"], tokens: false, topDown: false };
const at = layout(axes, { width: 300, height: 200 }, { square: false, minCell: 12, maxCell: 64, minRow: 12 });

describe("the layout of a heatmap", () => {
  it("puts_layer_0_at_the_bottom", () => {
    expect(cellBox(at, 0).y).toBeGreaterThan(cellBox(at, 8).y);
  });
  it("finds_the_cell_that_lies_under_its_own_middle", () => {
    for (let cell = 0; cell < 12; cell++) {
      const { x, y, width, height } = cellBox(at, cell);
      expect(spotAt(at, x + width / 2, y + height / 2)).toEqual({ kind: "cell", cell });
    }
  });
  it("finds_rows_and_columns_by_their_labels", () => {
    expect(spotAt(at, 3, 5)).toEqual({ kind: "row", row: 2 });
    expect(spotAt(at, at.left + 3, at.bottom + 8)).toEqual({ kind: "column", column: 0 });
    expect(rowCells(at, 1)).toEqual([4, 5, 6, 7]);
    expect(columnCells(at, 1)).toEqual([1, 5, 9]);
  });
  it("spans_a_block_whichever_corner_is_first", () => {
    expect(cellsBetween(at, 5, 0)).toEqual([0, 1, 4, 5]);
    expect(cellsBetween(at, 1, 4)).toEqual([0, 1, 4, 5]);
  });
  it("walks_up_to_higher_layers_and_stays_inside", () => {
    expect([walk(at, 0, "ArrowUp"), walk(at, 0, "ArrowDown"), walk(at, 3, "ArrowRight"), walk(at, 5, "End"), walk(at, 0, "x")]).toEqual([4, 0, 3, 7, null]);
    expect(walk({ ...at, topDown: true }, 4, "ArrowUp")).toBe(0);
  });
  it("fits_the_room_and_keeps_cells_square_where_asked", () => {
    expect(at.width).toBeLessThanOrEqual(300);
    expect(at.height).toBeLessThanOrEqual(200);
    const square = layout(axes, { width: 300, height: 100 }, { square: true, minCell: 8, maxCell: 64, minRow: 8 });
    expect(square.pitchX).toBe(square.pitchY);
  });
});
