//! The loss of a language model: `-log softmax(logits)[target]`, in nats, and its derivative
//! `softmax(logits) - 1[target]`.

use rayon::prelude::*;

use crate::dispatch::vectorised;
use crate::exp::exp;
use crate::reduce;

/// Rows one thread takes at a time.
const ROWS: usize = 16;

/// The mean over rows of `logits` `[rows, d_vocab]`.
///
/// # Panics
/// Where the lengths do not fit or a target is outside the vocabulary.
pub fn cross_entropy(logits: &[f32], targets: &[u32]) -> f32 {
    let d_vocab = vocabulary(logits, targets);
    let losses: Vec<f64> = logits
        .par_chunks(d_vocab)
        .with_min_len(ROWS)
        .zip(targets)
        .map(|(row, &target)| {
            let (max, sum) = max_and_sum(row);
            f64::from(max) + f64::from(sum).ln() - f64::from(row[target as usize])
        })
        .collect();
    (losses.iter().sum::<f64>() / losses.len() as f64) as f32
}

/// The derivative of `factor` times the mean, `[rows, d_vocab]`.
///
/// # Panics
/// As [`cross_entropy`].
pub fn cross_entropy_backward(logits: &[f32], targets: &[u32], factor: f32) -> Vec<f32> {
    let d_vocab = vocabulary(logits, targets);
    let factor = factor / targets.len() as f32;
    let mut out = vec![0.0; logits.len()];
    out.par_chunks_mut(d_vocab).with_min_len(ROWS).zip(logits.par_chunks(d_vocab).zip(targets)).for_each(
        |(out, (row, &target))| {
            probabilities(out, row, factor);
            out[target as usize] -= factor;
        },
    );
    out
}

fn vocabulary(logits: &[f32], targets: &[u32]) -> usize {
    assert!(
        !targets.is_empty() && logits.len().is_multiple_of(targets.len()),
        "one target for each row of logits"
    );
    let d_vocab = logits.len() / targets.len();
    assert!(targets.iter().all(|&id| (id as usize) < d_vocab), "a target outside the vocabulary");
    d_vocab
}

vectorised! {
    /// The largest logit, and the sum of `exp(logit - largest)`.
    fn max_and_sum(row: &[f32]) -> (f32, f32) {
        let max = reduce::max(row);
        (max, reduce::sum(row.len(), |i| exp(row[i] - max)))
    }
}

vectorised! {
    fn probabilities(out: &mut [f32], row: &[f32], factor: f32) {
        let max = reduce::max(row);
        for (out, x) in out.iter_mut().zip(row) {
            *out = exp(x - max);
        }
        let by = factor / reduce::sum(out.len(), |i| out[i]);
        for out in out {
            *out *= by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_derivatives_are_those_of_the_definition_in_f64() {
        for (rows, d_vocab) in [(1, 2), (3, 17), (40, 101)] {
            let logits: Vec<f32> =
                (0..rows * d_vocab).map(|i| ((i * 37) % 251) as f32 / 20.0 - 6.0).collect();
            let targets: Vec<u32> = (0..rows).map(|i| ((i * 7) % d_vocab) as u32).collect();
            let exact = |logits: &[f64]| -> f64 {
                let of_row = |(row, &target): (&[f64], &u32)| {
                    row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[target as usize]
                };
                logits.chunks(d_vocab).zip(&targets).map(of_row).sum::<f64>() / rows as f64
            };
            let wide: Vec<f64> = logits.iter().map(|x| f64::from(*x)).collect();
            assert!((f64::from(cross_entropy(&logits, &targets)) - exact(&wide)).abs() < 2e-6);
            let gradient = cross_entropy_backward(&logits, &targets, 3.0);
            for at in 0..wide.len() {
                let moved = |by: f64| {
                    let mut values = wide.clone();
                    values[at] += by;
                    exact(&values)
                };
                let slope = 3.0 * (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((f64::from(gradient[at]) - slope).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn huge_logits_neither_overflow_nor_lose_the_target() {
        let loss = cross_entropy(&[1e4, -1e4, 0.0], &[1]);
        assert!((loss - 2e4).abs() < 1.0);
        assert!(cross_entropy(&[f32::NAN, 0.0], &[1]).is_nan());
    }
}
