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
use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use crate::instructions::InstructionSet;
use crate::matmul::Matrix;
use crate::simd::Element;
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

#[derive(Clone)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl<E: Element> Aligned<E> {
    fn zeros(len: usize) -> Aligned<E> {
        let lines = vec![Line([0; 64]); (len * size_of::<E>()).div_ceil(64)];
        Aligned { lines, len, kind: std::marker::PhantomData }
    }

    pub fn as_slice(&self) -> &[E] {
        // SAFETY: the lines hold at least `len` numbers from their aligned beginning, and any bytes are a
        // number of the two kinds there are.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    fn as_mut_slice(&mut self) -> &mut [E] {
        // SAFETY: as above, and any number of the two kinds is as good as its bytes.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
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
    let mut packed = Aligned::zeros(columns.div_ceil(width) * panel_len);
    if packed.len == 0 {
        return packed;
    }
    let panels_at_once = COLUMNS / width;
    packed.as_mut_slice().par_chunks_mut(panels_at_once * panel_len).enumerate().for_each(
        |(task, panels)| {
            let first = task * panels_at_once * width;
            for row in 0..rows {
                for (panel, values) in panels.chunks_exact_mut(panel_len).enumerate() {
                    let first = first + panel * width;
                    let line = &mut values[row * width..][..width];
                    for (x, column) in line.iter_mut().zip(first..columns) {
                        *x = E::of(matrix.at(row, column));
                    }
                }
            }
        },
    );
    packed
}
