//! LayerNorm over rows, with or without gain and bias, and its derivatives.
//!
//! ```text
//! scale = sqrt(var + eps)                per row, variance with divisor d
//! n  = (x - mean) / scale
//! y  = n w + b                           (or n)
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

/// `y`, `[rows, d]`, of `x` `[rows, d]`, with gain and bias `[d]` where there are any.
///
/// # Panics
/// Where the lengths do not fit.
pub fn layer_norm(x: &[f32], d: usize, gain_and_bias: Option<(&[f32], &[f32])>, eps: f32) -> Vec<f32> {
    check(x, d);
    if let Some((w, b)) = gain_and_bias {
        assert_eq!((w.len(), b.len()), (d, d), "gain and bias of rows of {d}");
    }
    let mut y = x.to_vec();
    y.par_chunks_mut(ROWS * d).for_each(|y| match gain_and_bias {
        Some((w, b)) => forward_with(y, w, b, eps),
        None => forward(y, d, eps),
    });
    y
}

/// `scale`, `[rows]`.
///
/// # Panics
/// Where the lengths do not fit.
pub fn norm_scale(x: &[f32], d: usize, eps: f32) -> Vec<f32> {
    check(x, d);
    let mut scales = vec![0.0; x.len() / d];
    let tasks = scales.par_chunks_mut(ROWS).zip(x.par_chunks(ROWS * d));
    tasks.for_each(|(scales, x)| scales_of(scales, x, d, eps));
    scales
}

/// `(x - mean) / scale`, `[rows, d]`, with a scale for each row: what [`layer_norm`] computes without gain and
/// bias where the scales are those of [`norm_scale`].
///
/// # Panics
/// Where the lengths do not fit.
pub fn norm_divide(x: &[f32], d: usize, scales: &[f32]) -> Vec<f32> {
    check(x, d);
    assert_eq!(x.len() / d, scales.len(), "one scale for each row");
    let mut y = x.to_vec();
    y.par_chunks_mut(ROWS * d).zip(scales.par_chunks(ROWS)).for_each(|(y, scales)| divide(y, d, scales));
    y
}

/// The derivatives where `dy` `[rows, d]` comes in from above; with a gain `w`, or none.
///
/// # Panics
/// Where the lengths do not fit.
pub fn layer_norm_backward(x: &[f32], d: usize, w: Option<&[f32]>, eps: f32, dy: &[f32]) -> NormGradients {
    check(x, d);
    assert_eq!(x.len(), dy.len(), "one derivative for each value");
    let ones = vec![1.0; if w.is_none() { d } else { 0 }];
    let w = w.unwrap_or(&ones);
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

fn check(x: &[f32], d: usize) {
    assert!(d > 0 && x.len().is_multiple_of(d), "whole rows of {d} values");
}

#[inline(always)]
fn mean_of(x: &[f32]) -> f32 {
    reduce::sum(x.len(), |i| x[i]) / x.len() as f32
}

#[inline(always)]
fn mean_and_scale(x: &[f32], eps: f32) -> (f32, f32) {
    let mean = mean_of(x);
    let variance = reduce::sum(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / x.len() as f32;
    (mean, (variance + eps).sqrt())
}

vectorised! {
    fn forward(x: &mut [f32], d: usize, eps: f32) {
        for x in x.chunks_exact_mut(d) {
            let (mean, scale) = mean_and_scale(x, eps);
            for x in x {
                *x = (*x - mean) / scale;
            }
        }
    }
}

vectorised! {
    fn forward_with(x: &mut [f32], w: &[f32], b: &[f32], eps: f32) {
        for x in x.chunks_exact_mut(w.len()) {
            let (mean, scale) = mean_and_scale(x, eps);
            for ((x, w), b) in x.iter_mut().zip(w).zip(b) {
                *x = (*x - mean) / scale * w + b;
            }
        }
    }
}

vectorised! {
    fn scales_of(scales: &mut [f32], x: &[f32], d: usize, eps: f32) {
        for (scale, x) in scales.iter_mut().zip(x.chunks_exact(d)) {
            *scale = mean_and_scale(x, eps).1;
        }
    }
}

vectorised! {
    fn divide(x: &mut [f32], d: usize, scales: &[f32]) {
        for (x, scale) in x.chunks_exact_mut(d).zip(scales) {
            let mean = mean_of(x);
            for x in x {
                *x = (*x - mean) / scale;
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
    use crate::testing::{for_each_instruction_set, noise};

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
            for (y, exact) in layer_norm(&x, d, Some((&w, &b)), eps as f32).iter().zip(exact(
                &wide(&x),
                &wide(&w),
                &wide(&b),
                eps,
            )) {
                assert!((f64::from(*y) - exact).abs() < 2e-5, "{rows} x {d}");
            }
            let f = |x: &[f64], w: &[f64], b: &[f64]| -> f64 {
                exact(x, w, b, eps).iter().zip(&c).map(|(y, c)| y * f64::from(*c)).sum()
            };
            let slope = |of: &dyn Fn(f64) -> f64| (of(1e-4) - of(-1e-4)) / 2e-4;
            let gradients = layer_norm_backward(&x, d, Some(&w), eps as f32, &c);
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

    #[test]
    fn step_by_step_it_has_the_same_bits() {
        for_each_instruction_set(|set| {
            let (rows, d) = (140, 77);
            let (x, w, b) = (noise(rows * d, 1), noise(d, 2), noise(d, 3));
            let n = norm_divide(&x, d, &norm_scale(&x, d, 1e-5));
            assert_eq!(layer_norm(&x, d, None, 1e-5), n, "{set}");
            let y: Vec<f32> = n.iter().enumerate().map(|(i, n)| n * w[i % d] + b[i % d]).collect();
            assert_eq!(layer_norm(&x, d, Some((&w, &b)), 1e-5), y, "{set}");
            let ones = vec![1.0; d];
            let with = layer_norm_backward(&x, d, Some(&ones), 1e-5, &n);
            assert_eq!(layer_norm_backward(&x, d, None, 1e-5, &n).x, with.x, "{set}");
        });
    }
}
