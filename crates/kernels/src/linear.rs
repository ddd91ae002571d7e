//! `y = x W + b` and its derivatives.
//!
//! ```text
//! x  [rows, in]     W  [in, out], any strides     b  [out]     y  [rows, out]
//! dx = dy W^T       dW = x^T dy                   db = sum over rows of dy
//! ```

use rayon::prelude::*;

use crate::dispatch::vectorised;
use crate::matmul::{Matrix, MatrixMut, Threads, add_product, product};

/// The derivatives in a linear map's weight and bias.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearGradients {
    /// `[in, out]`, row after row.
    pub w: Vec<f32>,
    /// `[out]`
    pub b: Vec<f32>,
}

/// `x W + b`, `[rows, out]`.
///
/// # Panics
/// Where the shapes do not fit.
pub fn linear(x: Matrix, w: Matrix, b: &[f32]) -> Vec<f32> {
    let (rows, out) = (x.shape().0, w.shape().1);
    assert_eq!(b.len(), out, "one bias for each column");
    let mut y = Vec::with_capacity(rows * out);
    for _ in 0..rows {
        y.extend_from_slice(b);
    }
    add_product(MatrixMut::dense(&mut y, rows, out), 1.0, x, w, Threads::All);
    y
}

/// `dx`, `[rows, in]`.
///
/// # Panics
/// Where the shapes do not fit.
pub fn linear_input_gradient(w: Matrix, dy: Matrix) -> Vec<f32> {
    let (rows, d_in) = (dy.shape().0, w.shape().0);
    let mut dx = vec![0.0; rows * d_in];
    product(MatrixMut::dense(&mut dx, rows, d_in), 1.0, dy, w.transposed(), Threads::All);
    dx
}

/// `dW` and `db`; `dy` is `[rows, out]`, dense.
///
/// # Panics
/// Where the shapes do not fit.
pub fn linear_weight_gradients(x: Matrix, dy: &[f32], out: usize) -> LinearGradients {
    let (rows, d_in) = x.shape();
    let mut w = vec![0.0; d_in * out];
    let view = Matrix::dense(dy, rows, out);
    product(MatrixMut::dense(&mut w, d_in, out), 1.0, x.transposed(), view, Threads::All);
    LinearGradients { w, b: sum_of_rows(dy, out) }
}

/// Rows that one partial sum takes in.
pub(crate) const ROWS: usize = 128;

/// The sum of rows of `width` values.
fn sum_of_rows(x: &[f32], width: usize) -> Vec<f32> {
    let partial = |rows: &[f32]| {
        let mut sum = vec![0.0; width];
        add_rows(&mut sum, rows);
        sum
    };
    add_in_order(x.par_chunks(ROWS * width.max(1)).map(partial).collect(), width)
}

/// Partial sums added in their order.
pub(crate) fn add_in_order(parts: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut total = vec![0.0; width];
    for part in parts {
        add_rows(&mut total, &part);
    }
    total
}

vectorised! {
    fn add_rows(sum: &mut [f32], rows: &[f32]) {
        for row in rows.chunks_exact(sum.len()) {
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_those_of_a_sum_of_outputs() {
        // f = sum of c * y with random c: linear in each of x, W and b, so a unit step is its derivative.
        let (rows, d_in, out) = (300, 5, 7);
        let noise = |n: usize, salt: usize| -> Vec<f32> {
            (0..n).map(|i| ((i * 7 + salt * 13) % 17) as f32 / 8.0 - 1.0).collect()
        };
        let (x, w, b, c) = (noise(rows * d_in, 1), noise(d_in * out, 2), noise(out, 3), noise(rows * out, 4));
        let f = |x: &[f32], w: &[f32], b: &[f32]| -> f64 {
            let y = linear(Matrix::dense(x, rows, d_in), Matrix::dense(w, d_in, out), b);
            y.iter().zip(&c).map(|(y, c)| f64::from(*y) * f64::from(*c)).sum()
        };
        let base = f(&x, &w, &b);
        let stepped = |values: &[f32], at: usize| {
            let mut values = values.to_vec();
            values[at] += 1.0;
            values
        };
        let gradients = linear_weight_gradients(Matrix::dense(&x, rows, d_in), &c, out);
        for at in 0..w.len() {
            assert!((f(&x, &stepped(&w, at), &b) - base - f64::from(gradients.w[at])).abs() < 1e-2);
        }
        for at in 0..b.len() {
            assert!((f(&x, &w, &stepped(&b, at)) - base - f64::from(gradients.b[at])).abs() < 1e-2);
        }
        let dx = linear_input_gradient(Matrix::dense(&w, d_in, out), Matrix::dense(&c, rows, out));
        for at in (0..x.len()).step_by(37) {
            assert!((f(&stepped(&x, at), &w, &b) - base - f64::from(dx[at])).abs() < 1e-2);
        }
    }
}
