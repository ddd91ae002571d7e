// Where the cells of a heatmap and its labels lie, in CSS pixels.

export interface Axes {
  rowLabels: readonly string[];
  columnLabels: readonly string[];
  /** Column labels are tokens: set in the monospaced face, their index below. */
  tokens: boolean;
  topDown: boolean;
}

export interface Room {
  width: number;
  /** null: as high as square cells make it. */
  height: number | null;
}

export interface Wishes {
  square: boolean;
  minCell: number;
  maxCell: number;
  /** Rows may be lower than cells are wide: many of them then fit at once. */
  minRow: number;
}

export interface Layout extends Axes {
  /** Left edge of the cells. */
  left: number;
  /** Height of the cells' part; labels lie below it. */
  bottom: number;
  pitchX: number;
  pitchY: number;
  gap: number;
  width: number;
  height: number;
  /** Column labels stand upright where cells are narrower than them. */
  upright: boolean;
}

const SANS = 6.6;
const MONO = 7.3;
const LONGEST = 9;
const TALLEST = 620;

export function layout(axes: Axes, room: Room, wishes: Wishes): Layout {
  const rows = Math.max(1, axes.rowLabels.length);
  const columns = Math.max(1, axes.columnLabels.length);
  const letter = axes.tokens ? MONO : SANS;
  const left = Math.min(96, Math.ceil(Math.max(...axes.rowLabels.map((label) => label.length), 1) * (axes.topDown ? MONO : SANS)) + 14);
  const longest = Math.min(LONGEST, Math.max(...axes.columnLabels.map((label) => label.length), 1));
  const fits = (pitch: number): boolean => longest * letter + 4 <= pitch;

  let pitchX = clamp(Math.floor((room.width - left - 2) / columns), wishes);
  const upright = axes.tokens ? !fits(pitchX) : false;
  const labels = axes.tokens ? (upright ? Math.ceil(longest * MONO) + 10 : 36) : 22;
  let pitchY = pitchX;
  if (room.height !== null) {
    const free = Math.floor((room.height - labels - 2) / rows);
    pitchY = Math.floor(wishes.square ? Math.max(wishes.minCell, Math.min(pitchX, free)) : Math.max(wishes.minRow, Math.min(free, wishes.maxCell, Math.max(44, 1.3 * pitchX))));
    if (wishes.square) pitchX = Math.min(pitchX, pitchY);
  } else if (!wishes.square) {
    // A page that scrolls can be as high as it needs, but not many screens high.
    pitchY = Math.max(Math.min(pitchX, 40, wishes.maxCell), Math.min(24, wishes.maxCell));
    if (rows * pitchY > TALLEST) pitchY = Math.max(wishes.minRow, Math.floor(TALLEST / rows));
  }
  const small = Math.min(pitchX, pitchY);
  const gap = small >= 34 ? 4 : small >= 22 ? 3 : small >= 12 ? 2 : small >= 5 ? 1 : 0;
  const bottom = rows * pitchY;
  return { ...axes, left, bottom, pitchX, pitchY, gap, upright, width: left + columns * pitchX + 2, height: bottom + labels };
}

/** What lies under a point: a cell, or the label of a row or column. */
export type Spot = { kind: "cell"; cell: number } | { kind: "row"; row: number } | { kind: "column"; column: number };

export function spotAt(at: Layout, x: number, y: number, scrolled = 0): Spot | null {
  const column = Math.floor((x - at.left) / at.pitchX);
  const row = rowAt(at, Math.floor(y / at.pitchY));
  const inColumns = column >= 0 && column < at.columnLabels.length;
  const inRows = y >= 0 && y < at.bottom && row >= 0 && row < at.rowLabels.length;
  if (inRows && x < scrolled + at.left) return { kind: "row", row };
  if (inColumns && inRows) return { kind: "cell", cell: row * at.columnLabels.length + column };
  if (inColumns && y >= at.bottom) return { kind: "column", column };
  return null;
}

/** Rows count upwards from the bottom, as the residual stream flows, unless they are queries. */
export function rowAt(at: Layout, line: number): number {
  return at.topDown ? line : at.rowLabels.length - 1 - line;
}

export function cellBox(at: Layout, cell: number): { x: number; y: number; width: number; height: number } {
  const columns = at.columnLabels.length;
  const line = rowAt(at, Math.floor(cell / columns));
  const half = at.gap / 2;
  return {
    x: at.left + (cell % columns) * at.pitchX + half, y: line * at.pitchY + half,
    width: at.pitchX - at.gap, height: at.pitchY - at.gap,
  };
}

/** All cells of the rectangle with these two at its corners. */
export function cellsBetween(at: Layout, a: number, b: number): number[] {
  const columns = at.columnLabels.length;
  const [rowA, rowB] = [Math.floor(a / columns), Math.floor(b / columns)];
  const [colA, colB] = [a % columns, b % columns];
  const cells: number[] = [];
  for (let row = Math.min(rowA, rowB); row <= Math.max(rowA, rowB); row++) {
    for (let col = Math.min(colA, colB); col <= Math.max(colA, colB); col++) cells.push(row * columns + col);
  }
  return cells;
}

export function rowCells(at: Layout, row: number): number[] {
  return at.columnLabels.map((_, column) => row * at.columnLabels.length + column);
}

export function columnCells(at: Layout, column: number): number[] {
  return at.rowLabels.map((_, row) => row * at.columnLabels.length + column);
}

/** The cell an arrow key leads to. */
export function walk(at: Layout, cell: number, key: string): number | null {
  const columns = at.columnLabels.length;
  const [row, column] = [Math.floor(cell / columns), cell % columns];
  const up = at.topDown ? -1 : 1;
  const to = (r: number, c: number): number =>
    Math.min(at.rowLabels.length - 1, Math.max(0, r)) * columns + Math.min(columns - 1, Math.max(0, c));
  switch (key) {
    case "ArrowUp": return to(row + up, column);
    case "ArrowDown": return to(row - up, column);
    case "ArrowLeft": return to(row, column - 1);
    case "ArrowRight": return to(row, column + 1);
    case "Home": return to(row, 0);
    case "End": return to(row, columns - 1);
    default: return null;
  }
}

/** Scrolls a heatmap that is larger than its room so that a cell can be seen. */
export function reveal(box: HTMLElement | null, at: Layout, cell: number): void {
  const scroller = box?.querySelector<HTMLElement>(".scroller");
  if (!scroller) return;
  const { x, y, width, height } = cellBox(at, cell);
  if (x - at.left < scroller.scrollLeft) scroller.scrollLeft = x - at.left;
  if (x + width > scroller.scrollLeft + scroller.clientWidth) scroller.scrollLeft = x + width - scroller.clientWidth;
  if (y < scroller.scrollTop) scroller.scrollTop = y;
  if (y + height > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = y + height - scroller.clientHeight;
}

function clamp(pitch: number, { minCell, maxCell }: Wishes): number {
  return Math.max(minCell, Math.min(maxCell, pitch));
}
