//! `y = x W + b`, what may follow at once, and the derivatives.
//!
//! ```text
//! x  [rows, in]     W  [in, out]     b  [out]     y  [rows, out]
//! dx = dy W^T       dW = x^T dy      db = sum over rows of dy
//! ```

use std::ops::Range;

use rayon::prelude::*;

use crate::dispatch::vectorised;
use crate::gelu::Gelu;
use crate::matmul::{Matrix, packed_product, packed_transposed_product, product, transposed};
use crate::packed::{PackedMatrix, Precision};
use crate::tile::Target;

/// What follows a linear map, done to its result before that leaves the cache.
#[derive(Debug, Clone, Copy)]
pub enum Then<'a> {
    /// Nothing.
    Keep,
    /// GELU.
    Gelu(Gelu),
    /// `residual + y`, of a dense `[rows, out]`.
    AddTo(&'a [f32]),
}

/// `x W + b` for some columns of `W`, `[rows, columns]`, and what follows it. `b` is the bias of those columns.
///
/// # Panics
/// Where the shapes do not fit.
pub fn linear(x: Matrix, w: &PackedMatrix, columns: Range<usize>, b: &[f32], then: Then) -> Vec<f32> {
    let out = columns.len();
    assert_eq!(b.len(), out, "one bias for each column");
    if let Then::AddTo(residual) = then {
        assert_eq!(residual.len(), x.shape().0 * out, "one value to add to for each result");
    }
    packed_product(x, w, columns, |y, row, first| {
        let b = &b[first..first + y.len()];
        match then {
            Then::Keep => add(y, b),
            Then::Gelu(gelu) => {
                add(y, b);
                gelu.in_place(y);
            }
            Then::AddTo(residual) => add_both(y, b, &residual[row * out + first..][..y.len()]),
        }
    })
}

/// GELU of `x W + b` and its slope there, both `[rows, out]`: what a derivative needs of a map that a GELU follows.
///
/// # Panics
/// Where the shapes do not fit.
pub fn linear_and_gelu(x: Matrix, w: &PackedMatrix, b: &[f32], gelu: Gelu) -> (Vec<f32>, Vec<f32>) {
    let (rows, out) = (x.shape().0, w.shape().1);
    assert_eq!(b.len(), out, "one bias for each column");
    let mut values: Vec<f32> = Vec::with_capacity(rows * out);
    let target = Target { to: values.as_mut_ptr(), row_stride: out };
    let slopes = packed_product(x, w, 0..out, |y, row, first| {
        add(y, &b[first..first + y.len()]);
        let to = target.after(row * out + first).to.cast();
        // SAFETY: there is room for `rows out` values, and this piece of this row is nobody else's.
        gelu.with_slope(y, unsafe { std::slice::from_raw_parts_mut(to, y.len()) });
    });
    // SAFETY: the product has as many values, and where each was finished one was written here.
    unsafe { values.set_len(slopes.len()) };
    (values, slopes)
}

/// `dx`, `[rows, in]`, from dense rows of `dy`.
///
/// # Panics
/// Where the shapes do not fit.
pub fn linear_input_gradient(w: &PackedMatrix, dy: &[f32]) -> Vec<f32> {
    packed_transposed_product(dy, w)
}

/// `dx`, `[rows, in]`, for a weight that is not packed.
///
/// # Panics
/// Where the shapes do not fit.
pub fn linear_input_gradient_of(w: Matrix, dy: Matrix) -> Vec<f32> {
    product(dy, w.transposed())
}

/// The same through a function of each number that came before the map, by its slopes, dense `[rows, in]`.
///
/// # Panics
/// Where the shapes do not fit.
pub fn linear_input_gradient_through(w: Matrix, dy: Matrix, slopes: &[f32]) -> Vec<f32> {
    let d_in = w.shape().0;
    assert_eq!(slopes.len(), dy.shape().0 * d_in, "one slope for each result");
    let w = PackedMatrix::new(w.transposed(), Precision::F32);
    packed_product(dy, &w, 0..d_in, |dx, row, first| {
        multiply(dx, &slopes[row * d_in + first..][..dx.len()]);
    })
}

/// `dW`, `[in, out]`, row after row; `dy` is `[rows, out]`, dense.
///
/// # Panics
/// Where the shapes do not fit.
pub fn linear_weight_gradient(x: Matrix, dy: &[f32], out: usize) -> Vec<f32> {
    let (rows, d_in) = x.shape();
    let dy = Matrix::dense(dy, rows, out);
    // A product turns its left matrix and packs its right one, which is quicker: the narrower of the two goes left.
    match d_in <= out {
        true => product(x.transposed(), dy),
        false => transposed(Matrix::dense(&product(dy.transposed(), x), out, d_in)),
    }
}

/// `db`, `[out]`; `dy` is `[rows, out]`, dense.
pub fn linear_bias_gradient(dy: &[f32], out: usize) -> Vec<f32> {
    sum_of_rows(dy, out)
}

vectorised! {
    fn add(y: &mut [f32], b: &[f32]) {
        for (y, b) in y.iter_mut().zip(b) {
            *y += b;
        }
    }
}

vectorised! {
    fn multiply(y: &mut [f32], by: &[f32]) {
        for (y, by) in y.iter_mut().zip(by) {
            *y *= by;
        }
    }
}

vectorised! {
    fn add_both(y: &mut [f32], b: &[f32], residual: &[f32]) {
        for ((y, b), residual) in y.iter_mut().zip(b).zip(residual) {
            *y = residual + (*y + b);
        }
    }
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
    use crate::testing::{for_each_instruction_set, noise};

    #[test]
    fn derivatives_are_those_of_a_sum_of_outputs() {
        // f = sum of c * y with random c: linear in each of x, W and b, so a unit step is its derivative.
        derivatives_of_a_sum_of_outputs(300, 5, 7);
        derivatives_of_a_sum_of_outputs(300, 7, 5);
    }

    fn derivatives_of_a_sum_of_outputs(rows: usize, d_in: usize, out: usize) {
        let (x, w, b, c) = (noise(rows * d_in, 1), noise(d_in * out, 2), noise(out, 3), noise(rows * out, 4));
        let f = |x: &[f32], w: &[f32], b: &[f32]| -> f64 {
            let w = PackedMatrix::new(Matrix::dense(w, d_in, out), Precision::F32);
            let y = linear(Matrix::dense(x, rows, d_in), &w, 0..out, b, Then::Keep);
            y.iter().zip(&c).map(|(y, c)| f64::from(*y) * f64::from(*c)).sum()
        };
        let base = f(&x, &w, &b);
        let stepped = |values: &[f32], at: usize| {
            let mut values = values.to_vec();
            values[at] += 1.0;
            values
        };
        let dw = linear_weight_gradient(Matrix::dense(&x, rows, d_in), &c, out);
        let db = linear_bias_gradient(&c, out);
        assert_eq!((dw.len(), db.len()), (w.len(), b.len()));
        for (at, dw) in dw.iter().enumerate() {
            assert!((f(&x, &stepped(&w, at), &b) - base - f64::from(*dw)).abs() < 1e-2);
        }
        for (at, db) in db.iter().enumerate() {
            assert!((f(&x, &w, &stepped(&b, at)) - base - f64::from(*db)).abs() < 1e-2);
        }
        let view = Matrix::dense(&w, d_in, out);
        let packed = PackedMatrix::new(view, Precision::F32);
        let dx = linear_input_gradient(&packed, &c);
        let plain = linear_input_gradient_of(view, Matrix::dense(&c, rows, out));
        for at in (0..x.len()).step_by(37) {
            assert!((f(&stepped(&x, at), &w, &b) - base - f64::from(dx[at])).abs() < 1e-2);
            assert!((dx[at] - plain[at]).abs() < 1e-5);
        }
    }

    #[test]
    fn what_follows_changes_no_bit_of_what_it_would_do_by_itself() {
        for_each_instruction_set(|set| {
            let (rows, d_in, out) = (13, 37, 501);
            let (x, w, b) = (noise(rows * d_in, 1), noise(d_in * out, 2), noise(out, 3));
            let (residual, w_values) = (noise(rows * out, 4), w);
            let w = PackedMatrix::new(Matrix::dense(&w_values, d_in, out), Precision::F32);
            let of = |then: Then| linear(Matrix::dense(&x, rows, d_in), &w, 0..out, &b, then);
            let plain = of(Then::Keep);
            let sum: Vec<f32> = residual.iter().zip(&plain).map(|(r, y)| r + y).collect();
            assert_eq!(of(Then::AddTo(&residual)), sum, "{set}");
            for gelu in [Gelu::ByErf, Gelu::ByTanh] {
                assert_eq!(of(Then::Gelu(gelu)), gelu.of(&plain), "{set}");
                let (values, slopes) = linear_and_gelu(Matrix::dense(&x, rows, d_in), &w, &b, gelu);
                assert_eq!(values, gelu.of(&plain), "{set}");
                assert_eq!(slopes, gelu.backward(&plain, &vec![1.0; plain.len()]), "{set}");
                let (w, dy) = (Matrix::dense(&w_values, d_in, out), Matrix::dense(&plain, rows, out));
                let slopes = gelu.backward(&x, &vec![1.0; x.len()]);
                let through = linear_input_gradient_through(w, dy, &slopes);
                assert_eq!(through, gelu.backward(&x, &linear_input_gradient_of(w, dy)), "{set}");
            }
        });
    }
}
