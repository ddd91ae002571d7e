//! A weight laid out for the products it will be in.
//!
//! ```text
//! [in, out]  ->  panels of 16 (AVX-512: 48) columns, each row after row:  [out / 16][in][16]
//! ```
//!
//! The last panel is filled up with zeros. A product then reads memory in one stream, and what one panel needs
//! stays in the nearest cache while all rows of the other matrix pass by. A library that takes any matrix
//! must bring it into such a form in every product, which for the few rows of an interactive tool costs more
//! than the product.

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use crate::instructions::InstructionSet;
use crate::matmul::Matrix;
use crate::simd::{Cache, Element, fetch};
use crate::tile::{Panels, panel_width};

/// How numbers of a packed weight are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As they are.
    F32,
    /// Rounded to bf16: eight significant bits, half the memory to read. Sums are still f32.
    Bf16,
}

/// A matrix `[in, out]` packed for one instruction set.
pub struct PackedMatrix {
    shape: (usize, usize),
    set: InstructionSet,
    values: Values,
}

/// Numbers of one kind.
pub(crate) enum Values {
    F32(Aligned<f32>),
    Bf16(Aligned<bf16>),
}

/// Panels whose sixteens begin where cache lines (or their halves) do.
pub(crate) struct Aligned<E> {
    lines: Vec<Line>,
    len: usize,
    kind: std::marker::PhantomData<E>,
}

#[repr(C, align(64))]
struct Line([u8; 64]);

impl<E: Element> Aligned<E> {
    /// Numbers that `fill` is the first to write, and whose memory it is the first to touch.
    ///
    /// # Safety
    /// `fill` writes all of them.
    unsafe fn filled(len: usize, fill: impl FnOnce(&mut [MaybeUninit<E>])) -> Aligned<E> {
        let n_lines = (len * size_of::<E>()).div_ceil(64);
        let mut lines: Vec<Line> = Vec::with_capacity(n_lines);
        if let Some(last) = lines.spare_capacity_mut()[..n_lines].last_mut() {
            last.write(Line([0; 64])); // where the numbers may end inside it
        }
        // SAFETY: the lines have room for `len` numbers from their aligned beginning; nothing is said of what they hold.
        fill(unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) });
        // SAFETY: the caller's promise; what follows the numbers in the last line was written before.
        unsafe { lines.set_len(n_lines) };
        Aligned { lines, len, kind: std::marker::PhantomData }
    }

    pub fn as_slice(&self) -> &[E] {
        // SAFETY: the lines hold at least `len` numbers from their aligned beginning, and any bytes are a
        // number of the two kinds there are.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let PackedMatrix { shape, set, .. } = self;
        f.debug_struct("PackedMatrix")
            .field("shape", shape)
            .field("set", set)
            .field("precision", &self.precision())
            .finish()
    }
}

/// Columns that one thread packs at a time: enough that what it reads of a row is not a single cache line.
const COLUMNS: usize = 192;

impl PackedMatrix {
    /// Packs a matrix for the instruction set in use.
    pub fn new(matrix: Matrix, precision: Precision) -> PackedMatrix {
        let set = InstructionSet::current();
        let values = match precision {
            Precision::F32 => Values::F32(pack(matrix, panel_width(set))),
            Precision::Bf16 => Values::Bf16(pack(matrix, panel_width(set))),
        };
        PackedMatrix { shape: matrix.shape(), set, values }
    }

    /// Rows and columns: inputs and outputs.
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// How its numbers are stored.
    pub fn precision(&self) -> Precision {
        match self.values {
            Values::F32(_) => Precision::F32,
            Values::Bf16(_) => Precision::Bf16,
        }
    }

    /// The instruction set it was packed for.
    pub fn instruction_set(&self) -> InstructionSet {
        self.set
    }

    /// Some of its columns, `[in, columns]`, row after row, as f32.
    ///
    /// # Panics
    /// Where they do not exist.
    pub fn columns(&self, columns: Range<usize>) -> Vec<f32> {
        assert!(columns.start <= columns.end && columns.end <= self.shape.1, "columns {columns:?}");
        match &self.values {
            Values::F32(values) => self.unpack(values.as_slice(), columns),
            Values::Bf16(values) => self.unpack(values.as_slice(), columns),
        }
    }

    fn unpack<E: Element>(&self, values: &[E], columns: Range<usize>) -> Vec<f32> {
        let width = panel_width(self.set);
        let panel_len = self.shape.0 * width;
        let mut out = vec![0.0; self.shape.0 * columns.len()];
        if out.is_empty() {
            return out;
        }
        out.par_chunks_mut(columns.len()).with_min_len(16).enumerate().for_each(|(row, out)| {
            for (x, column) in out.iter_mut().zip(columns.clone()) {
                *x = values[column / width * panel_len + row * width + column % width].value();
            }
        });
        out
    }

    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    /// Where a product finds the panels.
    pub(crate) fn panels<E: Element>(&self, values: &Aligned<E>) -> Panels<E> {
        let width = panel_width(self.set);
        let panel_stride = self.shape.0 * width;
        assert_eq!(values.len, self.shape.1.div_ceil(width) * panel_stride, "whole panels");
        Panels { from: values.as_slice().as_ptr(), panel_stride, row_stride: width }
    }
}

fn pack<E: Element>(matrix: Matrix, width: usize) -> Aligned<E> {
    let (rows, columns) = matrix.shape();
    let panel_len = rows * width;
    let panels_at_once = COLUMNS / width;
    let fill = |packed: &mut [MaybeUninit<E>]| {
        if packed.is_empty() {
            return;
        }
        packed.par_chunks_mut(panels_at_once * panel_len).enumerate().for_each(|(task, panels)| {
            let first = task * panels_at_once * width;
            match (matrix.neighbours_in_row(), matrix.neighbours_in_column()) {
                (true, _) => pack_rows(matrix, first, width, panels),
                (_, true) => pack_columns(matrix, first, width, panels),
                _ => {
                    for (at, x) in panels.iter_mut().enumerate() {
                        let (panel, row) = (at / panel_len, at % panel_len / width);
                        let column = first + panel * width + at % width;
                        x.write(if column < columns { E::of(matrix.at(row, column)) } else { E::ZERO });
                    }
                }
            }
        });
    };
    // SAFETY: whole panels are cut into pieces, in each of which every number of every row is written, as
    // padding where the matrix has no column.
    unsafe { Aligned::filled(columns.div_ceil(width) * panel_len, fill) }
}

/// Rows that are fetched before their turn.
const AHEAD: usize = 4;

/// Writes panels from column `first` on, where a row's values are neighbours.
fn pack_rows<E: Element>(matrix: Matrix, first: usize, width: usize, panels: &mut [MaybeUninit<E>]) {
    let (rows, columns) = matrix.shape();
    let panel_len = rows * width;
    let last = columns.min(first + panels.len() / rows);
    for row in 0..rows {
        let from = &matrix.row(row)[first..last];
        if row + AHEAD < rows {
            // A piece of a row is too short for the processor to see where this is going.
            matrix.row(row + AHEAD)[first..last]
                .chunks(16)
                .for_each(|line| fetch(line.as_ptr(), Cache::Nearest));
        }
        for (from, panel) in from.chunks(width).zip(panels.chunks_exact_mut(panel_len)) {
            let to = &mut panel[row * width..][..width];
            let (sixteens, rest) = from.as_chunks::<16>();
            for (to, from) in to.as_chunks_mut::<16>().0.iter_mut().zip(sixteens) {
                *to = from.map(|x| MaybeUninit::new(E::of(x)));
            }
            if from.len() < width {
                let (values, padding) = to[16 * sixteens.len()..].split_at_mut(rest.len());
                for (x, value) in values.iter_mut().zip(rest) {
                    x.write(E::of(*value));
                }
                padding.fill(MaybeUninit::new(E::ZERO));
            }
        }
    }
}

/// Writes panels from column `first` on, where a column's values are neighbours.
fn pack_columns<E: Element>(matrix: Matrix, first: usize, width: usize, panels: &mut [MaybeUninit<E>]) {
    let (rows, columns) = matrix.shape();
    let turned = matrix.transposed();
    for (panel, values) in panels.chunks_exact_mut(rows * width).enumerate() {
        let first = first + panel * width;
        let n_columns = width.min(columns - first);
        if n_columns < width {
            values.fill(MaybeUninit::new(E::ZERO));
        }
        let of_panel = turned.part(first..first + n_columns, 0..rows);
        E::turn(of_panel, values, width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{for_each_instruction_set, noise};

    #[test]
    fn a_matrix_unpacks_to_itself_whatever_its_strides() {
        for_each_instruction_set(|set| {
            for (rows, columns) in [(1, 1), (3, 50), (16, 16), (17, 401), (40, 193), (5, 0), (0, 5)] {
                let values = noise(2 * (rows + 1) * (columns + 1), 1);
                let layouts = [
                    (columns, 1),
                    (columns + 1, 1),
                    (1, rows),
                    (1, rows + 1),
                    (2 * columns, 2),
                    (2, 2 * rows),
                ];
                for strides in layouts {
                    let matrix = Matrix::new(&values, (rows, columns), strides);
                    let at = |i: usize| matrix.at(i / columns, i % columns);
                    let expected: Vec<f32> = (0..rows * columns).map(at).collect();
                    let packed = PackedMatrix::new(matrix, Precision::F32);
                    assert_eq!(packed.columns(0..columns), expected, "{set} {rows} {columns} {strides:?}");
                    let rounded: Vec<f32> = expected.iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
                    let packed = PackedMatrix::new(matrix, Precision::Bf16);
                    assert_eq!(packed.columns(0..columns), rounded, "{set} {rows} {columns} {strides:?}");
                }
            }
        });
    }
}
