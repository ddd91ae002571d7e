//! Causal attention, read in place from wherever queries, keys and values stand.
//!
//! ```text
//! q         [lane * query, heads * d_head]        k, v  [lane * own key, heads * d_head]
//! past      keys and values that all lanes share, [past key, heads * d_head], before their own
//! scores    = q . k / sqrt(d_head)                [lane, head, query, key]
//! pattern   = softmax over the keys a query sees
//! z         = pattern v                           [lane * query, heads * d_head]
//! backward:  dv = pattern^T dz,  dp = dz v^T,  ds = pattern (dp - sum over keys of pattern dp),
//!            dq = ds k / sqrt(d_head),  dk = ds^T q / sqrt(d_head)
//! ```
//!
//! In one piece neither scores nor pattern outlive their head; the derivative computes them again. Step by step
//! the same functions give the same bits.

use std::ops::Range;

use rayon::prelude::*;

use crate::dispatch::vectorised;
use crate::exp::exp;
use crate::matmul::{Matrix, dot_products, placed_product};
use crate::reduce;
use crate::tile::Target;
use crate::turn::turn;

/// Who attends to whom.
#[derive(Debug, Clone, Copy)]
pub struct AttentionShape<'a> {
    /// Sequences with queries, keys and values of their own.
    pub n_lanes: usize,
    /// Heads.
    pub n_heads: usize,
    /// Keys that every lane sees before its own.
    pub n_past: usize,
    /// How many keys each query of a lane sees, the past among them.
    pub sees: &'a [usize],
}

/// Keys, or values: those of all lanes, and those they share.
#[derive(Debug, Clone, Copy)]
pub struct Keyed<'a> {
    /// `[past, heads * d_head]`
    pub past: Option<Matrix<'a>>,
    /// `[lane * own, heads * d_head]`
    pub own: Matrix<'a>,
}

impl AttentionShape<'_> {
    fn n_queries(&self) -> usize {
        self.sees.len()
    }

    fn n_own(&self, keyed: Keyed) -> usize {
        keyed.own.shape().0 / self.n_lanes.max(1)
    }

    fn n_keys(&self, keyed: Keyed) -> usize {
        self.n_past + self.n_own(keyed)
    }

    /// Panics unless the matrices have these rows and one width; returns `d_head`.
    fn check(&self, queries: Matrix, keyed: Keyed) -> usize {
        let (rows, width) = queries.shape();
        assert_eq!(rows, self.n_lanes * self.n_queries(), "rows of queries");
        self.check_keyed(keyed, width)
    }

    fn check_keyed(&self, keyed: Keyed, width: usize) -> usize {
        assert!(self.n_heads > 0 && width.is_multiple_of(self.n_heads), "{} heads in {width}", self.n_heads);
        assert_eq!(keyed.own.shape(), (self.n_lanes * self.n_own(keyed), width), "own keys");
        let past = keyed.past.map_or((0, width), Matrix::shape);
        assert_eq!(past, (self.n_past, width), "shared keys");
        let n_keys = self.n_keys(keyed);
        assert!(
            self.sees.iter().all(|&n| n > self.n_past && n <= n_keys),
            "what a query sees of {n_keys} keys"
        );
        width / self.n_heads
    }

    /// Lanes times heads times blocks of queries, each a task of its own.
    fn tasks(&self) -> impl IndexedParallelIterator<Item = (usize, usize, Range<usize>)> + use<> {
        let (n_queries, n_heads) = (self.n_queries(), self.n_heads);
        let blocks = n_queries.div_ceil(QUERIES);
        (0..self.n_lanes * n_heads * blocks).into_par_iter().with_max_len(TASKS_IN_A_ROW).map(move |task| {
            let (lane, head, block) = (task / blocks / n_heads, task / blocks % n_heads, task % blocks);
            (lane, head, block * QUERIES..((block + 1) * QUERIES).min(n_queries))
        })
    }

    /// Scores of one head's queries with the first `n_keys` keys, at `out`.
    ///
    /// # Safety
    /// As [`dot_products`].
    unsafe fn scores(&self, out: Target, q: Matrix, keys: Keyed, lane: usize, head: usize, n_keys: usize) {
        let d_head = q.shape().1;
        let factor = 1.0 / (d_head as f32).sqrt();
        let columns = head * d_head..(head + 1) * d_head;
        let first = lane * self.n_own(keys);
        // SAFETY: the past keys' scores stand before those of the own ones, all inside `out`.
        unsafe {
            if let Some(past) = keys.past {
                dot_products(out, factor, q, past.part(0..self.n_past, columns.clone()));
            }
            let out = out.after(self.n_past);
            dot_products(out, factor, q, keys.own.part(first..first + n_keys - self.n_past, columns));
        }
    }

    /// One head's mix of the first values, by a pattern `[query, key]`, at `out`.
    ///
    /// # Safety
    /// As [`placed_product`].
    unsafe fn mix(&self, out: Target, pattern: Matrix, values: Keyed, lane: usize, head: usize) {
        let (n_queries, n_keys) = pattern.shape();
        let d_head = values.own.shape().1 / self.n_heads;
        let columns = head * d_head..(head + 1) * d_head;
        let first = lane * self.n_own(values);
        let n_past = self.n_past;
        // SAFETY: the caller answers for `out`.
        unsafe {
            if let Some(past) = values.past {
                let seen = pattern.part(0..n_queries, 0..n_past);
                placed_product(out, false, seen, past.part(0..n_past, columns.clone()));
            }
            let seen = pattern.part(0..n_queries, n_past..n_keys);
            let own = values.own.part(first..first + n_keys - n_past, columns);
            placed_product(out, values.past.is_some(), seen, own);
        }
    }
}

/// Tasks a thread does at most before another may take over the rest. Each such row of tasks has buffers of its own.
const TASKS_IN_A_ROW: usize = 4;

/// Queries one task takes, so that their scores stay in the nearer caches.
const QUERIES: usize = 32;

/// Queries `first..` of a head.
fn of_head<'a>(
    q: Matrix<'a>,
    shape: AttentionShape,
    lane: usize,
    head: usize,
    queries: Range<usize>,
) -> Matrix<'a> {
    let d_head = q.shape().1 / shape.n_heads;
    let first = lane * shape.n_queries();
    q.part(first + queries.start..first + queries.end, head * d_head..(head + 1) * d_head)
}

/// `z`, `[lane * query, heads * d_head]`.
///
/// # Panics
/// Where the shapes do not fit.
pub fn causal_attention(q: Matrix, keys: Keyed, values: Keyed, shape: AttentionShape) -> Vec<f32> {
    let d_head = shape.check(q, keys);
    shape.check(q, values);
    let width = q.shape().1;
    let mut z: Vec<f32> = Vec::with_capacity(q.shape().0 * width);
    let target = Target { to: z.as_mut_ptr(), row_stride: width };
    let with_buffer = |buffer: &mut Vec<f32>, (lane, head, queries): (usize, usize, Range<usize>)| {
        let sees = &shape.sees[queries.clone()];
        let n_keys = sees.iter().copied().max().unwrap_or(0);
        buffer.clear();
        buffer.resize(sees.len() * n_keys, 0.0);
        let q = of_head(q, shape, lane, head, queries.clone());
        let scores = Target { to: buffer.as_mut_ptr(), row_stride: n_keys };
        // SAFETY: the buffer has a row for each query. The rows and columns of `z` written here are this lane's,
        // these queries' and this head's only.
        unsafe {
            shape.scores(scores, q, keys, lane, head, n_keys);
            softmax_of_seen(buffer, n_keys, sees);
            let first = (lane * shape.n_queries() + queries.start) * width + head * d_head;
            shape.mix(target.after(first), Matrix::dense(buffer, sees.len(), n_keys), values, lane, head);
        }
    };
    shape.tasks().for_each_init(Vec::new, with_buffer);
    // SAFETY: every query of every head of every lane has been written.
    unsafe { z.set_len(q.shape().0 * width) };
    z
}

/// Scores, `[lane, head, query, key]`, `-inf` at the keys a query does not see.
///
/// # Panics
/// Where the shapes do not fit.
pub fn attention_scores(q: Matrix, keys: Keyed, shape: AttentionShape) -> Vec<f32> {
    shape.check(q, keys);
    let (n_queries, n_keys) = (shape.n_queries(), shape.n_keys(keys));
    let mut out = vec![f32::NEG_INFINITY; shape.n_lanes * shape.n_heads * n_queries * n_keys];
    if out.is_empty() {
        return out;
    }
    out.par_chunks_mut(n_queries * n_keys).enumerate().for_each(|(i, out)| {
        let (lane, head) = (i / shape.n_heads, i % shape.n_heads);
        let scores = Target { to: out.as_mut_ptr(), row_stride: n_keys };
        // SAFETY: `out` has a row of all keys for each query.
        unsafe {
            shape.scores(scores, of_head(q, shape, lane, head, 0..n_queries), keys, lane, head, n_keys)
        };
        for (row, &seen) in out.chunks_exact_mut(n_keys).zip(shape.sees) {
            row[seen..].fill(f32::NEG_INFINITY);
        }
    });
    out
}

/// The pattern of scores `[.., query, key]`: softmax over the keys each query sees, 0 at the others.
///
/// # Panics
/// Where the length does not fit.
pub fn attention_pattern(scores: &[f32], n_keys: usize, sees: &[usize]) -> Vec<f32> {
    let of_head = sees.len() * n_keys;
    assert!(of_head > 0 && scores.len().is_multiple_of(of_head), "scores of whole heads");
    assert!(sees.iter().all(|&n| n > 0 && n <= n_keys), "what a query sees of {n_keys} keys");
    let mut pattern = scores.to_vec();
    pattern.par_chunks_mut(of_head).for_each(|pattern| softmax_of_seen(pattern, n_keys, sees));
    pattern
}

/// `z`, `[lane * query, heads * d_head]`, of a pattern `[lane, head, query, key]`.
///
/// # Panics
/// Where the shapes do not fit.
pub fn attention_mix(pattern: &[f32], values: Keyed, shape: AttentionShape) -> Vec<f32> {
    let width = values.own.shape().1;
    let d_head = shape.check_keyed(values, width);
    let (n_queries, n_keys) = (shape.n_queries(), shape.n_keys(values));
    let rows = shape.n_lanes * n_queries;
    assert_eq!(pattern.len(), rows * shape.n_heads * n_keys, "a pattern for every head");
    let mut z: Vec<f32> = Vec::with_capacity(rows * width);
    let target = Target { to: z.as_mut_ptr(), row_stride: width };
    shape.tasks().for_each(|(lane, head, queries)| {
        let first = ((lane * shape.n_heads + head) * n_queries + queries.start) * n_keys;
        let pattern = Matrix::dense(&pattern[first..], queries.len(), n_keys);
        let first = (lane * n_queries + queries.start) * width + head * d_head;
        // SAFETY: the rows and columns of `z` written here are this lane's, these queries' and this head's only.
        unsafe {
            shape.mix(target.after(first), pattern, values, lane, head);
        }
    });
    // SAFETY: every query of every head of every lane has been written.
    unsafe { z.set_len(rows * width) };
    z
}

/// The derivatives of [`causal_attention`] in queries, keys and values side by side, `[sequence * pos, 3 * heads *
/// d_head]`, where `dz` `[sequence * pos, heads * d_head]` comes in and every lane is a whole sequence without a
/// past.
///
/// # Panics
/// Where the shapes do not fit.
pub fn causal_attention_backward(
    [q, k, v]: [Matrix; 3],
    n_pos: usize,
    n_heads: usize,
    dz: Matrix,
) -> Vec<f32> {
    let (rows, width) = q.shape();
    assert!(n_pos > 0 && rows.is_multiple_of(n_pos), "whole sequences of {n_pos} positions");
    assert!([k, v, dz].iter().all(|m| m.shape() == (rows, width)), "matrices of one shape");
    let sees: Vec<usize> = (1..=n_pos).collect();
    let shape = AttentionShape { n_lanes: rows / n_pos, n_heads, n_past: 0, sees: &sees };
    let keys = Keyed { past: None, own: k };
    let d_head = shape.check(q, keys);
    let mut out: Vec<f32> = Vec::with_capacity(3 * rows * width);
    let target = Target { to: out.as_mut_ptr(), row_stride: 3 * width };
    let of_one = |buffers: &mut BackwardBuffers, task: usize| {
        let (lane, head) = (task / n_heads, task % n_heads);
        let all = [q, k, v, dz].map(|m| of_head(m, shape, lane, head, 0..n_pos));
        let part = |i: usize| target.after(lane * n_pos * 3 * width + i * width + head * d_head);
        // SAFETY: the rows and columns of `out` written here are this sequence's and this head's only, in each of
        // the three parts.
        unsafe { head_backward(buffers, all, &sees, [0, 1, 2].map(part)) };
    };
    (0..shape.n_lanes * n_heads)
        .into_par_iter()
        .with_max_len(TASKS_IN_A_ROW)
        .for_each_init(BackwardBuffers::default, of_one);
    // SAFETY: all three parts of every head of every sequence have been written.
    unsafe { out.set_len(3 * rows * width) };
    out
}

/// What a thread needs for the derivative of one head.
#[derive(Default)]
struct BackwardBuffers {
    /// Keys divided by `sqrt(d_head)`, and values, turned: `[d_head, pos]`, rows filled up with zeros.
    turned: [Vec<f32>; 2],
    /// Of a block of queries, `[query, key]`, rows filled up as well.
    pattern: Vec<f32>,
    d_scores: Vec<f32>,
}

/// The derivatives in one head's queries, keys and values, all `[pos, d_head]`, at `out`. A block of queries at a time,
/// and of the keys those that one of them sees.
///
/// # Safety
/// As [`placed_product`], for each of the three.
unsafe fn head_backward(
    buffers: &mut BackwardBuffers,
    [q, k, v, dz]: [Matrix; 4],
    sees: &[usize],
    [dq, dk, dv]: [Target; 3],
) {
    let BackwardBuffers { turned, pattern, d_scores } = buffers;
    let (n_pos, d_head) = q.shape();
    let whole = n_pos.next_multiple_of(16);
    let factor = 1.0 / (d_head as f32).sqrt();
    for (turned, (rows, by)) in turned.iter_mut().zip([(k, factor), (v, 1.0)]) {
        turned.clear();
        turned.resize(d_head * whole, 0.0);
        let to = Target { to: turned.as_mut_ptr(), row_stride: whole };
        // SAFETY: the rows were checked when the view was made, and there is room for as many columns.
        unsafe { turn(rows.whole_rows(), 0..n_pos, 0..d_head, to) };
        if by != 1.0 {
            turned.iter_mut().for_each(|x| *x *= by);
        }
    }
    let [keys, values] = turned.each_ref().map(|turned| Matrix::dense(turned, d_head, whole));
    for first in (0..n_pos).step_by(QUERIES) {
        let queries = first..(first + QUERIES).min(n_pos);
        let (n, n_keys) = (queries.len(), queries.end);
        let width = n_keys.next_multiple_of(16);
        let [q_here, dz_here] = [q, dz].map(|m| m.part(queries.clone(), 0..d_head));
        for buffer in [&mut *pattern, &mut *d_scores] {
            buffer.resize(n * width, 0.0);
        }
        let target = |buffer: &mut Vec<f32>| Target { to: buffer.as_mut_ptr(), row_stride: width };
        // SAFETY: the buffers have a row of `width` values for each query of the block; the caller answers for the
        // three derivatives, of which the rows of these queries, and of the keys they see, are written.
        unsafe {
            placed_product(target(pattern), false, q_here, keys.part(0..d_head, 0..width));
            softmax_of_seen(pattern, width, &sees[queries.clone()]);
            placed_product(target(d_scores), false, dz_here, values.part(0..d_head, 0..width));
            softmax_backward(d_scores, pattern, width, factor);
            let [p, ds] = [&*pattern, &*d_scores].map(|buffer| Matrix::dense(buffer, n, width));
            let row = |out: Target, row: usize| out.after(row * out.row_stride);
            placed_product(row(dq, first), false, ds.part(0..n, 0..n_keys), k.part(0..n_keys, 0..d_head));
            // Keys that the blocks before have seen, and those that are new.
            for (out, weights, rows) in [(dv, p, dz_here), (dk, ds, q_here)] {
                placed_product(out, true, weights.part(0..n, 0..first).transposed(), rows);
                placed_product(
                    row(out, first),
                    false,
                    weights.part(0..n, queries.clone()).transposed(),
                    rows,
                );
            }
        }
    }
}

vectorised! {
    /// Softmax of every row over the keys it sees; the others become 0.
    fn softmax_of_seen(scores: &mut [f32], n_keys: usize, sees: &[usize]) {
        for (row, &seen) in scores.chunks_exact_mut(n_keys).zip(sees) {
            let (seen, ahead) = row.split_at_mut(seen);
            let max = reduce::max(seen);
            for x in seen.iter_mut() {
                *x = exp(*x - max);
            }
            let sum = reduce::sum(seen.len(), |i| seen[i]);
            for x in seen.iter_mut() {
                *x /= sum;
            }
            ahead.fill(0.0);
        }
    }
}

vectorised! {
    /// From the derivative in the pattern to that in what `factor` multiplies, in place.
    fn softmax_backward(d: &mut [f32], pattern: &[f32], n_keys: usize, factor: f32) {
        for (d, p) in d.chunks_exact_mut(n_keys).zip(pattern.chunks_exact(n_keys)) {
            let mean = reduce::sum(n_keys, |i| d[i] * p[i]);
            for (d, p) in d.iter_mut().zip(p) {
                *d = factor * p * (*d - mean);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{for_each_instruction_set, noise};

    /// The definition, in f64, of one lane's `q` `[query, width]` over keys and values `[key, width]`.
    fn exact(q: &[f64], k: &[f64], v: &[f64], n_heads: usize, sees: &[usize]) -> Vec<f64> {
        let width = q.len() / sees.len();
        let d_head = width / n_heads;
        let mut z = vec![0.0; q.len()];
        for head in 0..n_heads {
            let at = |x: &[f64], row: usize, i: usize| x[row * width + head * d_head + i];
            for (query, &seen) in sees.iter().enumerate() {
                let score = |key| (0..d_head).map(|i| at(q, query, i) * at(k, key, i)).sum::<f64>();
                let weights: Vec<f64> =
                    (0..seen).map(|key| (score(key) / (d_head as f64).sqrt()).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for i in 0..d_head {
                    let mixed: f64 = (0..seen).map(|key| weights[key] * at(v, key, i)).sum();
                    z[query * width + head * d_head + i] = mixed / sum;
                }
            }
        }
        z
    }

    fn wide(x: &[f32]) -> Vec<f64> {
        x.iter().map(|x| f64::from(*x)).collect()
    }

    #[test]
    fn values_are_the_definition_with_and_without_a_shared_past_and_the_same_step_by_step() {
        for_each_instruction_set(|set| {
            for (n_lanes, n_past, n_own, n_heads, d_head) in
                [(1, 0, 1, 1, 1), (2, 0, 5, 3, 4), (3, 7, 10, 2, 16), (2, 3, 40, 1, 70), (1, 50, 1, 2, 64)]
            {
                let width = n_heads * d_head;
                // All positions of the lanes, and the last two of them.
                for n_queries in [n_own, n_own.min(2)] {
                    let sees: Vec<usize> = (n_past + n_own - n_queries + 1..=n_past + n_own).collect();
                    let shape = AttentionShape { n_lanes, n_heads, n_past, sees: &sees };
                    let side = noise(n_lanes * n_own * 2 * width, 1);
                    let rows = n_lanes * n_own;
                    let of = |part: usize| Matrix::new(&side[part * width..], (rows, width), (2 * width, 1));
                    let (past_k, past_v) = (noise(n_past * width, 2), noise(n_past * width, 3));
                    let past = |x| (n_past > 0).then_some(Matrix::dense(x, n_past, width));
                    let keys = Keyed { past: past(&past_k), own: of(0) };
                    let values = Keyed { past: past(&past_v), own: of(1) };
                    let q = noise(n_lanes * n_queries * width, 4);
                    let q_view = Matrix::dense(&q, n_lanes * n_queries, width);
                    let z = causal_attention(q_view, keys, values, shape);
                    for (lane, (z, q)) in
                        z.chunks(n_queries * width).zip(q.chunks(n_queries * width)).enumerate()
                    {
                        let all = |past: &[f32], own: Matrix| -> Vec<f64> {
                            let row = |row: usize| (0..width).map(move |i| f64::from(own.at(row, i)));
                            wide(past)
                                .into_iter()
                                .chain((lane * n_own..(lane + 1) * n_own).flat_map(row))
                                .collect()
                        };
                        let exact =
                            exact(&wide(q), &all(&past_k, of(0)), &all(&past_v, of(1)), n_heads, &sees);
                        for (z, exact) in z.iter().zip(exact) {
                            assert!((f64::from(*z) - exact).abs() < 2e-6, "{set} {z} {exact}");
                        }
                    }
                    let scores = attention_scores(q_view, keys, shape);
                    let pattern = attention_pattern(&scores, n_past + n_own, &sees);
                    assert_eq!(attention_mix(&pattern, values, shape), z, "{set}");
                }
            }
        });
    }

    #[test]
    fn derivatives_are_those_of_the_definition_in_f64() {
        for_each_instruction_set(|set| {
            for (n_sequences, n_pos, n_heads, d_head) in
                [(1, 1, 1, 1), (2, 5, 3, 4), (3, 17, 2, 7), (1, 33, 1, 16), (2, 77, 1, 5)]
            {
                let width = n_heads * d_head;
                let rows = n_sequences * n_pos;
                let (qkv, dz) = (noise(3 * rows * width, 1), noise(rows * width, 2));
                let part = |i: usize| Matrix::new(&qkv[i * width..], (rows, width), (3 * width, 1));
                let views = [part(0), part(1), part(2)];
                let dz_view = Matrix::dense(&dz, rows, width);
                let gradient = causal_attention_backward(views, n_pos, n_heads, dz_view);
                let sees: Vec<usize> = (1..=n_pos).collect();
                let f = |qkv: &[f64]| -> f64 {
                    let of_sequence = |(qkv, dz): (&[f64], &[f32])| -> f64 {
                        let side = |i: usize| -> Vec<f64> {
                            qkv.chunks(3 * width)
                                .flat_map(|row| &row[i * width..(i + 1) * width])
                                .copied()
                                .collect()
                        };
                        let z = exact(&side(0), &side(1), &side(2), n_heads, &sees);
                        z.iter().zip(dz).map(|(z, d)| z * f64::from(*d)).sum()
                    };
                    qkv.chunks(3 * width * n_pos).zip(dz.chunks(width * n_pos)).map(of_sequence).sum()
                };
                for at in (0..qkv.len()).step_by(qkv.len() / 97 + 1) {
                    let moved = |by: f64| {
                        let mut values = wide(&qkv);
                        values[at] += by;
                        f(&values)
                    };
                    let slope = (moved(1e-4) - moved(-1e-4)) / 2e-4;
                    assert!((f64::from(gradient[at]) - slope).abs() < 1e-5, "{set} {} {slope}", gradient[at]);
                }
            }
        });
    }

    #[test]
    fn keys_ahead_get_nothing_and_what_is_hidden_by_hand_neither() {
        let scores = [0.5, f32::NEG_INFINITY, 7.0, 1.0, 2.0, f32::NEG_INFINITY];
        let pattern = attention_pattern(&scores, 3, &[2, 3]);
        assert_eq!(pattern[..3], [1.0, 0.0, 0.0]);
        assert_eq!(pattern[5], 0.0);
        assert!((pattern[3] + pattern[4] - 1.0).abs() < 1e-6);
    }
}
