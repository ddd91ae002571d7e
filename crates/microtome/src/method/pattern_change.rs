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

use microtome_model::{Tensor, as_f64};
use rayon::prelude::*;

use crate::error::Result;

/// Which side of the scores is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Queries,
    Keys,
}

/// The attention scores of one layer as they are and with one side replaced.
#[derive(Debug, Clone)]
pub(crate) struct PatternChange {
    side: Side,
    n_heads: usize,
    len: usize,
    /// `[head, query, key]`; what lies in a query's future is never looked at.
    before: Vec<f64>,
    after: Vec<f64>,
}

/// What replacing is estimated to change, one layer at a time.
#[derive(Debug)]
pub(crate) struct PatternScores<'a> {
    change: &'a PatternChange,
    /// The derivative in the pattern, `[head, query, key]`.
    slopes: Vec<f64>,
    /// By head and position: that query or key replaced by itself.
    one_by_one: Vec<f64>,
}

impl PatternChange {
    /// From the scores of a run, its other side (keys where queries are replaced) `[pos, head, d_head]`, and how the
    /// replaced side differs, of the same shape.
    pub fn new(side: Side, scores: &Tensor, against: &Tensor, difference: &Tensor) -> Result<PatternChange> {
        let (len, n_heads, d_head) = difference.dims3()?;
        let by_head = |x: &Tensor| -> Result<Tensor> { Ok(as_f64(x)?.transpose(0, 1)?.contiguous()?) };
        let (against, difference) = (by_head(against)?, by_head(difference)?); // [head, pos, d_head]
        let (queries, keys) = match side {
            Side::Queries => (difference, against),
            Side::Keys => (against, difference),
        };
        let added = (queries.matmul(&keys.transpose(1, 2)?.contiguous()?)? / (d_head as f64).sqrt())?;
        let before = as_f64(scores)?.flatten_all()?.to_vec1::<f64>()?;
        let added = added.flatten_all()?.to_vec1::<f64>()?;
        let after = before.iter().zip(added).map(|(score, added)| score + added).collect();
        Ok(PatternChange { side, n_heads, len, before, after })
    }

    /// With the derivative in the pattern, `[head, query, key]`.
    pub fn scores(&self, slopes: &Tensor) -> Result<PatternScores<'_>> {
        let slopes = as_f64(slopes)?.flatten_all()?.to_vec1::<f64>()?;
        let one_by_one = (0..self.n_heads)
            .into_par_iter()
            .flat_map_iter(|head| match self.side {
                Side::Queries => self.queries(head, &slopes),
                Side::Keys => self.keys(head, &slopes),
            })
            .collect();
        Ok(PatternScores { change: self, slopes, one_by_one })
    }

    /// The scores before and after, and the slopes, of what a query of a head sees.
    fn row<'a>(
        &'a self,
        head: usize,
        query: usize,
        slopes: &'a [f64],
    ) -> impl Iterator<Item = (f64, f64, f64)> + 'a {
        let first = (head * self.len + query) * self.len;
        let seen = first..first + query + 1;
        let scores = self.before[seen.clone()].iter().zip(&self.after[seen.clone()]);
        scores.zip(&slopes[seen]).map(|((&before, &after), &slope)| (before, after, slope))
    }

    fn queries(&self, head: usize, slopes: &[f64]) -> Vec<f64> {
        let by_query = |query| {
            let mean = |of: fn((f64, f64, f64)) -> (f64, f64)| {
                Mass::of(self.row(head, query, slopes).map(of)).mean()
            };
            mean(|(_, after, slope)| (after, slope)) - mean(|(before, _, slope)| (before, slope))
        };
        (0..self.len).map(by_query).collect()
    }

    fn keys(&self, head: usize, slopes: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; self.len];
        for query in 0..self.len {
            let row: Vec<(f64, f64, f64)> = self.row(head, query, slopes).collect();
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

impl PatternScores<'_> {
    /// What it changes to replace these positions of these heads at once.
    pub fn of(&self, heads: std::ops::Range<usize>, positions: &[usize]) -> f64 {
        let PatternChange { side, len, .. } = *self.change;
        match (side, positions) {
            // Rows are apart from each other.
            (Side::Queries, _) | (Side::Keys, [_]) => {
                let of_head = |head| positions.iter().map(move |pos| self.one_by_one[head * len + pos]);
                heads.flat_map(of_head).sum()
            }
            (Side::Keys, _) => heads.map(|head| self.keys_together(head, positions)).sum(),
        }
    }

    fn keys_together(&self, head: usize, positions: &[usize]) -> f64 {
        let mut replaced = vec![false; self.change.len];
        positions.iter().for_each(|&pos| replaced[pos] = true);
        let of_query = |query| {
            let row = || self.change.row(head, query, &self.slopes).zip(&replaced);
            let new = |((before, after, slope), &replaced)| (if replaced { after } else { before }, slope);
            let old = |((before, _, slope), _): ((f64, f64, f64), &bool)| (before, slope);
            Mass::of(row().map(new)).mean() - Mass::of(row().map(old)).mean()
        };
        (0..self.change.len).map(of_query).sum()
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
    use microtome_model::Device;

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
        let gradient = Tensor::from_vec(slopes.clone(), (HEADS, LEN, LEN), &Device::Cpu).unwrap();
        for side in [Side::Queries, Side::Keys] {
            let (before, after) = (before.clone(), after.clone());
            let change = PatternChange { side, n_heads: HEADS, len: LEN, before, after };
            let scores = change.scores(&gradient).unwrap();
            for positions in [&[0][..], &[2], &[4], &[1, 3], &[0, 1, 2, 3, 4]] {
                let expected = by_definition(side, &change.before, &change.after, &slopes, positions);
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
        let change = PatternChange { side: Side::Keys, n_heads: 1, len: 2, before, after };
        let slopes = Tensor::new(&[[[0.0, 0.0], [3.0, 1.0]]], &Device::Cpu).unwrap();
        assert!((change.scores(&slopes).unwrap().of(0..1, &[1]) - 2.0).abs() < 1e-12);
    }
}
