//! What is kept of a feature over a text.
//!
//! Moments are central sums in f64, those of each window added to those before it (Pébay 2008, "Formulas for Robust, One-Pass
//! Parallel Computation of Covariances and Arbitrary-Order Statistical Moments"). With `n` values, `M2` and `M3` the sums of
//! squares and cubes of their distance from the mean: deviation `sqrt(M2 / n)`, skewness `(M3 / n) / (M2 / n)^1.5`.

use serde::{Deserialize, Serialize};

use super::ScanSettings;
use super::windows::Window;
use super::word::Word;
use crate::record::TokenLabel;

/// One feature over a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FeatureSummary {
    /// Its name: `L2N17`.
    pub feature: String,
    /// Tokens at which it was above the threshold.
    pub active: u64,
    /// Their share of all tokens.
    pub density: f64,
    /// Largest activation.
    pub max: f64,
    /// Smallest.
    pub min: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// Skewness; left out where it is always the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skewness: Option<f64>,
    /// Count, mean and central sums.
    pub moments: Moments,
    /// How many tokens have which activation.
    pub histogram: Histogram,
    /// Where it was most active, the highest activation first; at most one passage of a window, and none at or below the
    /// threshold. Of equal ones the earlier.
    pub passages: Vec<Passage>,
}

/// Count, mean, and sums of powers of the distance from the mean.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// How many values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Sum of squares of the distance from it.
    pub squares: f64,
    /// Sum of cubes.
    pub cubes: f64,
}

/// Counts of values in bins of one width, which is a power of 2 and doubles where there would be too many bins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// Width of a bin.
    pub width: f64,
    /// The first bin: it begins at `first * width`, which belongs to it.
    pub first: i64,
    /// Values in each.
    pub counts: Vec<u64>,
}

/// A place where a feature is active.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Passage {
    /// Its activation at the token.
    pub activation: f32,
    /// The token.
    pub token: TokenLabel,
    /// The byte of the text at which it begins; left out where the vocabulary does not keep every byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Which window it stands in, counted from 0.
    pub window: u64,
    /// Its position there, BOS counted.
    pub position: usize,
    /// The tokens around it, of the same window, BOS left out.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub tokens: Vec<Word>,
    /// The activation at each of them.
    pub activations: Vec<f32>,
    /// Which of them it is.
    pub at: usize,
}

/// A window whose activations are looked at.
pub(super) struct Seen<'a> {
    pub number: u64,
    pub window: &'a Window,
    /// Its tokens as they are shown, BOS left out.
    pub words: &'a [Word],
    pub settings: &'a ScanSettings,
}

/// Most bins.
const MOST_BINS: i64 = 128;
/// Width of bins at first.
const NARROWEST: f64 = 1.0 / 1024.0;

impl FeatureSummary {
    pub(super) fn new(feature: String) -> FeatureSummary {
        FeatureSummary {
            feature,
            active: 0,
            density: 0.0,
            max: 0.0,
            min: 0.0,
            deviation: 0.0,
            skewness: None,
            moments: Moments::default(),
            histogram: Histogram { width: NARROWEST, first: 0, counts: vec![] },
            passages: vec![],
        }
    }

    /// Adds the activations at a window's tokens, BOS left out.
    pub(super) fn take(&mut self, activations: impl Iterator<Item = f32>, seen: &Seen) {
        let values: Vec<f32> = activations.collect();
        let Some(&first) = values.first() else { return };
        let highest = values
            .iter()
            .enumerate()
            .fold((0, first), |high, (i, &x)| if x > high.1 { (i, x) } else { high });
        let lowest = f64::from(values.iter().copied().fold(first, f32::min));
        let is_first = self.moments.count == 0;
        self.max = if is_first { f64::from(highest.1) } else { self.max.max(f64::from(highest.1)) };
        self.min = if is_first { lowest } else { self.min.min(lowest) };
        self.active += values.iter().filter(|&&x| f64::from(x) > seen.settings.threshold).count() as u64;
        self.moments = self.moments.with(Moments::of(&values));
        values.iter().for_each(|&x| self.histogram.add(f64::from(x)));
        let n = self.moments.count as f64;
        self.density = self.active as f64 / n;
        let variance = self.moments.squares / n;
        self.deviation = variance.sqrt();
        let skewness = self.moments.cubes / n / variance.powf(1.5);
        self.skewness = Some(skewness).filter(|skewness| skewness.is_finite());
        self.keep(highest, &values, seen);
    }

    fn keep(&mut self, (at, activation): (usize, f32), values: &[f32], seen: &Seen) {
        let Seen { number, window, words, settings } = *seen;
        let after = self.passages.iter().position(|passage| passage.activation < activation);
        let place = after.unwrap_or(self.passages.len());
        if place >= settings.top || f64::from(activation) <= settings.threshold {
            return;
        }
        let ids = &window.ids[window.first..];
        let (from, to) = (at.saturating_sub(settings.context), (at + settings.context + 1).min(ids.len()));
        let passage = Passage {
            activation,
            token: TokenLabel { id: ids[at], token: words[at].to_string() },
            offset: window.offsets[at],
            window: number,
            position: window.first + at,
            tokens: words[from..to].to_vec(),
            activations: values[from..to].to_vec(),
            at: at - from,
        };
        self.passages.truncate(settings.top - 1);
        // No room to spare, in any of many thousands of lists.
        self.passages.reserve_exact(1);
        self.passages.insert(place, passage);
    }
}

impl Moments {
    /// Of some values.
    pub fn of(values: &[f32]) -> Moments {
        if values.is_empty() {
            return Moments::default();
        }
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len() as f64;
        let (squares, cubes) = values.iter().fold((0.0, 0.0), |(squares, cubes), &x| {
            let d = f64::from(x) - mean;
            (squares + d * d, cubes + d * d * d)
        });
        Moments { count: values.len() as u64, mean, squares, cubes }
    }

    /// Of both sets of values.
    #[must_use]
    pub fn with(self, other: Moments) -> Moments {
        if self.count == 0 || other.count == 0 {
            return if self.count == 0 { other } else { self };
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let n = a + b;
        let apart = other.mean - self.mean;
        Moments {
            count: self.count + other.count,
            mean: self.mean + apart * b / n,
            squares: self.squares + other.squares + apart * apart * a * b / n,
            cubes: self.cubes
                + other.cubes
                + apart.powi(3) * a * b * (a - b) / (n * n)
                + 3.0 * apart * (a * other.squares - b * self.squares) / n,
        }
    }
}

impl Histogram {
    fn add(&mut self, x: f64) {
        loop {
            let bin = (x / self.width).floor() as i64;
            if let Some(count) = bin
                .checked_sub(self.first)
                .and_then(|at| usize::try_from(at).ok())
                .and_then(|at| self.counts.get_mut(at))
            {
                *count += 1;
                return;
            }
            let (first, last) = match self.counts.len() {
                0 => (bin, bin),
                n => (self.first.min(bin), (self.first + n as i64 - 1).max(bin)),
            };
            if last.saturating_sub(first) >= MOST_BINS {
                self.widen();
                continue;
            }
            let before = if self.counts.is_empty() { 0 } else { (self.first - first) as usize };
            let bins = (last - first + 1) as usize;
            self.counts.reserve_exact(bins - self.counts.len());
            self.counts.splice(0..0, std::iter::repeat_n(0, before));
            self.counts.resize(bins, 0);
            self.first = first;
            self.counts[(bin - first) as usize] += 1;
            return;
        }
    }

    fn widen(&mut self) {
        let first = self.first.div_euclid(2);
        let mut counts = vec![0; self.counts.len() / 2 + 1];
        for (i, count) in self.counts.iter().enumerate() {
            counts[((self.first + i as i64).div_euclid(2) - first) as usize] += count;
        }
        while counts.last() == Some(&0) {
            counts.pop();
        }
        self.width *= 2.0;
        self.first = first;
        self.counts = counts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in no order, some large.
    fn values() -> Vec<f32> {
        (0..1000u32).map(|i| ((i * 7919 % 1009) as f32 / 100.0 - 0.17).powi(2) - 0.1).collect()
    }

    #[test]
    fn moments_of_parts_together_are_those_of_the_whole() {
        let all = values();
        let whole = Moments::of(&all);
        for size in [1, 7, 128, 999] {
            let parts = all.chunks(size).fold(Moments::default(), |sum, part| sum.with(Moments::of(part)));
            assert_eq!(parts.count, whole.count);
            for (a, b) in
                [(parts.mean, whole.mean), (parts.squares, whole.squares), (parts.cubes, whole.cubes)]
            {
                assert!((a - b).abs() < 1e-9 * b.abs(), "{size}: {a} against {b}");
            }
        }
    }

    #[test]
    fn a_histogram_counts_every_value_in_its_bin_and_widens_as_far_as_needed() {
        for order in [values(), values().into_iter().rev().collect()] {
            let mut histogram = Histogram { width: NARROWEST, first: 0, counts: vec![] };
            order.iter().for_each(|&x| histogram.add(f64::from(x)));
            let Histogram { width, first, counts } = &histogram;
            // From -0.1 to about 98: 128 bins of 1 hold it, and none of a half.
            assert_eq!(*width, 1.0);
            for (i, &count) in counts.iter().enumerate() {
                let low = (first + i as i64) as f64 * width;
                let inside = order.iter().filter(|&&x| (low..low + width).contains(&f64::from(x))).count();
                assert_eq!(count, inside as u64);
            }
            assert_eq!(counts.iter().sum::<u64>(), 1000);
        }
        let mut extreme = Histogram { width: NARROWEST, first: 0, counts: vec![] };
        [0.0, 1e30, -1e30].into_iter().for_each(|x| extreme.add(x));
        assert_eq!(extreme.counts.iter().sum::<u64>(), 3);
        assert!(extreme.counts.len() <= 128);
    }
}
