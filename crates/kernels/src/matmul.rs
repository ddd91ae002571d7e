//! Matrix products: with a weight packed once, and of any two matrices.
//!
//! A product is cut into blocks of rows and columns, a good many for each thread; `tile.rs` computes a block.
//! How it is cut changes no bit of the result. What is cut may change threads one by one (`with_max_len(1)`): left to
//! itself rayon ties a quarter of all blocks to the thread that began with them.

use std::ops::Range;

use rayon::prelude::*;

use crate::instructions::InstructionSet;
use crate::packed::{PackedMatrix, Precision, Values};
use crate::simd::Element;
use crate::tile::{self, Block, Dots, Panels, Strided, Target, tile_rows};
use crate::turn::turn;

/// A matrix inside a slice: element `(row, column)` stands at `row * row_stride + column * column_stride`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
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

    /// One value.
    #[inline(always)]
    pub(crate) fn at(&self, row: usize, column: usize) -> f32 {
        self.data[row * self.row_stride + column * self.column_stride]
    }

    /// Whether the values of a row stand side by side.
    pub(crate) fn neighbours_in_row(&self) -> bool {
        self.column_stride == 1 || self.columns <= 1
    }

    /// Whether the values of a column stand side by side.
    pub(crate) fn neighbours_in_column(&self) -> bool {
        self.row_stride == 1 || self.rows <= 1
    }

    /// A row whose values stand side by side.
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        debug_assert!(self.neighbours_in_row());
        &self.data[row * self.row_stride..][..self.columns]
    }

    /// Where its rows are.
    ///
    /// # Panics
    /// Where they are not of neighbouring values.
    pub(crate) fn whole_rows(&self) -> Strided<f32> {
        assert!(self.neighbours_in_row(), "rows of neighbouring values");
        Strided { column_stride: 1, ..self.strided() }
    }

    fn strided(&self) -> Strided<f32> {
        let (row_stride, column_stride) = (self.row_stride, self.column_stride);
        Strided { from: self.data.as_ptr(), row_stride, column_stride }
    }

    /// Some of its rows and columns.
    ///
    /// # Panics
    /// Where they do not exist.
    pub fn part(self, rows: Range<usize>, columns: Range<usize>) -> Matrix<'a> {
        assert!(rows.end <= self.rows && columns.end <= self.columns, "a part of a matrix");
        let first = rows.start * self.row_stride + columns.start * self.column_stride;
        let data = self.data.get(first..).unwrap_or(&[]);
        Matrix::new(data, (rows.len(), columns.len()), (self.row_stride, self.column_stride))
    }

    /// Rows and columns.
    pub fn shape(self) -> (usize, usize) {
        (self.rows, self.columns)
    }
}

/// `a w` for some columns of `w`, `[rows, columns]`. Each piece of a row of the result is given to `finish` when
/// its sums are complete, with its row and first column.
///
/// # Panics
/// Where the shapes do not fit.
pub(crate) fn packed_product(
    a: Matrix,
    w: &PackedMatrix,
    columns: Range<usize>,
    finish: impl Fn(&mut [f32], usize, usize) + Sync,
) -> Vec<f32> {
    let (d_in, d_out) = w.shape();
    assert_eq!(a.columns, d_in, "inputs of a packed matrix");
    assert!(columns.start <= columns.end && columns.end <= d_out, "columns {columns:?} of {d_out}");
    match w.values() {
        Values::F32(values) => blocks(a, w, w.panels(values), columns, finish),
        Values::Bf16(values) => blocks(a, w, w.panels(values), columns, finish),
    }
}

/// Rows of one block: as many as have their part of the left matrix, a few hundred steps wide, in the second cache.
const BLOCK_ROWS: usize = 192;

/// Columns of one block at most, so that its result is still in the second cache when it is finished.
const BLOCK_COLUMNS: usize = 192;

/// Blocks for each thread: with fewer, one waits too long for the other's last.
const PER_THREAD: usize = 16;

fn blocks<E: Element>(
    a: Matrix,
    w: &PackedMatrix,
    right: Panels<E>,
    columns: Range<usize>,
    finish: impl Fn(&mut [f32], usize, usize) + Sync,
) -> Vec<f32> {
    let (m, n, set) = (a.rows, columns.len(), w.instruction_set());
    let mut out: Vec<f32> = Vec::with_capacity(m * n);
    if m == 0 || n == 0 {
        return out;
    }
    let row_blocks = m.div_ceil(BLOCK_ROWS);
    let rows = m.div_ceil(row_blocks).next_multiple_of(tile_rows(set));
    let tasks = PER_THREAD * rayon::current_num_threads();
    let width = tile::panel_width(set);
    let column_blocks = tasks.div_ceil(row_blocks).max(n.div_ceil(BLOCK_COLUMNS));
    let wide = n.div_ceil(column_blocks).next_multiple_of(width);
    // A block's columns end where panels do.
    let first_panel = columns.start / width * width;
    let column_blocks = (columns.end - first_panel).div_ceil(wide);
    let target = Target { to: out.as_mut_ptr(), row_stride: n };
    let mut turned = vec![];
    let a = in_rows(a, &mut turned);
    let left = a.strided();
    (0..row_blocks * column_blocks).into_par_iter().with_max_len(1).for_each(|task| {
        let (row, column) = (task / column_blocks * rows, first_panel + task % column_blocks * wide);
        let rows = row.min(m)..(row + rows).min(m);
        let columns_here = column.max(columns.start)..(column + wide).min(columns.end);
        // SAFETY: the set is one this processor has, or `w` could not have been made. The left matrix was
        // checked when it was made and has as many columns as the right one has rows; the panels are whole.
        // The target has room for `m n` values, row 0 and column `columns.start` being its first, and the
        // blocks do not overlap. The pieces given to `finish` lie in this block and have just been written.
        unsafe {
            let out = target.before(columns.start);
            let block = Block {
                left,
                right,
                depth: a.columns,
                rows: rows.clone(),
                columns: columns_here.clone(),
                out,
                adds: false,
            };
            tile::packed_block(set, &block);
            for row in rows {
                let first = columns_here.start - columns.start;
                let piece = target.after(row * n + first).to;
                finish(std::slice::from_raw_parts_mut(piece, columns_here.len()), row, first);
            }
        }
    });
    // SAFETY: the blocks cover all `m n` values.
    unsafe { out.set_len(m * n) };
    out
}

/// The same matrix, in memory of its own where its columns are neighbouring values instead of its rows. A tile reads
/// rows of the left matrix a step at a time: down a column that is a cache line for each step, and at some widths all of
/// them want the same place in the cache.
fn in_rows<'a>(a: Matrix<'a>, turned: &'a mut Vec<f32>) -> Matrix<'a> {
    if a.neighbours_in_row() || !a.neighbours_in_column() {
        return a;
    }
    *turned = transposed(a.transposed());
    Matrix::dense(turned, a.rows, a.columns)
}

/// Rows and columns exchanged, `[columns, rows]`, row after row. The rows of `matrix` must be neighbouring values.
///
/// # Panics
/// Where they are not.
pub fn transposed(matrix: Matrix) -> Vec<f32> {
    /// Columns one thread turns at a time.
    const SLAB: usize = 16;
    let (rows, columns) = matrix.shape();
    let from = matrix.whole_rows();
    let mut out: Vec<f32> = Vec::with_capacity(rows * columns);
    let to = Target { to: out.as_mut_ptr(), row_stride: rows };
    (0..columns.div_ceil(SLAB)).into_par_iter().with_max_len(1).for_each(|slab| {
        let slab = slab * SLAB..((slab + 1) * SLAB).min(columns);
        // SAFETY: the view was checked when it was made, and that its rows are of neighbouring values just now; there is
        // room for all columns, of which each task writes its own.
        unsafe { turn(from, 0..rows, slab, to) };
    });
    // SAFETY: every row of every column has been written.
    unsafe { out.set_len(rows * columns) };
    out
}

/// `dy w^T`, `[rows, in]`, from dense rows of `dy`: the derivative in what a packed matrix multiplies. Read from
/// the panels as they are.
///
/// # Panics
/// Where the shapes do not fit.
pub(crate) fn packed_transposed_product(dy: &[f32], w: &PackedMatrix) -> Vec<f32> {
    let d_out = w.shape().1;
    assert!(d_out > 0 && dy.len().is_multiple_of(d_out), "rows of {d_out} values");
    let dy = Matrix::dense(dy, dy.len() / d_out, d_out);
    match w.values() {
        Values::F32(values) => by_transpose(dy, w, w.panels(values)),
        Values::Bf16(values) => by_transpose(dy, w, w.panels(values)),
    }
}

fn by_transpose<E: Element>(dy: Matrix, w: &PackedMatrix, panels: Panels<E>) -> Vec<f32> {
    /// Inputs one thread computes at a time.
    const INPUTS: usize = 12;
    let (rows, d_in) = (dy.rows, w.shape().0);
    let mut out: Vec<f32> = Vec::with_capacity(rows * d_in);
    let target = Target { to: out.as_mut_ptr(), row_stride: d_in };
    let wide = tile::panel_width(w.instruction_set()) / 16;
    (0..d_in.div_ceil(INPUTS)).into_par_iter().with_max_len(1).for_each(|task| {
        let first = task * INPUTS;
        let left = dy.strided();
        // SAFETY: the set in use is one this processor has. `dy` is dense and has a value for each column of
        // `w`, whose panels are filled up with zeros. The target has room for `rows d_in` values, and each
        // task writes columns of its own.
        unsafe {
            let (right, out) = (panels.after_rows(first), target.after(first));
            let columns = INPUTS.min(d_in - first);
            let len = dy.columns;
            tile::dots(&Dots { left, right, wide, padded: true, len, rows, columns, factor: 1.0, out });
        }
    });
    // SAFETY: the tasks wrote all of them.
    unsafe { out.set_len(rows * d_in) };
    out
}

/// `a b`, of any two matrices. Each task packs what it multiplies by itself, in pieces that are still in the second cache
/// when they are read.
///
/// # Panics
/// Where the shapes do not fit.
pub(crate) fn product(a: Matrix, b: Matrix) -> Vec<f32> {
    /// Columns of a task: whole panels of every instruction set.
    const COLUMNS: usize = 48;
    /// Rows of `b` in a piece.
    const DEPTH: usize = 768;
    /// Tasks for each thread; rows are cut only where columns do not make as many, since each cut packs `b` once more.
    const TASKS: usize = 4;
    assert_eq!(a.columns, b.rows, "inputs of a product");
    let (m, depth, n, set) = (a.rows, a.columns, b.columns, InstructionSet::current());
    let mut out: Vec<f32> = Vec::with_capacity(m * n);
    if m == 0 || n == 0 {
        return out;
    }
    let mut turned = vec![];
    let a = in_rows(a, &mut turned);
    let column_blocks = n.div_ceil(COLUMNS);
    let row_blocks = (TASKS * rayon::current_num_threads()).div_ceil(column_blocks);
    let rows = m.div_ceil(row_blocks).next_multiple_of(tile_rows(set));
    let row_blocks = m.div_ceil(rows);
    let target = Target { to: out.as_mut_ptr(), row_stride: n };
    (0..row_blocks * column_blocks).into_par_iter().with_max_len(1).for_each(|task| {
        let (row, column) = (task / column_blocks * rows, task % column_blocks * COLUMNS);
        let (rows, columns) = (row..(row + rows).min(m), column..(column + COLUMNS).min(n));
        // Once at least: without a step the sums are 0.
        for first in (0..depth.max(1)).step_by(DEPTH) {
            let steps = first..(first + DEPTH).min(depth);
            let piece = PackedMatrix::new(b.part(steps.clone(), columns.clone()), Precision::F32);
            let Values::F32(values) = piece.values() else { unreachable!("packed as f32") };
            for row in rows.clone().step_by(BLOCK_ROWS) {
                let block = Block {
                    left: a.part(0..m, steps.clone()).strided(),
                    right: piece.panels(values),
                    depth: steps.len(),
                    rows: row..(row + BLOCK_ROWS).min(rows.end),
                    columns: 0..columns.len(),
                    out: target.after(columns.start),
                    adds: first > 0,
                };
                // SAFETY: the set is in use, so the processor has it. The left matrix has all rows and these steps, the
                // panels are whole. The target has room for `m n` values, and the tasks' blocks do not overlap.
                unsafe { tile::packed_block(set, &block) };
            }
        }
    });
    // SAFETY: the tasks cover all `m n` values.
    unsafe { out.set_len(m * n) };
    out
}

/// `out = a b`, or `out += a b`, on this thread and without packing: for the small matrices of one head. The
/// rows of `b` must be neighbouring values.
///
/// # Safety
/// `out` is valid for the result and overlaps neither matrix, and nobody else touches it meanwhile.
pub(crate) unsafe fn placed_product(out: Target, adds: bool, a: Matrix, b: Matrix) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert!(k == b.rows && (b.column_stride == 1 || n <= 1), "shapes of a product in place");
    if m == 0 || n == 0 {
        return;
    }
    let groups = n - n % 16;
    // SAFETY: the set in use is one this processor has; the views were checked when they were made; the caller
    // answers for `out`.
    unsafe {
        if groups > 0 {
            let right = Panels { from: b.data.as_ptr(), panel_stride: 16, row_stride: b.row_stride };
            let (left, columns) = (a.strided(), 0..groups);
            tile::placed_block(&Block { left, right, depth: k, rows: 0..m, columns, out, adds });
        }
        for row in 0..m {
            for column in groups..n {
                let to = out.to.add(row * out.row_stride + column);
                let before = if adds { *to } else { 0.0 };
                *to = (0..k).fold(before, |sum, i| a.at(row, i).mul_add(b.at(i, column), sum));
            }
        }
    }
}

/// `out = factor a b^T` on this thread. The rows of both must be neighbouring values.
///
/// # Safety
/// As [`placed_product`].
pub(crate) unsafe fn dot_products(out: Target, factor: f32, a: Matrix, b: Matrix) {
    let len = a.columns;
    assert!(len == b.columns, "rows of one length");
    assert!(len <= 1 || (a.column_stride == 1 && b.column_stride == 1), "rows of neighbouring values");
    let right = Panels { from: b.data.as_ptr(), panel_stride: 16, row_stride: b.row_stride };
    let (left, rows, columns) = (a.strided(), a.rows, b.rows);
    // SAFETY: the set in use is one this processor has; the views were checked when they were made; the caller
    // answers for `out`.
    unsafe { tile::dots(&Dots { left, right, wide: 1, padded: false, len, rows, columns, factor, out }) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{for_each_instruction_set, noise};

    /// The definition, in f64.
    fn exact(a: Matrix, b: Matrix) -> Vec<f64> {
        let at = |m: Matrix, row, column| f64::from(m.at(row, column));
        (0..a.rows * b.columns)
            .map(|i| (0..a.columns).map(|k| at(a, i / b.columns, k) * at(b, k, i % b.columns)).sum())
            .collect()
    }

    const SHAPES: [(usize, usize, usize); 12] = [
        (1, 1, 1),
        (3, 5, 7),
        (17, 33, 9),
        (64, 24, 64),
        (5, 0, 3),
        (0, 4, 4),
        (130, 70, 1),
        (1, 800, 16),
        (7, 385, 97),
        (8, 769, 48),
        (200, 31, 401),
        (2, 16, 1000),
    ];

    #[test]
    fn products_are_their_definition_at_odd_shapes_strides_and_columns() {
        for_each_instruction_set(|set| {
            for (m, k, n) in SHAPES {
                for (padding, transposed) in [(0, false), (2, false), (0, true)] {
                    let (a, b) = (noise(m * (k + padding), 1), noise(k * (n + padding), 2));
                    let (a, b) = match transposed {
                        false => (
                            Matrix::new(&a, (m, k), (k + padding, 1)),
                            Matrix::new(&b, (k, n), (n + padding, 1)),
                        ),
                        true => (Matrix::dense(&a, k, m).transposed(), Matrix::dense(&b, n, k).transposed()),
                    };
                    let expected = exact(a, b);
                    let packed = PackedMatrix::new(b, Precision::F32);
                    assert_eq!(
                        product(a, b),
                        packed_product(a, &packed, 0..n, |_, _, _| {}),
                        "{set} {m} {k} {n}"
                    );
                    for columns in [0..n, n / 3..n, 0..n / 2, n / 2..(n / 2 + 1).min(n)] {
                        let y = packed_product(a, &packed, columns.clone(), |_, _, _| {});
                        assert_eq!(y.len(), m * columns.len());
                        for (i, y) in y.iter().enumerate() {
                            let column = columns.start + i % columns.len();
                            let expected = expected[i / columns.len() * n + column];
                            let error = (f64::from(*y) - expected).abs();
                            assert!(error < 2e-6 * (k as f64 + 1.0), "{set} {m} {k} {n} {columns:?}");
                        }
                    }
                }
            }
        });
    }

    #[test]
    fn all_instruction_sets_give_the_same_bits_for_one_row_and_for_many() {
        let (m, k, n) = (29, 800, 100);
        let (a, b) = (noise(m * k, 1), noise(k * n, 2));
        let mut first: Option<(Vec<f32>, Vec<f32>)> = None;
        for_each_instruction_set(|set| {
            let packed = PackedMatrix::new(Matrix::dense(&b, k, n), Precision::F32);
            let y = packed_product(Matrix::dense(&a, m, k), &packed, 0..n, |_, _, _| {});
            let alone = packed_product(Matrix::dense(&a[k..2 * k], 1, k), &packed, 3..n, |_, _, _| {});
            assert_eq!(alone, y[n + 3..2 * n], "{set}");
            let back = packed_transposed_product(&y, &packed);
            let first = first.get_or_insert_with(|| (y.clone(), back.clone()));
            assert!(*first == (y, back), "{set}");
        });
    }

    #[test]
    fn the_product_with_the_transpose_is_its_definition() {
        for_each_instruction_set(|set| {
            for (m, k, n) in SHAPES.into_iter().filter(|shape| shape.2 > 0) {
                for precision in [Precision::F32, Precision::Bf16] {
                    let (dy, b) = (noise(m * n, 1), noise(k * n, 2));
                    let packed = PackedMatrix::new(Matrix::dense(&b, k, n), precision);
                    let stored = packed.columns(0..n);
                    let dx = packed_transposed_product(&dy, &packed);
                    let expected = exact(Matrix::dense(&dy, m, n), Matrix::dense(&stored, k, n).transposed());
                    assert_eq!(dx.len(), expected.len());
                    for (dx, expected) in dx.iter().zip(expected) {
                        assert!(
                            (f64::from(*dx) - expected).abs() < 2e-6 * (n as f64 + 1.0),
                            "{set} {m} {k} {n}"
                        );
                    }
                }
            }
        });
    }

    #[test]
    fn a_bf16_weight_is_multiplied_as_it_is_stored() {
        for_each_instruction_set(|set| {
            let (m, k, n) = (5, 67, 53);
            let (a, b) = (noise(m * k, 1), noise(k * n, 2));
            let packed = PackedMatrix::new(Matrix::dense(&b, k, n), Precision::Bf16);
            let stored = packed.columns(0..n);
            assert!(b.iter().zip(&stored).all(|(b, s)| (b - s).abs() <= b.abs() / 256.0) && b != stored);
            let y = packed_product(Matrix::dense(&a, m, k), &packed, 0..n, |_, _, _| {});
            assert_eq!(y, product(Matrix::dense(&a, m, k), Matrix::dense(&stored, k, n)), "{set}");
        });
    }

    #[test]
    fn products_in_place_write_nothing_but_their_result() {
        for_each_instruction_set(|set| {
            for (m, k, n) in SHAPES {
                for adds in [false, true] {
                    let (a, b) = (noise(m * k, 1), noise(k * (n + 2), 2));
                    let a = Matrix::dense(&a, m, k);
                    let b = Matrix::new(&b, (k, n), (n + 2, 1));
                    let before = noise(m * (n + 3), 3);
                    let mut out = before.clone();
                    let target = Target { to: out.as_mut_ptr(), row_stride: n + 3 };
                    // SAFETY: `out` has `m` rows of `n + 3` values.
                    unsafe { placed_product(target, adds, a, b) };
                    let expected = exact(a, b);
                    for (at, (out, before)) in out.iter().zip(&before).enumerate() {
                        let (row, column) = (at / (n + 3), at % (n + 3));
                        if column >= n {
                            assert_eq!(out, before);
                            continue;
                        }
                        let expected =
                            expected[row * n + column] + if adds { f64::from(*before) } else { 0.0 };
                        assert!(
                            (f64::from(*out) - expected).abs() < 2e-6 * (k as f64 + 1.0),
                            "{set} {m} {k} {n}"
                        );
                    }
                    let (a, b) = (noise(m * k, 1), noise(n * k, 4));
                    let (a, b) = (Matrix::dense(&a, m, k), Matrix::dense(&b, n, k));
                    // SAFETY: as above.
                    unsafe { dot_products(target, 0.5, a, b) };
                    for (i, expected) in exact(a, b.transposed()).into_iter().enumerate() {
                        let error = (f64::from(out[i / n * (n + 3) + i % n]) - 0.5 * expected).abs();
                        assert!(error < 2e-6 * (k as f64 + 1.0), "{set} {m} {k} {n}");
                    }
                }
            }
        });
    }

    #[test]
    fn infinities_nan_zeros_and_denormals_go_through_as_they_should() {
        for_each_instruction_set(|set| {
            let n = 21;
            let mut b = vec![0.0f32; 2 * n];
            (b[0], b[1], b[2], b[n + 3]) = (f32::INFINITY, f32::NAN, 1e-40, 1.0);
            let packed = PackedMatrix::new(Matrix::dense(&b, 2, n), Precision::F32);
            let y = packed_product(Matrix::dense(&[1.0, -2.0], 1, 2), &packed, 0..n, |_, _, _| {});
            assert_eq!((y[0], y[2], y[3]), (f32::INFINITY, 1e-40, -2.0), "{set}");
            assert!(y[1].is_nan() && y[4..].iter().all(|y| *y == 0.0), "{set}");
        });
    }

    #[test]
    #[should_panic(expected = "matrix of strides")]
    fn a_view_past_the_end_of_its_slice_is_refused() {
        Matrix::new(&[0.0; 10], (3, 4), (4, 1));
    }

    #[test]
    #[should_panic(expected = "rows of neighbouring values")]
    fn a_view_column_by_column_is_not_turned_as_if_it_were_rows() {
        transposed(Matrix::dense(&[0.0; 6], 2, 3).transposed());
    }

    #[test]
    #[should_panic(expected = "inputs of a product")]
    fn a_product_of_shapes_that_do_not_fit_is_refused() {
        product(Matrix::dense(&[0.0; 6], 2, 3), Matrix::dense(&[0.0; 6], 2, 3));
    }
}
