//! Matrix products on strided slices, by the `gemm` crate.

/// A matrix inside a slice: element `(row, column)` stands at `row * row_stride + column * column_stride`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// A matrix to be written, row after row, `row_stride` apart.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

/// How many threads one product may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The caller's only.
    One,
    /// All of the pool.
    All,
}

/// Panics unless every element of such a matrix lies inside `len` values.
fn check(len: usize, rows: usize, columns: usize, row_stride: usize, column_stride: usize) {
    let last = match rows == 0 || columns == 0 {
        true => return,
        false => (rows - 1) * row_stride + (columns - 1) * column_stride,
    };
    assert!(
        last < len,
        "a {rows} x {columns} matrix of strides {row_stride}, {column_stride} in {len} values"
    );
}

impl<'a> Matrix<'a> {
    /// A view with any strides.
    ///
    /// # Panics
    /// Where an element would lie outside the slice.
    pub fn new(data: &'a [f32], shape: (usize, usize), strides: (usize, usize)) -> Matrix<'a> {
        check(data.len(), shape.0, shape.1, strides.0, strides.1);
        Matrix { data, rows: shape.0, columns: shape.1, row_stride: strides.0, column_stride: strides.1 }
    }

    /// Rows one after the other.
    ///
    /// # Panics
    /// As [`Matrix::new`].
    pub fn dense(data: &'a [f32], rows: usize, columns: usize) -> Matrix<'a> {
        Matrix::new(data, (rows, columns), (columns, 1))
    }

    /// The same values, rows and columns exchanged.
    pub fn transposed(self) -> Matrix<'a> {
        Matrix {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// Rows and columns.
    pub fn shape(self) -> (usize, usize) {
        (self.rows, self.columns)
    }
}

impl<'a> MatrixMut<'a> {
    /// A view with rows `row_stride` apart.
    ///
    /// # Panics
    /// Where an element would lie outside the slice, or rows overlap.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> MatrixMut<'a> {
        assert!(row_stride >= columns || rows <= 1, "rows of {columns} only {row_stride} apart");
        check(data.len(), rows, columns, row_stride, 1);
        MatrixMut { data, rows, columns, row_stride }
    }

    /// Rows one after the other.
    ///
    /// # Panics
    /// As [`MatrixMut::new`].
    pub fn dense(data: &'a mut [f32], rows: usize, columns: usize) -> MatrixMut<'a> {
        MatrixMut::new(data, rows, columns, columns)
    }
}

/// `out = factor a b`.
///
/// # Panics
/// Where the shapes do not fit.
pub fn product(out: MatrixMut, factor: f32, a: Matrix, b: Matrix, threads: Threads) {
    multiply(out, false, factor, a, b, threads);
}

/// `out += factor a b`.
///
/// # Panics
/// Where the shapes do not fit.
pub fn add_product(out: MatrixMut, factor: f32, a: Matrix, b: Matrix, threads: Threads) {
    multiply(out, true, factor, a, b, threads);
}

fn multiply(out: MatrixMut, adds: bool, factor: f32, a: Matrix, b: Matrix, threads: Threads) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert_eq!((k, out.rows, out.columns), (b.rows, m, n), "shapes of a matrix product");
    if m == 0 || n == 0 {
        return;
    }
    let parallelism = match threads {
        Threads::One => gemm::Parallelism::None,
        Threads::All => gemm::Parallelism::Rayon(0),
    };
    let stride = |stride: usize| isize::try_from(stride).expect("a slice is no longer than isize::MAX");
    let (a_cs, a_rs) = (stride(a.column_stride), stride(a.row_stride));
    let (b_cs, b_rs) = (stride(b.column_stride), stride(b.row_stride));
    // SAFETY: the views were checked when they were made: every element of `a`, `b` and `out` with these
    // shapes and strides lies in its slice. The rows of `out` do not overlap, and it is borrowed mutably,
    // so it overlaps neither `a` nor `b`. `out` holds initialised values, read where `adds`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.data.as_mut_ptr(),
            1,
            stride(out.row_stride),
            adds,
            a.data.as_ptr(),
            a_cs,
            a_rs,
            b.data.as_ptr(),
            b_cs,
            b_rs,
            1.0,
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn products_equal_their_definition_at_odd_shapes_and_strides() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (17, 33, 9), (64, 24, 64), (5, 0, 3), (0, 4, 4), (130, 70, 1)]
        {
            for transposed in [false, true] {
                for adds in [false, true] {
                    let (a, b) = (noise(m * k, 1), noise(k * (n + 2), 2));
                    let a_view = match transposed {
                        false => Matrix::dense(&a, m, k),
                        true => Matrix::dense(&a, k, m).transposed(),
                    };
                    let b_view = Matrix::new(&b, (k, n), (n + 2, 1));
                    let before = noise(m * (n + 3), 3);
                    let mut out = before.clone();
                    multiply(MatrixMut::new(&mut out, m, n, n + 3), adds, 0.5, a_view, b_view, Threads::All);
                    for row in 0..m {
                        for column in 0..n + 3 {
                            let at = row * (n + 3) + column;
                            let expected = if column < n {
                                let a_at =
                                    |i: usize| if transposed { a[i * m + row] } else { a[row * k + i] };
                                let sum: f64 = (0..k)
                                    .map(|i| f64::from(a_at(i)) * f64::from(b[i * (n + 2) + column]))
                                    .sum();
                                0.5 * sum + if adds { f64::from(before[at]) } else { 0.0 }
                            } else {
                                f64::from(before[at]) // between the rows nothing is written
                            };
                            assert!((f64::from(out[at]) - expected).abs() < 1e-5, "{m} {k} {n} at {at}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "matrix of strides")]
    fn a_view_past_the_end_of_its_slice_is_refused() {
        Matrix::new(&[0.0; 10], (3, 4), (4, 1));
    }
}
