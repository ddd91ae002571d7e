//! LayerNorm over rows, with gain and bias, and its derivatives.
//!
//! ```text
//! n  = (x - mean) / sqrt(var + eps)      per row, variance with divisor d
//! y  = n w + b
//! dn = dy w
//! dx = (dn - mean(dn) - n mean(dn n)) / sqrt(var + eps)
//! dw = sum over rows of dy n             db = sum over rows of dy
//! ```

use rayon::prelude::*;

use crate::dispatch::vectorised;
use crate::linear::{ROWS, add_in_order};
use crate::reduce;

/// The derivatives in a LayerNorm's input, gain and bias.
#[derive(Debug, Clone, PartialEq)]
pub struct NormGradients {
    /// `[rows, d]`
    pub x: Vec<f32>,
    /// `[d]`
    pub w: Vec<f32>,
    /// `[d]`
    pub b: Vec<f32>,
}

/// `y`, `[rows, d]`, of `x` `[rows, d]`, with `d` the length of `w`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn layer_norm(x: &[f32], w: &[f32], b: &[f32], eps: f32) -> Vec<f32> {
    let d = width(x, w, b);
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(ROWS * d).zip(x.par_chunks(ROWS * d)).for_each(|(y, x)| forward(y, x, w, b, eps));
    y
}

/// The derivatives where `dy` `[rows, d]` comes in from above.
///
/// # Panics
/// Where the lengths do not fit.
pub fn layer_norm_backward(x: &[f32], w: &[f32], b: &[f32], eps: f32, dy: &[f32]) -> NormGradients {
    let d = width(x, w, b);
    assert_eq!(x.len(), dy.len(), "one derivative for each value");
    let mut dx = vec![0.0; x.len()];
    let sums: Vec<Vec<f32>> = dx
        .par_chunks_mut(ROWS * d)
        .zip(x.par_chunks(ROWS * d).zip(dy.par_chunks(ROWS * d)))
        .map(|(dx, (x, dy))| {
            let mut sums = vec![0.0; 2 * d];
            backward(dx, &mut sums, x, w, eps, dy);
            sums
        })
        .collect();
    let mut w = add_in_order(sums, 2 * d);
    let b = w.split_off(d);
    NormGradients { x: dx, w, b }
}

fn width(x: &[f32], w: &[f32], b: &[f32]) -> usize {
    assert!(!w.is_empty() && w.len() == b.len(), "gain of {} and bias of {} values", w.len(), b.len());
    assert_eq!(x.len() % w.len(), 0, "whole rows of {} values", w.len());
    w.len()
}

#[inline(always)]
fn mean_and_scale(x: &[f32], eps: f32) -> (f32, f32) {
    let d = x.len() as f32;
    let mean = reduce::sum(x.len(), |i| x[i]) / d;
    let variance = reduce::sum(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / d;
    (mean, (variance + eps).sqrt())
}

vectorised! {
    fn forward(y: &mut [f32], x: &[f32], w: &[f32], b: &[f32], eps: f32) {
        let d = w.len();
        for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            let (mean, scale) = mean_and_scale(x, eps);
            let by = 1.0 / scale;
            for (((y, x), w), b) in y.iter_mut().zip(x).zip(w).zip(b) {
                *y = (x - mean) * by * w + b;
            }
        }
    }
}

vectorised! {
    fn backward(dx: &mut [f32], sums: &mut [f32], x: &[f32], w: &[f32], eps: f32, dy: &[f32]) {
        let d = w.len();
        let (dw, db) = sums.split_at_mut(d);
        let mut n = vec![0.0f32; d];
        for ((dx, x), dy) in dx.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(dy.chunks_exact(d)) {
            let (mean, scale) = mean_and_scale(x, eps);
            let by = 1.0 / scale;
            for i in 0..d {
                n[i] = (x[i] - mean) * by;
                dw[i] += dy[i] * n[i];
                db[i] += dy[i];
                dx[i] = dy[i] * w[i];
            }
            let mean_dn = reduce::sum(d, |i| dx[i]) / d as f32;
            let mean_dn_n = reduce::sum(d, |i| dx[i] * n[i]) / d as f32;
            for i in 0..d {
                dx[i] = (dx[i] - mean_dn - n[i] * mean_dn_n) * by;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(x: &[f64], w: &[f64], b: &[f64], eps: f64) -> Vec<f64> {
        let d = w.len();
        x.chunks(d)
            .flat_map(|x| {
                let mean = x.iter().sum::<f64>() / d as f64;
                let var = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
                (0..d).map(|i| (x[i] - mean) / (var + eps).sqrt() * w[i] + b[i]).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn values_and_derivatives_are_those_of_the_definition_in_f64() {
        for (rows, d) in [(1, 1), (3, 5), (2, 16), (300, 24), (131, 67)] {
            let noise = |n: usize, salt: usize| -> Vec<f32> {
                (0..n).map(|i| ((i * 37 + salt * 101) % 251) as f32 / 60.0 - 2.0).collect()
            };
            let (x, w, b, c) = (noise(rows * d, 1), noise(d, 2), noise(d, 3), noise(rows * d, 4));
            let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|x| f64::from(*x)).collect() };
            let eps = 1e-5;
            for (y, exact) in
                layer_norm(&x, &w, &b, eps as f32).iter().zip(exact(&wide(&x), &wide(&w), &wide(&b), eps))
            {
                assert!((f64::from(*y) - exact).abs() < 2e-5, "{rows} x {d}");
            }
            let f = |x: &[f64], w: &[f64], b: &[f64]| -> f64 {
                exact(x, w, b, eps).iter().zip(&c).map(|(y, c)| y * f64::from(*c)).sum()
            };
            let slope = |of: &dyn Fn(f64) -> f64| (of(1e-4) - of(-1e-4)) / 2e-4;
            let gradients = layer_norm_backward(&x, &w, &b, eps as f32, &c);
            let (x, w, b) = (wide(&x), wide(&w), wide(&b));
            let moved = |values: &[f64], at: usize, by: f64| {
                let mut values = values.to_vec();
                values[at] += by;
                values
            };
            if d == 1 {
                continue; // the derivative in x is 0 by cancellation of values around 300
            }
            for at in (0..x.len()).step_by(x.len() / 29 + 1) {
                let expected = slope(&|h| f(&moved(&x, at, h), &w, &b));
                assert!((f64::from(gradients.x[at]) - expected).abs() < 1e-4 * expected.abs().max(1.0));
            }
            for at in 0..d {
                let expected = slope(&|h| f(&x, &moved(&w, at, h), &b));
                assert!((f64::from(gradients.w[at]) - expected).abs() < 1e-4 * expected.abs().max(1.0));
                let expected = slope(&|h| f(&x, &w, &moved(&b, at, h)));
                assert!((f64::from(gradients.b[at]) - expected).abs() < 1e-4 * expected.abs().max(1.0));
            }
        }
    }
}
