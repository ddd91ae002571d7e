//! GELU by the tanh approximation, GPT-2's `gelu_new`, without a tanh.
//!
//! ```text
//! u  = sqrt(2 / pi) (x + 0.044715 x^3)
//! y  = x sigmoid(2u)                          (= x (1 + tanh u) / 2)
//! dy/dx = s + 2 x s (1 - s) u',  s = sigmoid(2u),  u' = sqrt(2 / pi) (1 + 3 * 0.044715 x^2)
//! ```

use rayon::prelude::*;

use crate::dispatch::vectorised;
use crate::exp::sigmoid;

/// `sqrt(2 / pi)`
const SCALE: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;
/// Values one thread takes at a time.
const CHUNK: usize = 1 << 13;

/// `gelu_new` of every value.
pub fn gelu_new(x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| forward(y, x));
    y
}

/// `dy` times the derivative at `x`.
///
/// # Panics
/// Where the lengths differ.
pub fn gelu_new_backward(x: &[f32], dy: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), dy.len(), "one derivative for each value");
    let mut dx = dy.to_vec();
    dx.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(dx, x)| backward(dx, x));
    dx
}

vectorised! {
    fn forward(y: &mut [f32], x: &[f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * sigmoid(2.0 * SCALE * (x + CUBE * x * x * x));
        }
    }
}

vectorised! {
    fn backward(dx: &mut [f32], x: &[f32]) {
        for (dx, &x) in dx.iter_mut().zip(x) {
            // Past +-10 the derivative is 0 or 1 in f32; without the bound the product of a square and
            // a vanishing factor would be a NaN.
            let x = x.clamp(-10.0, 10.0);
            let s = sigmoid(2.0 * SCALE * (x + CUBE * x * x * x));
            *dx *= s + 2.0 * x * s * (1.0 - s) * SCALE * (1.0 + 3.0 * CUBE * x * x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(x: f64) -> f64 {
        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
    }

    #[test]
    fn it_is_its_definition_to_f32_rounding_everywhere() {
        let x: Vec<f32> = (-40_000..=40_000).map(|i| i as f32 * 5e-4).chain([-1e30, 1e30, 0.0]).collect();
        for (x, y) in x.iter().zip(gelu_new(&x)) {
            // Relative to x, not to the result: far to the left the result is a difference of halves.
            let x = f64::from(*x);
            assert!((f64::from(y) - exact(x)).abs() <= 4e-7 * x.abs().max(1e-3), "{x} {y}");
        }
    }

    #[test]
    fn the_derivative_is_that_of_the_definition() {
        let x: Vec<f32> = (-3_000..=3_000).map(|i| i as f32 * 4e-3).chain([-1e30, 1e30]).collect();
        for (x, dx) in x.iter().zip(gelu_new_backward(&x, &vec![2.0; x.len()])) {
            let x = f64::from(*x);
            let h = 1e-5 * x.abs().max(1.0);
            let slope = (exact(x + h) - exact(x - h)) / (2.0 * h);
            assert!((f64::from(dx) - 2.0 * slope).abs() < 4e-6, "{x} {dx} {slope}");
        }
    }
}
