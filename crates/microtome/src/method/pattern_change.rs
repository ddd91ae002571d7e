//! What a changed query or key does to an attention pattern, times a derivative in the pattern: the QK fix of AtP*.
//!
//! Through a saturated softmax the derivative in a query or key is nearly 0, however far the pattern moves once it is
//! replaced. So the softmax is computed again, and only what follows the pattern is taken as linear:
//!
//! ```text
//! sum over keys of (softmax(changed scores) - softmax(scores)) . d metric / d pattern
//!   = mean of the derivative under the new pattern - its mean under the old one
//! ```
//!
//! A query changes its own row. A key changes its column, and the softmax spreads that over every row at or below it. Keys at a
//! single position leave all other scores of a row as they are, whose sums are kept from both ends; so all positions together
//! cost about what one does.
//!
//! Kramar, Lieberum, Shah and Nanda 2024 (AtP*, section 3.1.1).

use std::ops::Range;

use microtome_model::{Tensor, as_f64};
use rayon::prelude::*;

use crate::error::Result;

/// Which side of the scores is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Queries,
    Keys,
}

/// One side of one layer's attention scores, and what it becomes.
#[derive(Debug, Clone)]
pub(crate) struct PatternChange {
    side: Side,
    /// Queries and keys as they are, and how the replaced side differs; `[pos, head, d_head]`.
    queries: Tensor,
    keys: Tensor,
    difference: Tensor,
}

/// What replacing is estimated to change.
#[derive(Debug)]
pub(crate) struct PatternScores {
    rows: Rows,
    side: Side,
    /// By head and position: that query or key replaced by itself.
    one_by_one: Vec<f64>,
}

/// Scores with one side as it is and replaced, and the derivative in the pattern; `[head, query, key]`. What lies in a query's
/// future is never looked at.
#[derive(Debug)]
struct Rows {
    n_heads: usize,
    len: usize,
    before: Vec<f64>,
    after: Vec<f64>,
    slopes: Vec<f64>,
}

impl PatternChange {
    /// From a run's queries and keys, and how those of one side differ in the other run; `[pos, head, d_head]`.
    pub fn new(side: Side, queries: &Tensor, keys: &Tensor, difference: Tensor) -> PatternChange {
        PatternChange { side, queries: queries.clone(), keys: keys.clone(), difference }
    }

    /// With the derivative in the pattern, `[head, query, key]`.
    pub fn scores(&self, slopes: &Tensor) -> Result<PatternScores> {
        let (len, n_heads, d_head) = self.difference.dims3()?;
        // [head, pos, d_head]
        let by_head = |x: &Tensor| -> Result<Tensor> { Ok(as_f64(x)?.transpose(0, 1)?.contiguous()?) };
        let (queries, keys) = (by_head(&self.queries)?, by_head(&self.keys)?);
        let difference = by_head(&self.difference)?;
        let products = |queries: &Tensor, keys: &Tensor| -> Result<Vec<f64>> {
            let scores = (queries.matmul(&keys.transpose(1, 2)?.contiguous()?)? / (d_head as f64).sqrt())?;
            Ok(scores.flatten_all()?.to_vec1()?)
        };
        let before = products(&queries, &keys)?;
        let after = match self.side {
            Side::Queries => products(&(queries + difference)?, &keys)?,
            Side::Keys => products(&queries, &(keys + difference)?)?,
        };
        let slopes = as_f64(slopes)?.flatten_all()?.to_vec1()?;
        Ok(PatternScores::new(self.side, Rows { n_heads, len, before, after, slopes }))
    }
}

impl Rows {
    /// Score before, score after, and slope, of each key that a query of a head sees.
    fn row(&self, head: usize, query: usize) -> impl Iterator<Item = (f64, f64, f64)> + '_ {
        let first = (head * self.len + query) * self.len;
        let seen = first..first + query + 1;
        let scores = self.before[seen.clone()].iter().zip(&self.after[seen.clone()]);
        scores.zip(&self.slopes[seen]).map(|((&before, &after), &slope)| (before, after, slope))
    }

    fn queries(&self, head: usize) -> Vec<f64> {
        let by_query = |query| {
            let mean = |of: fn((f64, f64, f64)) -> (f64, f64)| Mass::of(self.row(head, query).map(of)).mean();
            mean(|(_, after, slope)| (after, slope)) - mean(|(before, _, slope)| (before, slope))
        };
        (0..self.len).map(by_query).collect()
    }

    fn keys(&self, head: usize) -> Vec<f64> {
        let mut sums = vec![0.0; self.len];
        for query in 0..self.len {
            let row: Vec<(f64, f64, f64)> = self.row(head, query).collect();
            // `above[k]`: all keys from k on.
            let mut above = vec![Mass::NONE; row.len() + 1];
            for (key, &(before, _, slope)) in row.iter().enumerate().rev() {
                above[key] = above[key + 1].and(before, slope);
            }
            let old = above[0].mean();
            let mut below = Mass::NONE;
            for (key, &(before, after, slope)) in row.iter().enumerate() {
                sums[key] += below.with(above[key + 1]).and(after, slope).mean() - old;
                below = below.and(before, slope);
            }
        }
        sums
    }
}

impl PatternScores {
    fn new(side: Side, rows: Rows) -> PatternScores {
        let one_by_one = (0..rows.n_heads)
            .into_par_iter()
            .flat_map_iter(|head| match side {
                Side::Queries => rows.queries(head),
                Side::Keys => rows.keys(head),
            })
            .collect();
        PatternScores { rows, side, one_by_one }
    }

    /// What it changes to replace these positions of these heads at once.
    pub fn of(&self, heads: Range<usize>, positions: &[usize]) -> f64 {
        match (self.side, positions) {
            // Rows are apart from each other.
            (Side::Queries, _) | (Side::Keys, [_]) => {
                let of_head =
                    |head| positions.iter().map(move |pos| self.one_by_one[head * self.rows.len + pos]);
                heads.flat_map(of_head).sum()
            }
            (Side::Keys, _) => heads.map(|head| self.keys_together(head, positions)).sum(),
        }
    }

    fn keys_together(&self, head: usize, positions: &[usize]) -> f64 {
        let mut replaced = vec![false; self.rows.len];
        positions.iter().for_each(|&pos| replaced[pos] = true);
        let of_query = |query| {
            let new = self.rows.row(head, query).zip(&replaced);
            let new = new.map(|((before, after, slope), &new)| (if new { after } else { before }, slope));
            let old = self.rows.row(head, query).map(|(before, _, slope)| (before, slope));
            Mass::of(new).mean() - Mass::of(old).mean()
        };
        (0..self.rows.len).map(of_query).sum()
    }
}

/// Sums over some keys of `exp(score)`, plain and times a value, both divided by the exponential of the largest score.
#[derive(Debug, Clone, Copy)]
struct Mass {
    largest: f64,
    sum: f64,
    weighted: f64,
}

impl Mass {
    const NONE: Mass = Mass { largest: f64::NEG_INFINITY, sum: 0.0, weighted: 0.0 };

    fn of(keys: impl Iterator<Item = (f64, f64)>) -> Mass {
        keys.fold(Mass::NONE, |mass, (score, value)| mass.and(score, value))
    }

    /// These keys and one more.
    fn and(self, score: f64, value: f64) -> Mass {
        self.with(Mass { largest: score, sum: 1.0, weighted: value })
    }

    /// These keys and others.
    fn with(self, other: Mass) -> Mass {
        let (high, low) = if self.largest >= other.largest { (self, other) } else { (other, self) };
        if low.sum == 0.0 {
            return high;
        }
        let scale = (low.largest - high.largest).exp();
        Mass {
            largest: high.largest,
            sum: high.sum + scale * low.sum,
            weighted: high.weighted + scale * low.weighted,
        }
    }

    /// The mean of the values under the softmax of the scores.
    fn mean(self) -> f64 {
        self.weighted / self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 5;
    const HEADS: usize = 2;

    /// Numbers between -1 and 1 that repeat with no short period.
    fn numbers(count: usize, seed: f64) -> Vec<f64> {
        (0..count).map(|i| (seed + 1.7 * i as f64).sin()).collect()
    }

    fn softmax_mean(scores: &[f64], values: &[f64]) -> f64 {
        let weights: Vec<f64> = scores.iter().map(|score| score.exp()).collect();
        let weighted: f64 = weights.iter().zip(values).map(|(weight, value)| weight * value).sum();
        weighted / weights.iter().sum::<f64>()
    }

    /// Head 0 with these keys or queries replaced, by the definition.
    fn by_definition(side: Side, before: &[f64], after: &[f64], slopes: &[f64], positions: &[usize]) -> f64 {
        let of_query = |query: usize| {
            let seen = query * LEN..query * LEN + query + 1;
            let replaced = |key: usize| match side {
                Side::Queries => positions.contains(&query),
                Side::Keys => positions.contains(&key),
            };
            let new: Vec<f64> = seen
                .clone()
                .enumerate()
                .map(|(key, at)| if replaced(key) { after[at] } else { before[at] })
                .collect();
            softmax_mean(&new, &slopes[seen.clone()]) - softmax_mean(&before[seen.clone()], &slopes[seen])
        };
        (0..LEN).map(of_query).sum()
    }

    #[test]
    fn one_by_one_and_together_are_the_softmax_computed_again() {
        let size = HEADS * LEN * LEN;
        let (before, after, slopes) = (numbers(size, 0.3), numbers(size, 2.0), numbers(size, 5.0));
        for side in [Side::Queries, Side::Keys] {
            let (before, after, slopes) = (before.clone(), after.clone(), slopes.clone());
            let scores = PatternScores::new(side, Rows { n_heads: HEADS, len: LEN, before, after, slopes });
            let Rows { before, after, slopes, .. } = &scores.rows;
            for positions in [&[0][..], &[2], &[4], &[1, 3], &[0, 1, 2, 3, 4]] {
                let expected = by_definition(side, before, after, slopes, positions);
                let found = scores.of(0..1, positions);
                assert!((found - expected).abs() < 1e-12, "{side:?} {positions:?}: {found} {expected}");
                let both = found + scores.of(1..2, positions);
                assert!((scores.of(0..2, positions) - both).abs() < 1e-12);
            }
        }
    }

    /// A key that has all of the weight loses it: the rest is far below what f64 adds to 1.
    #[test]
    fn a_saturated_key_gives_way_to_the_rest() {
        let before = vec![0.0, 0.0, 0.0, 400.0];
        let after = vec![0.0, 0.0, 0.0, -400.0];
        let rows = Rows { n_heads: 1, len: 2, before, after, slopes: vec![0.0, 0.0, 3.0, 1.0] };
        assert!((PatternScores::new(Side::Keys, rows).of(0..1, &[1]) - 2.0).abs() < 1e-12);
    }
}
