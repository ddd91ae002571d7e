// The order of the vertices of each row: that with the fewest crossings of all that sorting by means of neighbours meets
// (Sugiyama, Tagawa and Toda 1981). The same steps as the library's pictures take.

/** A piece of an edge from one row to the next. */
export interface Piece {
  lower: number;
  upper: number;
  /** How far from the middle of the vertex above it ends. */
  shift: number;
  weight: number;
}

const SORTINGS = 12;

/** Sorts rows of vertices; `pieces[row]` are those that end in a row, `widths` are of vertices. */
export function ordered(start: readonly (readonly number[])[], pieces: readonly (readonly Piece[])[], widths: readonly number[]): number[][] {
  const copy = (): number[][] => start.map((row) => [...row]);
  const ranks = new Float64Array(widths.length);
  const rank = (row: readonly number[]): void => row.forEach((vertex, at) => (ranks[vertex] = at));
  const share = (piece: Piece): number => piece.shift / Math.max(1, widths[piece.upper] ?? 1);

  const crossings = (rows: readonly (readonly number[])[]): number => {
    rows.forEach(rank);
    let found = 0;
    for (const ending of pieces) {
      const ends = ending.map((piece) => [ranks[piece.lower] ?? 0, (ranks[piece.upper] ?? 0) + share(piece)] as const);
      ends.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
      found += inversions(ends.map(([, upper]) => upper));
    }
    return found;
  };

  const sort = (rows: number[][], row: number, by: number): void => {
    const own = rows[row] ?? [];
    rank(rows[by] ?? []);
    const sums = new Map<number, { sum: number; n: number }>();
    for (const piece of pieces[Math.max(row, by)] ?? []) {
      const [vertex, other, shift] = by < row ? [piece.upper, piece.lower, 0] : [piece.lower, piece.upper, share(piece)];
      const { sum, n } = sums.get(vertex) ?? { sum: 0, n: 0 };
      sums.set(vertex, { sum: sum + (ranks[other] ?? 0) + shift, n: n + 1 });
    }
    const stretch = (rows[by]?.length ?? 0) / Math.max(1, own.length);
    const keys = new Map(own.map((vertex, at) => {
      const of = sums.get(vertex);
      return [vertex, of ? of.sum / of.n : at * stretch];
    }));
    own.sort((a, b) => (keys.get(a) ?? 0) - (keys.get(b) ?? 0));
  };

  let best = copy();
  let fewest = crossings(best);
  for (const upwardsFirst of [true, false]) {
    const rows = copy();
    for (let turn = 0; turn < SORTINGS; turn += 1) {
      const upwards = (turn % 2 === 0) === upwardsFirst;
      for (let step = 1; step < rows.length; step += 1) {
        if (upwards) sort(rows, step, step - 1);
        else sort(rows, rows.length - 1 - step, rows.length - step);
      }
      const now = crossings(rows);
      if (now < fewest) [best, fewest] = [rows.map((row) => [...row]), now];
    }
  }
  return best;
}

/** How many pairs stand in falling order. */
export function inversions(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const half = values.length >> 1;
  const [left, right] = [values.slice(0, half), values.slice(half)];
  let found = inversions(left) + inversions(right);
  left.sort((a, b) => a - b);
  right.sort((a, b) => a - b);
  let behind = 0;
  for (const value of left) {
    while (behind < right.length && (right[behind] ?? 0) < value) behind += 1;
    found += behind;
  }
  return found;
}
