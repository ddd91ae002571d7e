//! Causal attention of whole sequences, read in place from the fused projection.
//!
//! ```text
//! qkv      [sequence * pos, 3 * heads * d_head]   queries, keys, values side by side
//! scores   = q . k / sqrt(d_head)                 [query, key], of one head of one sequence at a time
//! pattern  = softmax over keys up to the query
//! z        = pattern v                            [sequence * pos, heads * d_head]
//! backward:  dv = pattern^T dz,  dp = dz v^T,  ds = pattern (dp - sum over keys of pattern dp),
//!            dq = ds k / sqrt(d_head),  dk = ds^T q / sqrt(d_head)
//! ```
//!
//! Neither scores nor pattern outlive their head: the derivative computes them again.

use rayon::prelude::*;

use crate::dispatch::vectorised;
use crate::exp::exp;
use crate::matmul::{Matrix, MatrixMut, Threads, product};
use crate::reduce;

/// Sizes of the attention of whole sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Positions in every sequence.
    pub n_pos: usize,
    /// Heads.
    pub n_heads: usize,
    /// Width of one head's queries, keys and values.
    pub d_head: usize,
}

impl AttentionShape {
    /// Width of all heads side by side.
    fn width(&self) -> usize {
        self.n_heads * self.d_head
    }

    fn check(&self, qkv: &[f32]) {
        let sequence = self.n_pos * 3 * self.width();
        assert!(sequence > 0 && qkv.len().is_multiple_of(sequence), "whole sequences of {sequence} values");
    }

    /// Part 0, 1 or 2 (queries, keys, values) of one head, `[pos, d_head]`.
    fn part<'a>(&self, of_sequence: &'a [f32], part: usize, head: usize) -> Matrix<'a> {
        let first = part * self.width() + head * self.d_head;
        Matrix::new(&of_sequence[first..], (self.n_pos, self.d_head), (3 * self.width(), 1))
    }

    fn part_mut<'a>(&self, of_sequence: &'a mut [f32], part: usize, head: usize) -> MatrixMut<'a> {
        let first = part * self.width() + head * self.d_head;
        MatrixMut::new(&mut of_sequence[first..], self.n_pos, self.d_head, 3 * self.width())
    }

    /// One head's pattern, `[query, key]`, into `out`.
    fn pattern(&self, of_sequence: &[f32], head: usize, out: &mut [f32]) {
        let (q, k) = (self.part(of_sequence, 0, head), self.part(of_sequence, 1, head));
        let factor = 1.0 / (self.d_head as f32).sqrt();
        let scores = MatrixMut::dense(out, self.n_pos, self.n_pos);
        product(scores, factor, q, k.transposed(), Threads::One);
        causal_softmax(out, self.n_pos);
    }
}

/// `z`, `[sequence * pos, heads * d_head]`.
///
/// # Panics
/// Where `qkv` does not hold whole sequences.
pub fn causal_attention(qkv: &[f32], shape: AttentionShape) -> Vec<f32> {
    shape.check(qkv);
    let (n_pos, width) = (shape.n_pos, shape.width());
    let mut z = vec![0.0; qkv.len() / 3];
    z.par_chunks_mut(n_pos * width).zip(qkv.par_chunks(n_pos * 3 * width)).for_each(|(z, qkv)| {
        let mut pattern = vec![0.0; n_pos * n_pos];
        for head in 0..shape.n_heads {
            shape.pattern(qkv, head, &mut pattern);
            let z = MatrixMut::new(&mut z[head * shape.d_head..], n_pos, shape.d_head, width);
            product(z, 1.0, Matrix::dense(&pattern, n_pos, n_pos), shape.part(qkv, 2, head), Threads::One);
        }
    });
    z
}

/// The derivative in `qkv`, of its shape, where `dz` `[sequence * pos, heads * d_head]` comes in.
///
/// # Panics
/// Where the lengths do not fit.
pub fn causal_attention_backward(qkv: &[f32], shape: AttentionShape, dz: &[f32]) -> Vec<f32> {
    shape.check(qkv);
    assert_eq!(qkv.len(), 3 * dz.len(), "one derivative for each value of z");
    let (n_pos, width) = (shape.n_pos, shape.width());
    let mut out = vec![0.0; qkv.len()];
    let sequences = qkv.par_chunks(n_pos * 3 * width).zip(dz.par_chunks(n_pos * width));
    out.par_chunks_mut(n_pos * 3 * width).zip(sequences).for_each(|(out, (qkv, dz))| {
        let factor = 1.0 / (shape.d_head as f32).sqrt();
        let mut pattern = vec![0.0; n_pos * n_pos];
        let mut d_scores = vec![0.0; n_pos * n_pos];
        for head in 0..shape.n_heads {
            let dz = Matrix::new(&dz[head * shape.d_head..], (n_pos, shape.d_head), (width, 1));
            let [q, k, v] = [0, 1, 2].map(|part| shape.part(qkv, part, head));
            shape.pattern(qkv, head, &mut pattern);
            let p = Matrix::dense(&pattern, n_pos, n_pos);
            product(shape.part_mut(out, 2, head), 1.0, p.transposed(), dz, Threads::One);
            product(MatrixMut::dense(&mut d_scores, n_pos, n_pos), 1.0, dz, v.transposed(), Threads::One);
            softmax_backward(&mut d_scores, &pattern, n_pos);
            let ds = Matrix::dense(&d_scores, n_pos, n_pos);
            product(shape.part_mut(out, 0, head), factor, ds, k, Threads::One);
            product(shape.part_mut(out, 1, head), factor, ds.transposed(), q, Threads::One);
        }
    });
    out
}

vectorised! {
    /// Softmax of every row over the keys up to its own position; the others become 0.
    fn causal_softmax(scores: &mut [f32], n_pos: usize) {
        for (query, row) in scores.chunks_exact_mut(n_pos).enumerate() {
            let (seen, ahead) = row.split_at_mut(query + 1);
            let max = reduce::max(seen);
            for x in seen.iter_mut() {
                *x = exp(*x - max);
            }
            let by = 1.0 / reduce::sum(seen.len(), |i| seen[i]);
            for x in seen.iter_mut() {
                *x *= by;
            }
            ahead.fill(0.0);
        }
    }
}

vectorised! {
    /// From the derivative in the pattern to that in the scores, in place.
    fn softmax_backward(d: &mut [f32], pattern: &[f32], n_pos: usize) {
        for (d, p) in d.chunks_exact_mut(n_pos).zip(pattern.chunks_exact(n_pos)) {
            let mean = reduce::sum(n_pos, |i| d[i] * p[i]);
            for (d, p) in d.iter_mut().zip(p) {
                *d = p * (*d - mean);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in f64.
    fn exact(qkv: &[f64], shape: AttentionShape) -> Vec<f64> {
        let AttentionShape { n_pos, n_heads, d_head } = shape;
        let width = n_heads * d_head;
        let n_sequences = qkv.len() / (n_pos * 3 * width);
        let mut z = vec![0.0; qkv.len() / 3];
        for sequence in 0..n_sequences {
            for head in 0..n_heads {
                let at = |part: usize, pos: usize, i: usize| {
                    qkv[(sequence * n_pos + pos) * 3 * width + part * width + head * d_head + i]
                };
                for query in 0..n_pos {
                    let weights: Vec<f64> = (0..=query)
                        .map(|key| {
                            let score: f64 = (0..d_head).map(|i| at(0, query, i) * at(1, key, i)).sum();
                            (score / (d_head as f64).sqrt()).exp()
                        })
                        .collect();
                    let sum: f64 = weights.iter().sum();
                    for i in 0..d_head {
                        let mixed: f64 = (0..=query).map(|key| weights[key] * at(2, key, i)).sum();
                        z[(sequence * n_pos + query) * width + head * d_head + i] = mixed / sum;
                    }
                }
            }
        }
        z
    }

    #[test]
    fn values_and_derivatives_are_those_of_the_definition_in_f64() {
        for (n_sequences, n_pos, n_heads, d_head) in
            [(1, 1, 1, 1), (2, 5, 3, 4), (3, 17, 2, 7), (1, 33, 1, 16)]
        {
            let shape = AttentionShape { n_pos, n_heads, d_head };
            let n = n_sequences * n_pos * n_heads * d_head;
            let noise = |n: usize, salt: usize| -> Vec<f32> {
                (0..n).map(|i| ((i * 37 + salt * 101) % 251) as f32 / 60.0 - 2.0).collect()
            };
            let (qkv, dz) = (noise(3 * n, 1), noise(n, 2));
            let wide: Vec<f64> = qkv.iter().map(|x| f64::from(*x)).collect();
            for (z, exact) in causal_attention(&qkv, shape).iter().zip(exact(&wide, shape)) {
                assert!((f64::from(*z) - exact).abs() < 1e-5);
            }
            let gradient = causal_attention_backward(&qkv, shape, &dz);
            for at in (0..wide.len()).step_by(wide.len() / 97 + 1) {
                let moved = |by: f64| -> f64 {
                    let mut values = wide.clone();
                    values[at] += by;
                    exact(&values, shape).iter().zip(&dz).map(|(z, d)| z * f64::from(*d)).sum()
                };
                let slope = (moved(1e-4) - moved(-1e-4)) / 2e-4;
                assert!((f64::from(gradient[at]) - slope).abs() < 1e-4, "{} {slope}", gradient[at]);
            }
        }
    }
}
