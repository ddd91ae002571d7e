//! What a row of logits says of the next token, in f64.
//!
//! ```text
//! log_z    = ln sum exp(x)                   by way of the largest, so that nothing overflows
//! entropy  = sum p (log_z - x)               p = exp(x - log_z); a token of probability 0 adds 0
//! ```

use crate::dispatch::vectorised;
use crate::reduce;

/// Partial sums, added in their order.
const LANES: usize = 8;

/// Log of the sum of exponentials: infinite or NaN where the logits are, `-inf` for none.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(largest(logits));
    max + sum_of_exp(logits, max).ln()
}

/// The entropy, in nats, of the distribution with these logits, whose [`log_sum_exp`] is `log_z`.
pub fn entropy(logits: &[f32], log_z: f64) -> f64 {
    sum_of_surprise(logits, log_z)
}

vectorised! {
    /// The largest of some numbers, `-inf` for none. NaN are passed over.
    pub fn largest(x: &[f32]) -> f32 {
        reduce::max(x)
    }
}

/// `exp(x)` for `x` up to 709, to a few units in the last place; 0 below -708, NaN for NaN.
///
/// `exp(x) = 2^n exp(r)` with `n` the nearest whole number to `x / ln 2` and `|r| <= ln 2 / 2`, where the Taylor
/// series to the thirteenth power leaves less than 1e-17.
#[inline(always)]
fn exp(x: f64) -> f64 {
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52: adding it rounds to a whole number
    const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    /// `1 / n!` from the thirteenth down.
    const SERIES: [f64; 14] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    let vanishes = x < -708.0;
    let x = x.clamp(-708.0, 709.0);
    let shifted = x.mul_add(std::f64::consts::LOG2_E, ROUND); // n stands in its lowest bits
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut sum = SERIES[0];
    let mut i = 1;
    while i < SERIES.len() {
        sum = sum.mul_add(r, SERIES[i]);
        i += 1;
    }
    let e = sum * f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
    if vanishes { 0.0 } else { e }
}

/// The sum of `f` over a row.
#[inline(always)]
fn sum(x: &[f32], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        for (sum, x) in lanes.iter_mut().zip(chunk) {
            *sum += f(f64::from(*x));
        }
    }
    let mut total = 0.0;
    for lane in lanes {
        total += lane;
    }
    for x in rest {
        total += f(f64::from(*x));
    }
    total
}

vectorised! {
    fn sum_of_exp(x: &[f32], max: f64) -> f64 {
        sum(x, |x| exp(x - max))
    }
}

vectorised! {
    fn sum_of_surprise(x: &[f32], log_z: f64) -> f64 {
        sum(x, |x| {
            let below = log_z - x;
            let p = exp(-below);
            if p == 0.0 { 0.0 } else { p * below }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{for_each_instruction_set, noise};

    #[test]
    fn exp_is_that_of_the_standard_library_to_f64_rounding() {
        for i in -708_000..=709_000 {
            let x = f64::from(i) * 1e-3;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-15, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
        assert!(exp(f64::NAN).is_nan());
    }

    #[test]
    fn sums_are_their_definitions_written_out() {
        for_each_instruction_set(|set| {
            for n in [1, 7, 8, 9, 50_257] {
                let x: Vec<f32> = noise(n, 3).iter().map(|x| 20.0 * x).collect();
                let z: f64 = x.iter().map(|&x| f64::from(x).exp()).sum();
                let log_z = log_sum_exp(&x);
                assert!((log_z - z.ln()).abs() < 1e-12, "{set} {n}");
                let probs: Vec<f64> = x.iter().map(|&x| f64::from(x).exp() / z).collect();
                let expected = -probs.iter().map(|p| p * p.ln()).sum::<f64>();
                assert!((entropy(&x, log_z) - expected).abs() < 1e-11, "{set} {n}");
                assert_eq!(largest(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max), "{set} {n}");
            }
        });
    }

    #[test]
    fn extreme_rows_say_so() {
        assert_eq!(log_sum_exp(&[1e30, -1e30, 0.0]), f64::from(1e30f32));
        assert_eq!(entropy(&[1e30, -1e30, 0.0], f64::from(1e30f32)), 0.0);
        assert!(!log_sum_exp(&[f32::INFINITY, 0.0]).is_finite());
        assert!(log_sum_exp(&[f32::NAN, 0.0]).is_nan());
        assert!(log_sum_exp(&[0.0, f32::NAN, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).is_nan());
        assert_eq!(log_sum_exp(&[f32::NEG_INFINITY, 0.0]), 0.0);
    }
}
