//! Means over prompts, their standard errors and bootstrap intervals; how far two lists of numbers agree.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How sure a mean over prompts is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Spread {
    /// Standard error of the mean (sample standard deviation over the root of the count).
    pub stderr: f64,
    /// Lower end of the 95 % bootstrap interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Resamples drawn for an interval.
const RESAMPLES: usize = 1000;

/// The arithmetic mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard error of a mean; 0 for fewer than two values.
pub fn standard_error(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if values.len() < 2 {
        return 0.0;
    }
    let m = mean(values);
    let variance = values.iter().map(|x| (x - m).powi(2)).sum::<f64>() / (n - 1.0);
    (variance / n).sqrt()
}

/// Pearson's correlation of pairs of numbers; `None` for fewer than two, or where one side is always the same.
pub fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    let n = pairs.len() as f64;
    let (a, b) = pairs.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
    let sum = |of: fn(f64, f64) -> f64| pairs.iter().map(|(x, y)| of(x - a, y - b)).sum::<f64>();
    let size = (sum(|x, _| x * x) * sum(|_, y| y * y)).sqrt();
    (size > 0.0).then(|| (sum(|x, y| x * y) / size).clamp(-1.0, 1.0))
}

/// Spearman's rank correlation: Pearson's of the ranks, equal numbers sharing the mean of theirs.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    pearson(&ranks(&x).into_iter().zip(ranks(&y)).collect::<Vec<_>>())
}

/// The place of each number in ascending order, from 0; equal numbers share the mean of their places.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + (tied.len() - 1) as f64 / 2.0;
        tied.iter().for_each(|&i| ranks[i] = rank);
        first += tied.len();
    }
    ranks
}

/// The mean of every cell over prompts, and how sure each is; no spread for a single prompt. `by_prompt` holds one
/// number per cell for each prompt.
pub(crate) fn over_prompts(by_prompt: &[Vec<f64>], seed: u64) -> (Vec<f64>, Vec<Spread>) {
    let n_cells = by_prompt.first().map_or(0, Vec::len);
    let of = |cell: usize| by_prompt.iter().map(|cells| cells[cell]).collect::<Vec<f64>>();
    let means = (0..n_cells).map(|cell| mean(&of(cell))).collect();
    if by_prompt.len() < 2 {
        return (means, vec![]);
    }
    let bootstrap = Bootstrap::new(by_prompt.len(), seed);
    let spread = |cell: usize| {
        let values = of(cell);
        let mean_of =
            |draw: &[u32]| Some(draw.iter().map(|&i| values[i as usize]).sum::<f64>() / draw.len() as f64);
        let (low, high) = bootstrap.interval(mean_of).expect("a mean is always defined");
        Spread { stderr: standard_error(&values), low, high }
    };
    (means, (0..n_cells).into_par_iter().map(spread).collect())
}

/// Which prompts each bootstrap resample draws, with replacement: the same for every cell of a table,
/// so that cells can be compared.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    draws: Vec<Vec<u32>>,
}

impl Bootstrap {
    /// Draws for `n` prompts.
    pub fn new(n: usize, seed: u64) -> Bootstrap {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = || ((u64::from(rng.next_u32()) * n as u64) >> 32) as u32;
        Bootstrap { draws: (0..RESAMPLES).map(|_| (0..n).map(|_| draw()).collect()).collect() }
    }

    /// The interval that holds a statistic of 95 % of the resamples: from the 2.5th to the 97.5th
    /// percentile. `statistic` gets the indices of a resample's prompts; where it is not defined for
    /// one of them, there is no interval.
    pub fn interval(&self, statistic: impl Fn(&[u32]) -> Option<f64>) -> Option<(f64, f64)> {
        let values: Option<Vec<f64>> = self.draws.iter().map(|draw| statistic(draw)).collect();
        Some(middle(values?))
    }

    /// The interval, and as standard error the standard deviation over resamples: of a statistic that is no mean.
    pub fn spread(&self, statistic: impl Fn(&[u32]) -> Option<f64>) -> Option<Spread> {
        let values: Option<Vec<f64>> = self.draws.iter().map(|draw| statistic(draw)).collect();
        Some(scatter(values?))
    }

    /// Which prompts the first so many resamples draw.
    pub(crate) fn first(&self, count: usize) -> &[Vec<u32>] {
        &self.draws[..count.min(self.draws.len())]
    }
}

/// How draws scatter: their standard deviation, and the middle 95 % of them.
pub(crate) fn scatter(draws: Vec<f64>) -> Spread {
    let stderr = standard_error(&draws) * (draws.len() as f64).sqrt();
    let (low, high) = middle(draws);
    Spread { stderr, low, high }
}

/// From the 2.5th to the 97.5th percentile.
fn middle(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[(share * (values.len() - 1) as f64).round() as usize];
    (at(0.025), at(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_error_is_the_sample_deviation_over_the_root_of_the_count() {
        assert!((standard_error(&[1.0, 2.0, 3.0, 4.0]) - (5.0f64 / 3.0).sqrt() / 2.0).abs() < 1e-12);
        assert_eq!(standard_error(&[3.0]), 0.0);
    }

    #[test]
    fn the_interval_holds_the_mean_and_narrows_with_more_values() {
        let values = |n: usize| (0..n).map(|i| ((i * 37) % 101) as f64).collect::<Vec<_>>();
        let width = |n: usize| {
            let values = values(n);
            let of = |draw: &[u32]| Some(draw.iter().map(|&i| values[i as usize]).sum::<f64>() / n as f64);
            let (low, high) = Bootstrap::new(n, 3).interval(of).unwrap();
            assert!(low < mean(&values) && mean(&values) < high);
            high - low
        };
        let ratio = width(10) / width(1000);
        assert!((5.0..20.0).contains(&ratio), "ten times narrower, about: {ratio}");
    }

    #[test]
    fn correlation_is_of_values_or_of_ranks_and_ties_share_theirs() {
        let pairs = |ys: [f64; 4]| [1.0, 2.0, 3.0, 4.0].into_iter().zip(ys).collect::<Vec<_>>();
        assert!((pearson(&pairs([2.0, 4.0, 6.0, 8.0])).unwrap() - 1.0).abs() < 1e-12);
        assert!((spearman(&pairs([-1.0, -10.0, -100.0, -1000.0])).unwrap() + 1.0).abs() < 1e-12);
        assert!(pearson(&pairs([-1.0, -10.0, -100.0, -1000.0])).unwrap() > -0.9);
        // Ranks 0 to 3 against 0, 1.5, 1.5, 3: 4.5 / sqrt(5 * 4.5).
        let tied = spearman(&pairs([0.0, 5.0, 5.0, 9.0])).unwrap();
        assert!((tied - 4.5 / (5.0f64 * 4.5).sqrt()).abs() < 1e-12, "{tied}");
        assert_eq!(pearson(&pairs([7.0; 4])), None);
        assert_eq!((pearson(&[]), spearman(&[(1.0, 2.0)])), (None, None));
    }

    #[test]
    fn the_same_seed_draws_the_same_resamples() {
        let of = |seed| Bootstrap::new(5, seed).interval(|draw| Some(draw.iter().sum::<u32>() as f64));
        assert_eq!(of(1), of(1));
    }

    #[test]
    fn a_statistic_that_is_not_always_defined_has_no_interval() {
        let defined = |draw: &[u32]| draw.contains(&0).then_some(1.0);
        assert_eq!(Bootstrap::new(2, 3).interval(defined), None);
    }
}
