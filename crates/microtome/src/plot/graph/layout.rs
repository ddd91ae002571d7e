//! Where the nodes of a graph in rows stand, and which way its edges take between them.
//!
//! After Sugiyama, Tagawa and Toda 1981, the rows being given:
//! 1. An edge over several rows gets a waypoint in each row between, so that it passes beside the nodes there.
//! 2. Order: rows are sorted by the mean place of what each vertex is tied to below, then above, and so on; of all
//!    orders met, that with the fewest crossings stays.
//! 3. Places: row after row moves as near to the weighted means of its neighbours as the order and the distances allow, by
//!    least squares (pooling adjacent violators). Long edges weigh most, so that they run straight.

use std::cmp::Ordering;

/// A node as a box of this width in this row, rows counted from the bottom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) row: usize,
    pub(super) width: f64,
}

/// An edge from a node to one in a higher row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) width: f64,
    /// How far from the middle of the node above it ends.
    pub(super) shift: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    /// Middle of every node, the leftmost edge of anything at 0.
    pub(super) x: Vec<f64>,
    /// Of every edge, its middle in each row that it passes.
    pub(super) ways: Vec<Vec<f64>>,
    /// Width of everything.
    pub(super) width: f64,
}

const BETWEEN_NODES: f64 = 14.0;
const BESIDE_NODE: f64 = 7.0;
const BETWEEN_EDGES: f64 = 5.0;
/// Of edges that come from one node.
const IN_BUNDLE: f64 = 1.2;
const SORTINGS: usize = 12;
const MOVES: usize = 60;

/// Places nodes and edges.
pub(super) fn place(blocks: &[Block], links: &[Link]) -> Layout {
    let mut net = Net::new(blocks, links);
    net.order();
    let x = net.places();
    let half = |v: &usize| net.vertices[*v].width / 2.0;
    let left = net.rows.iter().flatten().map(|v| x[*v] - half(v)).fold(f64::INFINITY, f64::min);
    let right = net.rows.iter().flatten().map(|v| x[*v] + half(v)).fold(f64::NEG_INFINITY, f64::max);
    let left = if left.is_finite() { left } else { 0.0 };
    let at = |v: usize| x[v] - left;
    Layout {
        x: (0..blocks.len()).map(at).collect(),
        ways: net.ways.iter().map(|way| way.clone().map(at).collect()).collect(),
        width: (right - left).max(0.0),
    }
}

/// A node, or an edge where it passes a row.
#[derive(Debug, Clone, Copy)]
struct Vertex {
    width: f64,
    /// The node the edge comes from; `None` for a node.
    passing: Option<usize>,
}

/// A piece of an edge from one row to the next.
#[derive(Debug, Clone, Copy)]
struct Piece {
    lower: usize,
    upper: usize,
    shift: f64,
    weight: f64,
}

struct Net {
    vertices: Vec<Vertex>,
    /// Vertices of each row, left to right.
    rows: Vec<Vec<usize>>,
    /// Pieces that end in a row, by row.
    pieces: Vec<Vec<Piece>>,
    /// Waypoints of every link.
    ways: Vec<std::ops::Range<usize>>,
}

impl Net {
    fn new(blocks: &[Block], links: &[Link]) -> Net {
        let n_rows = blocks.iter().map(|block| block.row + 1).max().unwrap_or(0);
        let mut net = Net {
            vertices: blocks.iter().map(|block| Vertex { width: block.width, passing: None }).collect(),
            rows: vec![vec![]; n_rows],
            pieces: vec![vec![]; n_rows],
            ways: vec![],
        };
        for (node, block) in blocks.iter().enumerate() {
            net.rows[block.row].push(node);
        }
        for link in links {
            let first = net.vertices.len();
            let mut lower = link.from;
            for row in blocks[link.from].row + 1..blocks[link.to].row {
                let upper = net.vertices.len();
                net.vertices.push(Vertex { width: link.width, passing: Some(link.from) });
                net.rows[row].push(upper);
                let weight = if lower == link.from { 2.0 } else { 8.0 };
                net.pieces[row].push(Piece { lower, upper, shift: 0.0, weight });
                lower = upper;
            }
            let weight = if lower == link.from { 1.0 } else { 2.0 };
            let last = Piece { lower, upper: link.to, shift: link.shift, weight };
            net.pieces[blocks[link.to].row].push(last);
            net.ways.push(first..net.vertices.len());
        }
        net
    }

    /// Sorts the rows.
    fn order(&mut self) {
        let start = self.rows.clone();
        let (mut best, mut fewest) = (start.clone(), self.crossings());
        for upwards_first in [true, false] {
            self.rows.clone_from(&start);
            for turn in 0..SORTINGS {
                let upwards = (turn % 2 == 0) == upwards_first;
                let n_rows = self.rows.len();
                for step in 1..n_rows {
                    match upwards {
                        true => self.sort_row(step, step - 1),
                        false => self.sort_row(n_rows - 1 - step, n_rows - step),
                    }
                }
                let crossings = self.crossings();
                if crossings < fewest {
                    (best, fewest) = (self.rows.clone(), crossings);
                }
            }
        }
        self.rows = best;
    }

    /// Where every vertex of a row stands in it, from 0.
    fn ranks(&self, row: usize) -> Vec<(usize, f64)> {
        self.rows[row].iter().enumerate().map(|(rank, v)| (*v, rank as f64)).collect()
    }

    /// Sorts a row by the mean place of its ties to the next one; what has none keeps its place.
    fn sort_row(&mut self, row: usize, by: usize) {
        let mut rank = vec![0.0; self.vertices.len()];
        for (v, at) in self.ranks(by) {
            rank[v] = at;
        }
        let mut sums: Vec<(f64, f64)> = vec![(0.0, 0.0); self.vertices.len()];
        for piece in &self.pieces[row.max(by)] {
            let (own, other) = if by < row { (piece.upper, piece.lower) } else { (piece.lower, piece.upper) };
            let shift = if by < row { 0.0 } else { self.share(piece) };
            sums[own].0 += rank[other] + shift;
            sums[own].1 += 1.0;
        }
        let stretch = self.rows[by].len() as f64 / self.rows[row].len().max(1) as f64;
        let key = |(at, v): (usize, &usize)| {
            let (sum, n) = sums[*v];
            (if n > 0.0 { sum / n } else { at as f64 * stretch }, *v)
        };
        let mut keyed: Vec<(f64, usize)> = self.rows[row].iter().enumerate().map(key).collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.rows[row] = keyed.into_iter().map(|(_, v)| v).collect();
    }

    /// How far from the middle of the vertex above a piece ends, that being less than one place wide.
    fn share(&self, piece: &Piece) -> f64 {
        piece.shift / self.vertices[piece.upper].width.max(1.0)
    }

    /// How many pairs of pieces cross.
    fn crossings(&self) -> usize {
        (1..self.rows.len()).map(|row| self.crossings_below(row)).sum()
    }

    fn crossings_below(&self, row: usize) -> usize {
        let mut rank = vec![0.0; self.vertices.len()];
        for (v, at) in self.ranks(row - 1).into_iter().chain(self.ranks(row)) {
            rank[v] = at;
        }
        let end = |piece: &Piece| (rank[piece.lower], rank[piece.upper] + self.share(piece));
        let mut ends: Vec<(f64, f64)> = self.pieces[row].iter().map(end).collect();
        let by = |a: f64, b: f64| a.total_cmp(&b);
        ends.sort_by(|a, b| by(a.0, b.0).then(by(a.1, b.1)));
        inversions(&mut ends.into_iter().map(|(_, upper)| upper).collect::<Vec<_>>())
    }

    /// Where everything stands, the order being known.
    fn places(&self) -> Vec<f64> {
        let mut x = vec![0.0; self.vertices.len()];
        let offsets: Vec<Vec<f64>> = self.rows.iter().map(|row| self.offsets(row)).collect();
        for (row, offsets) in self.rows.iter().zip(&offsets) {
            let middle = offsets.last().copied().unwrap_or(0.0) / 2.0;
            for (v, offset) in row.iter().zip(offsets) {
                x[*v] = offset - middle;
            }
        }
        let n_rows = self.rows.len();
        for turn in 0..MOVES {
            for step in 0..n_rows {
                let row = if turn % 2 == 0 { step } else { n_rows - 1 - step };
                self.move_row(row, &offsets[row], &mut x);
            }
        }
        x
    }

    /// How far to the right of the first vertex of a row each must stand at least.
    fn offsets(&self, row: &[usize]) -> Vec<f64> {
        let mut at = 0.0;
        let mut offsets: Vec<f64> = Vec::with_capacity(row.len());
        for (i, v) in row.iter().enumerate() {
            if i > 0 {
                let (a, b) = (self.vertices[row[i - 1]], self.vertices[*v]);
                let gap = match (a.passing, b.passing) {
                    (None, None) => BETWEEN_NODES,
                    (Some(one), Some(other)) if one == other => IN_BUNDLE,
                    (Some(_), Some(_)) => BETWEEN_EDGES,
                    _ => BESIDE_NODE,
                };
                at += (a.width + b.width) / 2.0 + gap;
            }
            offsets.push(at);
        }
        offsets
    }

    fn move_row(&self, row: usize, offsets: &[f64], x: &mut [f64]) {
        let mut wish: Vec<(f64, f64)> = vec![(0.0, 0.0); self.vertices.len()];
        for piece in &self.pieces[row] {
            wish[piece.upper].0 += piece.weight * (x[piece.lower] - piece.shift);
            wish[piece.upper].1 += piece.weight;
        }
        for piece in self.pieces.get(row + 1).into_iter().flatten() {
            wish[piece.lower].0 += piece.weight * (x[piece.upper] + piece.shift);
            wish[piece.lower].1 += piece.weight;
        }
        let wished = |(v, offset): (&usize, &f64)| match wish[*v] {
            (_, 0.0) => (x[*v] - offset, 0.1),
            (sum, weight) => (sum / weight - offset, weight),
        };
        let wished: Vec<(f64, f64)> = self.rows[row].iter().zip(offsets).map(wished).collect();
        for ((v, offset), at) in self.rows[row].iter().zip(offsets).zip(rising(&wished)) {
            x[*v] = at + offset;
        }
    }
}

/// The nearest values that never fall, by weighted least squares: (value, weight) in, values out.
fn rising(wished: &[(f64, f64)]) -> Vec<f64> {
    // Pools of (mean, weight, how many).
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for &(value, weight) in wished {
        let mut pool = (value, weight, 1);
        while let Some(last) = pools.pop_if(|last| last.0 > pool.0) {
            let weight = last.1 + pool.1;
            pool = ((last.0 * last.1 + pool.0 * pool.1) / weight, weight, last.2 + pool.2);
        }
        pools.push(pool);
    }
    pools.into_iter().flat_map(|(mean, _, n)| std::iter::repeat_n(mean, n)).collect()
}

/// How many pairs stand in falling order; sorts them.
fn inversions(values: &mut [f64]) -> usize {
    if values.len() < 2 {
        return 0;
    }
    let (left, right) = values.split_at_mut(values.len() / 2);
    let mut found = inversions(left) + inversions(right);
    let mut behind = 0;
    for value in left.iter() {
        while behind < right.len() && right[behind].total_cmp(value) == Ordering::Less {
            behind += 1;
        }
        found += behind;
    }
    values.sort_by(f64::total_cmp);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(rows: &[usize]) -> Vec<Block> {
        rows.iter().map(|&row| Block { row, width: 40.0 }).collect()
    }

    fn link(from: usize, to: usize) -> Link {
        Link { from, to, width: 2.0, shift: 0.0 }
    }

    #[test]
    fn crossings_that_can_be_avoided_are() {
        // Two nodes above two nodes, tied crosswise in the order they are given in.
        let net = |links: &[Link]| {
            let mut net = Net::new(&blocks(&[0, 0, 1, 1]), links);
            let before = net.crossings();
            net.order();
            (before, net.crossings())
        };
        assert_eq!(net(&[link(0, 3), link(1, 2)]), (1, 0));
        assert_eq!(net(&[link(0, 2), link(0, 3), link(1, 2), link(1, 3)]), (1, 1));
    }

    #[test]
    fn falling_pairs_are_counted_and_equal_ones_are_none() {
        let slow = |values: &[f64]| {
            let from = |i: usize| values[i + 1..].iter().filter(|later| **later < values[i]).count();
            (0..values.len()).map(from).sum::<usize>()
        };
        let mut state = 3_u64;
        for n in 0..40 {
            let mut next = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                (state >> 60) as f64
            };
            let mut values: Vec<f64> = (0..n).map(|_| next()).collect();
            assert_eq!(slow(&values), inversions(&mut values.clone()));
            values.sort_by(f64::total_cmp);
            assert_eq!(inversions(&mut values), 0);
        }
    }

    #[test]
    fn rising_values_stay_and_falling_ones_meet_at_their_weighted_mean() {
        assert_eq!(rising(&[(1.0, 1.0), (2.0, 5.0)]), [1.0, 2.0]);
        assert_eq!(rising(&[(4.0, 1.0), (1.0, 2.0), (9.0, 1.0)]), [2.0, 2.0, 9.0]);
        assert_eq!(rising(&[]), [0.0; 0]);
    }

    #[test]
    fn nothing_overlaps_and_an_edge_passes_beside_nodes() {
        // A long edge straight past a column of nodes that are tied to each other.
        let nodes = blocks(&[0, 1, 2, 3, 4]);
        let links = [link(0, 1), link(1, 2), link(2, 3), link(3, 4), link(0, 4)];
        let layout = place(&nodes, &links);
        assert_eq!(layout.ways[4].len(), 3);
        for (row, x) in layout.ways[4].iter().enumerate() {
            assert!(
                (x - layout.x[row + 1]).abs() >= 20.0 + 1.0 + BESIDE_NODE - 1e-9,
                "row {row}: {layout:?}"
            );
        }
        assert!(layout.ways[..4].iter().all(Vec::is_empty));
        // The column itself stands straight but for what the long edge pulls at its ends.
        assert!((layout.x[1] - layout.x[3]).abs() < 1.0, "{layout:?}");
    }

    #[test]
    fn an_empty_graph_takes_no_place() {
        let layout = place(&[], &[]);
        assert_eq!((layout.x.len(), layout.ways.len(), layout.width), (0, 0, 0.0));
    }
}
