//! GELU, `x` times the share of a normal distribution below it: by its definition, nanoGPT's `nn.GELU()`, and by
//! the tanh approximation, GPT-2's `gelu_new`. Neither calls a tanh or an erf.
//!
//! ```text
//! gelu       y = x P(x)                       P(x) = (1 + erf(x / sqrt 2)) / 2
//!        dy/dx = P(x) + x p(x)                p(x) = exp(-x^2 / 2) / sqrt(2 pi)
//!
//! gelu_new   y = x s                          (= x (1 + tanh u) / 2)
//!        dy/dx = s + 2 x s (1 - s) u'         s = sigmoid(2u),  u = sqrt(2 / pi) (x + 0.044715 x^3)
//! ```

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::dispatch::vectorised;
use crate::exp::{exp, sigmoid};

/// `sqrt(2 / pi)`
const SCALE: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;
/// `1 / sqrt(2 pi)`
const DENSITY: f32 = 0.398_942_3;
/// Values one thread takes at a time.
const CHUNK: usize = 1 << 13;

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gelu {
    /// By the error function.
    ByErf,
    /// By the tanh approximation.
    ByTanh,
}

impl Gelu {
    /// GELU of every value.
    pub fn of(self, x: &[f32]) -> Vec<f32> {
        let mut y = x.to_vec();
        y.par_chunks_mut(CHUNK).for_each(|y| self.in_place(y));
        y
    }

    /// `dy` times the derivative of GELU at `x`.
    ///
    /// # Panics
    /// Where the lengths differ.
    pub fn backward(self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        assert_eq!(x.len(), dy.len(), "one derivative for each value");
        let mut dx = dy.to_vec();
        dx.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(dx, x)| self.backward_in_place(dx, x));
        dx
    }

    pub(crate) fn in_place(self, x: &mut [f32]) {
        match self {
            Gelu::ByErf => by_erf_in_place(x),
            Gelu::ByTanh => by_tanh_in_place(x),
        }
    }

    /// From the derivative in `gelu(x)` to that in `x`.
    fn backward_in_place(self, dx: &mut [f32], x: &[f32]) {
        match self {
            Gelu::ByErf => by_erf_backward(dx, x),
            Gelu::ByTanh => by_tanh_backward(dx, x),
        }
    }

    /// Writes GELU of every value to `y`, and in its place the slope there: both need the same exponential.
    pub(crate) fn with_slope(self, x: &mut [f32], y: &mut [MaybeUninit<f32>]) {
        match self {
            Gelu::ByErf => by_erf_with_slope(x, y),
            Gelu::ByTanh => by_tanh_with_slope(x, y),
        }
    }
}

/// The share of a normal distribution below `x`, and `exp(-x^2 / 2)`.
///
/// The share above `|x|` is `exp(-x^2 / 2) q(t)` with `t = 1 / (1 + 0.4 |x|)` and `q` a polynomial, fitted
/// to the true quotient at 400 Chebyshev nodes of `|x| <= 13.3`, beyond which the share is 0 in f32: its
/// relative error there is below 7e-9, that of its f32 evaluation below 3e-7.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    const Q: [f32; 10] = [
        -1.320_037_4e-5,
        1.599_301_1e-1,
        1.555_56e-1,
        1.595_351_5e-1,
        -1.564_330_6e-2,
        2.568_704_2e-1,
        -3.802_961e-1,
        2.049_963e-1,
        -4.114_479e-2,
        2.093_497_5e-4,
    ];
    // Past 13 the squares no longer matter; without the bound they would overflow.
    let size = x.abs().min(13.0);
    let t = 1.0 / (1.0 + 0.4 * size);
    let mut q = Q[9];
    let mut i = 9;
    while i > 0 {
        i -= 1;
        q = q * t + Q[i];
    }
    let e = exp(-0.5 * size * size);
    let above = e * q;
    (if x < 0.0 { above } else { 1.0 - above }, e)
}

/// GELU by the error function and its slope.
#[inline(always)]
fn by_erf(x: f32) -> (f32, f32) {
    let (below, e) = normal(x);
    (x * below, below + x.clamp(-13.0, 13.0) * DENSITY * e)
}

/// GELU by the tanh approximation and its slope.
#[inline(always)]
fn by_tanh(x: f32) -> (f32, f32) {
    // Past +-10 the share and the slope are 0 or 1 in f32; without the bound the product of a square and a vanishing
    // factor would be a NaN.
    let near = x.clamp(-10.0, 10.0);
    let s = sigmoid(2.0 * SCALE * (near + CUBE * near * near * near));
    (x * s, s + 2.0 * near * s * (1.0 - s) * SCALE * (1.0 + 3.0 * CUBE * near * near))
}

/// The loops over one of the two.
macro_rules! loops {
    ($of:ident, $in_place:ident, $backward:ident, $with_slope:ident) => {
        vectorised! {
            fn $in_place(x: &mut [f32]) {
                for x in x {
                    *x = $of(*x).0;
                }
            }
        }

        vectorised! {
            fn $backward(dx: &mut [f32], x: &[f32]) {
                for (dx, &x) in dx.iter_mut().zip(x) {
                    *dx *= $of(x).1;
                }
            }
        }

        vectorised! {
            fn $with_slope(x: &mut [f32], y: &mut [MaybeUninit<f32>]) {
                for (x, y) in x.iter_mut().zip(y) {
                    let (value, slope) = $of(*x);
                    y.write(value);
                    *x = slope;
                }
            }
        }
    };
}

loops!(by_erf, by_erf_in_place, by_erf_backward, by_erf_with_slope);
loops!(by_tanh, by_tanh_in_place, by_tanh_backward, by_tanh_with_slope);

#[cfg(test)]
mod tests {
    use super::*;

    fn by_definition_tanh(x: f64) -> f64 {
        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
    }

    /// The share below `x` by Taylor's series of the integral of the density, and by its continued fraction
    /// where the series cancels.
    fn by_definition_erf(x: f64) -> f64 {
        let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let above_size = if x.abs() < 3.0 {
            let (mut term, mut sum) = (x.abs(), x.abs());
            for n in 1..200 {
                term *= x * x / f64::from(2 * n + 1);
                sum += term;
            }
            0.5 - density * sum
        } else {
            density / (1..200).rev().fold(x.abs(), |below, n| x.abs() + f64::from(n) / below)
        };
        x * if x < 0.0 { above_size } else { 1.0 - above_size }
    }

    type Definition = fn(f64) -> f64;
    const KINDS: [(Gelu, Definition); 2] =
        [(Gelu::ByTanh, by_definition_tanh), (Gelu::ByErf, by_definition_erf)];

    #[test]
    fn they_are_their_definitions_to_f32_rounding_everywhere() {
        for (gelu, exact) in KINDS {
            let x: Vec<f32> =
                (-40_000..=40_000).map(|i| i as f32 * 5e-4).chain([-1e30, 1e30, 0.0, -0.0]).collect();
            for (x, y) in x.iter().zip(gelu.of(&x)) {
                // Relative to x, not to the result: far to the left the result is a difference of halves.
                let x = f64::from(*x);
                assert!((f64::from(y) - exact(x)).abs() <= 4e-7 * x.abs().max(1e-3), "{x} {y}");
            }
            assert!(gelu.of(&[f32::NAN])[0].is_nan());
        }
    }

    #[test]
    fn the_derivatives_are_those_of_the_definitions() {
        for (gelu, exact) in KINDS {
            let x: Vec<f32> = (-3_000..=3_000).map(|i| i as f32 * 4e-3).chain([-1e30, 1e30]).collect();
            for (x, dx) in x.iter().zip(gelu.backward(&x, &vec![2.0; x.len()])) {
                let x = f64::from(*x);
                let h = 1e-5 * x.abs().max(1.0);
                let slope = (exact(x + h) - exact(x - h)) / (2.0 * h);
                assert!((f64::from(dx) - 2.0 * slope).abs() < 4e-6, "{x} {dx} {slope}");
            }
        }
    }
}
