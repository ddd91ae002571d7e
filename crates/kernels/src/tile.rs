//! Pieces of a matrix product that fit the registers, and the loops around them that fit the caches.
//!
//! ```text
//! block   out[r, c]  = sum over s of left[r, s] right[s, c]       sums over s in order, one rounding each
//! dots    out[r, c]  = factor * sum over s of left[r, s] right[c, s]   in sixteen parts, then Sixteen::sum
//! ```
//!
//! Every number of a result is made by the same operations in the same order whatever block, row count or
//! thread it belongs to, and in every instruction set. So a row has the same bits alone and in a batch.

use std::ops::Range;

use crate::instructions::InstructionSet;
#[cfg(target_arch = "aarch64")]
use crate::simd::Neon;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Cache, Element, Scalar, Sixteen, fetch};

/// Where the values of a matrix stand: `(row, column)` at `from + row * row_stride + column * column_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Strided<E> {
    pub from: *const E,
    pub row_stride: usize,
    pub column_stride: usize,
}

/// The right matrix of a product: columns in panels, `panel_stride` apart, each with rows of neighbouring
/// values `row_stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Panels<E> {
    pub from: *const E,
    pub panel_stride: usize,
    pub row_stride: usize,
}

/// Where a result goes: dense rows, `row_stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub to: *mut f32,
    pub row_stride: usize,
}

impl<E> Panels<E> {
    /// Rows `first..` of the matrix.
    pub fn after_rows(self, first: usize) -> Panels<E> {
        Panels { from: self.from.wrapping_add(first * self.row_stride), ..self }
    }
}

impl Target {
    /// The same `by` values further on.
    pub fn after(self, by: usize) -> Target {
        Target { to: self.to.wrapping_add(by), ..self }
    }

    /// The same `by` values further back.
    pub fn before(self, by: usize) -> Target {
        Target { to: self.to.wrapping_sub(by), ..self }
    }
}

// SAFETY: these say where values are; what may be done there, and by whom at a time, is what the unsafe functions
// that take them ask.
unsafe impl<E: Sync> Send for Strided<E> {}
// SAFETY: as above.
unsafe impl<E: Sync> Sync for Strided<E> {}
// SAFETY: as above.
unsafe impl<E: Sync> Send for Panels<E> {}
// SAFETY: as above.
unsafe impl<E: Sync> Sync for Panels<E> {}
// SAFETY: as above.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

/// A part of a product: these rows of the left matrix and columns of the right one. `out` is where row 0 and
/// the right matrix's column 0 would go.
#[derive(Clone)]
pub(crate) struct Block<E> {
    pub left: Strided<f32>,
    pub right: Panels<E>,
    pub depth: usize,
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    pub out: Target,
    /// Adds to what is there.
    pub adds: bool,
}

/// Columns of a panel, as a matrix is packed for this instruction set.
pub(crate) fn panel_width(set: InstructionSet) -> usize {
    match set {
        InstructionSet::Avx512 => 48,
        _ => 16,
    }
}

/// Rows a tile has.
pub(crate) fn tile_rows(set: InstructionSet) -> usize {
    match set {
        InstructionSet::Scalar => 4,
        InstructionSet::Neon | InstructionSet::Avx2 => 6,
        InstructionSet::Avx512 => 8,
    }
}

/// Computes a block of a product with a matrix packed for `set`.
///
/// # Safety
/// The processor has `set`; the left matrix and the target are valid for the block's rows and columns, the
/// right one for whole panels; nobody else touches the target meanwhile.
pub(crate) unsafe fn packed_block<E: Element>(set: InstructionSet, block: &Block<E>) {
    // SAFETY: the caller's promise is the one asked for.
    unsafe {
        match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => x86::packed_avx512(block),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => x86::packed_avx2(block),
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => walk::<Neon, E, 6, 1>(block, 384),
            _ => walk::<Scalar, E, 4, 1>(block, 384),
        }
    }
}

/// Computes a block of a product with a matrix in place, where `columns` are whole groups of sixteen.
///
/// # Safety
/// The processor has the set in use; the matrices and the target are valid for the block's rows and columns;
/// nobody else touches the target meanwhile.
pub(crate) unsafe fn placed_block(block: &Block<f32>) {
    debug_assert!(block.columns.start.is_multiple_of(16) && block.columns.end.is_multiple_of(16));
    // SAFETY: the caller's promise is the one asked for.
    unsafe {
        match InstructionSet::current() {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => x86::placed_avx512(block),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => x86::packed_avx2(block),
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => walk::<Neon, f32, 6, 1>(block, 384),
            _ => walk::<Scalar, f32, 4, 1>(block, 384),
        }
    }
}

/// `out = factor left right^T`, where the rows of both are neighbouring values.
#[derive(Clone, Copy)]
pub(crate) struct Dots<E> {
    /// `[rows, len]`; its column stride is 1.
    pub left: Strided<f32>,
    /// Row `c` of the right matrix stands at `right.row_stride * c`, its values `16 * wide` at a time in panels.
    pub right: Panels<E>,
    /// Groups of sixteen in one panel.
    pub wide: usize,
    /// Whether the right matrix's rows go on with zeros to a whole group.
    pub padded: bool,
    pub len: usize,
    pub rows: usize,
    /// Of the right matrix.
    pub columns: usize,
    pub factor: f32,
    pub out: Target,
}

/// Computes dot products of rows.
///
/// # Safety
/// The processor has the set in use; the left matrix and the target are valid for the rows and columns, the
/// right matrix for `len` values of each row, and for whole groups of sixteen where it is padded; nobody else
/// touches the target meanwhile.
pub(crate) unsafe fn dots<E: Element>(dots: &Dots<E>) {
    // SAFETY: the caller's promise is the one asked for.
    unsafe {
        match InstructionSet::current() {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => x86::dots_avx512(dots),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => x86::dots_avx2(dots),
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => walk_dots::<Neon, E, 2, 2>(dots),
            _ => walk_dots::<Scalar, E, 2, 2>(dots),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;

    // Each of these is its loop compiled for an instruction set; what it asks of its caller is what the loop
    // asks, and a processor that has the set.

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub unsafe fn packed_avx512<E: Element>(block: &Block<E>) {
        // SAFETY: the caller's promise; the features are those of this function.
        unsafe { walk::<Avx512, E, 8, 3>(block, 768) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub unsafe fn placed_avx512(block: &Block<f32>) {
        // SAFETY: the caller's promise; the features are those of this function.
        unsafe { walk::<Avx512, f32, 8, 1>(block, 768) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn packed_avx2<E: Element>(block: &Block<E>) {
        // SAFETY: the caller's promise; the features are those of this function.
        unsafe { walk::<Avx2, E, 6, 1>(block, 768) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub unsafe fn dots_avx512<E: Element>(dots: &Dots<E>) {
        // SAFETY: the caller's promise; the features are those of this function.
        unsafe { walk_dots::<Avx512, E, 4, 4>(dots) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn dots_avx2<E: Element>(dots: &Dots<E>) {
        // SAFETY: the caller's promise; the features are those of this function.
        unsafe { walk_dots::<Avx2, E, 2, 2>(dots) }
    }
}

/// Calls a function with a number of rows below nine as a constant.
macro_rules! with_rows {
    ($n:expr, $rows:ident => $call:expr) => {
        match $n {
            1 => {
                const $rows: usize = 1;
                $call
            }
            2 => {
                const $rows: usize = 2;
                $call
            }
            3 => {
                const $rows: usize = 3;
                $call
            }
            4 => {
                const $rows: usize = 4;
                $call
            }
            5 => {
                const $rows: usize = 5;
                $call
            }
            6 => {
                const $rows: usize = 6;
                $call
            }
            7 => {
                const $rows: usize = 7;
                $call
            }
            _ => {}
        }
    };
}

/// A block, tile by tile: `depth_block` steps of one panel at a time, which stay in the nearest cache while all
/// rows pass by.
///
/// # Safety
/// As [`packed_block`].
#[inline(always)]
unsafe fn walk<S: Sixteen, E: Element, const ROWS: usize, const WIDE: usize>(
    block: &Block<E>,
    depth_block: usize,
) {
    let width = 16 * WIDE;
    let Block { left, right, depth, rows, columns, out, adds } = block;
    let mut first = 0;
    loop {
        let steps = depth_block.min(depth - first);
        for panel in columns.start / width..columns.end.div_ceil(width) {
            let from = columns.start.max(panel * width);
            let to = columns.end.min((panel + 1) * width);
            let inside = from - panel * width..to - panel * width;
            let mut row = rows.start;
            // SAFETY: rows, columns and steps are those of the block.
            unsafe {
                let here = right.from.add(panel * right.panel_stride + first * right.row_stride);
                let tile = |row: usize| Tile {
                    left: left.from.add(row * left.row_stride + first * left.column_stride),
                    left_row: left.row_stride,
                    left_step: left.column_stride,
                    right: here,
                    next: here.wrapping_add(right.panel_stride),
                    right_row: right.row_stride,
                    steps,
                    out: out.after(row * out.row_stride + panel * width),
                    adds: *adds || first > 0,
                };
                while row + ROWS <= rows.end {
                    // The second rows, with their panel in the cache, have the next one fetched meanwhile.
                    match row == rows.start + ROWS {
                        true => tile(row).compute::<S, ROWS, WIDE, true>(inside.clone()),
                        false => tile(row).compute::<S, ROWS, WIDE, false>(inside.clone()),
                    }
                    row += ROWS;
                }
                with_rows!(rows.end - row, REST => tile(row).compute::<S, REST, WIDE, false>(inside));
            }
        }
        first += steps;
        if first >= *depth {
            break;
        }
    }
}

/// A tile with its first row and column in place.
struct Tile<E> {
    left: *const f32,
    left_row: usize,
    left_step: usize,
    right: *const E,
    /// The next panel.
    next: *const E,
    right_row: usize,
    steps: usize,
    out: Target,
    adds: bool,
}

impl<E> Clone for Tile<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Tile<E> {}

impl<E: Element> Tile<E> {
    /// Writes columns `inside` of the tile. With `FETCH` the next panel is fetched into the second cache meanwhile.
    ///
    /// # Safety
    /// As [`packed_block`], for `ROWS` rows.
    #[inline(always)]
    unsafe fn compute<S: Sixteen, const ROWS: usize, const WIDE: usize, const FETCH: bool>(
        &self,
        inside: Range<usize>,
    ) {
        // SAFETY: the caller's promise; the buffer has room for the whole tile.
        unsafe {
            if inside == (0..16 * WIDE) {
                return self.whole::<S, ROWS, WIDE, FETCH>();
            }
            let mut buffer = [[0.0f32; 48]; 8];
            let narrow = |row: usize| self.out.to.wrapping_add(row * self.out.row_stride + inside.start);
            let count = inside.len();
            if self.adds {
                for (row, line) in buffer.iter_mut().enumerate().take(ROWS) {
                    std::ptr::copy_nonoverlapping(narrow(row), line.as_mut_ptr().add(inside.start), count);
                }
            }
            let out = Target { to: buffer.as_mut_ptr().cast(), row_stride: 48 };
            Tile { out, ..*self }.whole::<S, ROWS, WIDE, FETCH>();
            for (row, line) in buffer.iter().enumerate().take(ROWS) {
                std::ptr::copy_nonoverlapping(line.as_ptr().add(inside.start), narrow(row), count);
            }
        }
    }

    /// # Safety
    /// As [`Tile::compute`], for all columns of the tile.
    #[inline(always)]
    unsafe fn whole<S: Sixteen, const ROWS: usize, const WIDE: usize, const FETCH: bool>(&self) {
        // SAFETY: the caller's promise: `ROWS` rows, `steps` steps and `16 WIDE` columns are valid.
        unsafe {
            let mut sums = [[S::splat(0.0); WIDE]; ROWS];
            if self.adds {
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = S::load(self.out.to.add(row * self.out.row_stride + 16 * j));
                    }
                }
            }
            // Behind the box the compiler does not know that the rows stand one stride apart. It would step from
            // one to the next, each address waiting for the one before.
            let rows: [*const f32; ROWS] = std::array::from_fn(|row| self.left.add(row * self.left_row));
            let rows = std::hint::black_box(rows);
            let (mut at, mut right, mut next, mut left) = (0, self.right, self.next, self.steps);
            // Two steps at a time where their distance is known here: the loop itself costs a tenth of one.
            if self.left_step == 1 && self.right_row == 16 * WIDE {
                while left >= 2 {
                    step::<S, E, ROWS, WIDE, FETCH>(&mut sums, &rows, at, right, next);
                    let (second, second_next) = (right.add(16 * WIDE), next.wrapping_add(16 * WIDE));
                    step::<S, E, ROWS, WIDE, FETCH>(&mut sums, &rows, at + 1, second, second_next);
                    at += 2;
                    right = right.wrapping_add(2 * 16 * WIDE);
                    next = next.wrapping_add(2 * 16 * WIDE);
                    left -= 2;
                }
            }
            for _ in 0..left {
                step::<S, E, ROWS, WIDE, FETCH>(&mut sums, &rows, at, right, next);
                at += self.left_step;
                right = right.wrapping_add(self.right_row);
                next = next.wrapping_add(self.right_row);
            }
            for (row, sums) in sums.iter().enumerate() {
                for (j, sum) in sums.iter().enumerate() {
                    S::store(self.out.to.add(row * self.out.row_stride + 16 * j), *sum);
                }
            }
        }
    }
}

/// One step of a tile: a number of each row times a row of the panel.
///
/// # Safety
/// As [`packed_block`], for the number `at` of each row and the row of the panel.
#[inline(always)]
unsafe fn step<S: Sixteen, E: Element, const ROWS: usize, const WIDE: usize, const FETCH: bool>(
    sums: &mut [[S::V; WIDE]; ROWS],
    rows: &[*const f32; ROWS],
    at: usize,
    right: *const E,
    next: *const E,
) {
    // SAFETY: the caller's promise; what is fetched need not be valid.
    unsafe {
        let mut b = [S::splat(0.0); WIDE];
        for (j, b) in b.iter_mut().enumerate() {
            *b = E::load::<S>(right.add(16 * j));
            if FETCH {
                fetch(next.wrapping_add(16 * j), Cache::Second);
            }
        }
        for (row, sums) in rows.iter().zip(sums) {
            let a = S::splat(*row.add(at));
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = S::mul_add(a, b, *sum);
            }
        }
    }
}

/// # Safety
/// As [`dots`].
#[inline(always)]
unsafe fn walk_dots<S: Sixteen, E: Element, const ROWS: usize, const COLUMNS: usize>(dots: &Dots<E>) {
    // A few rows of the right matrix stay in the nearest cache while all rows of the left one pass by.
    let mut column = 0;
    while column < dots.columns {
        let whole_columns = column + COLUMNS <= dots.columns;
        let mut row = 0;
        while row < dots.rows {
            // SAFETY: rows and columns are those of the dots.
            unsafe {
                match (row + ROWS <= dots.rows, whole_columns) {
                    (true, true) => dots_tile::<S, E, ROWS, COLUMNS>(dots, row, column),
                    (true, false) => dots_tile::<S, E, ROWS, 1>(dots, row, column),
                    (false, true) => dots_tile::<S, E, 1, COLUMNS>(dots, row, column),
                    (false, false) => dots_tile::<S, E, 1, 1>(dots, row, column),
                }
            }
            row += if row + ROWS <= dots.rows { ROWS } else { 1 };
        }
        column += if whole_columns { COLUMNS } else { 1 };
    }
}

/// # Safety
/// As [`dots`], for the rows and columns of the tile.
#[inline(always)]
unsafe fn dots_tile<S: Sixteen, E: Element, const ROWS: usize, const COLUMNS: usize>(
    dots: &Dots<E>,
    row: usize,
    column: usize,
) {
    let Dots { left, right, wide, padded, len, .. } = *dots;
    // SAFETY: the caller's promise: the rows are valid for `len` values, on the right perhaps for whole groups;
    // a last group that is not whole is copied to where it is.
    unsafe {
        let left_rows = left.from.add(row * left.row_stride);
        let right_rows = right.from.add(column * right.row_stride);
        let mut sums = [[S::splat(0.0); COLUMNS]; ROWS];
        let groups = len.div_ceil(16);
        let (mut panel, mut inside) = (right_rows, 0);
        for group in 0..groups {
            let mut a = [S::splat(0.0); ROWS];
            let rest = len - 16 * group;
            for (i, a) in a.iter_mut().enumerate() {
                let from = left_rows.add(i * left.row_stride + 16 * group);
                *a = if rest >= 16 { S::load(from) } else { load_part::<S, f32>(from, rest) };
            }
            let mut b = [S::splat(0.0); COLUMNS];
            for (j, b) in b.iter_mut().enumerate() {
                let from = panel.add(j * right.row_stride + 16 * inside);
                *b = if padded || rest >= 16 { E::load::<S>(from) } else { load_part::<S, E>(from, rest) };
            }
            for (a, sums) in a.iter().zip(&mut sums) {
                for (b, sum) in b.iter().zip(sums) {
                    *sum = S::mul_add(*a, *b, *sum);
                }
            }
            inside += 1;
            if inside == wide {
                (panel, inside) = (panel.wrapping_add(right.panel_stride), 0);
            }
        }
        let mut whole = [[0.0f32; COLUMNS]; ROWS];
        S::sum_each(sums.as_flattened(), whole.as_flattened_mut());
        for (i, whole) in whole.iter().enumerate() {
            for (j, sum) in whole.iter().enumerate() {
                *dots.out.to.add((row + i) * dots.out.row_stride + column + j) = dots.factor * sum;
            }
        }
    }
}

/// Fewer than sixteen values, and zeros.
///
/// # Safety
/// As [`Sixteen`] says, for `count` values.
#[inline(always)]
unsafe fn load_part<S: Sixteen, E: Element>(from: *const E, count: usize) -> S::V {
    let mut whole = [E::ZERO; 16];
    // SAFETY: the caller's promise; `count` is below sixteen.
    unsafe {
        std::ptr::copy_nonoverlapping(from, whole.as_mut_ptr(), count);
        E::load::<S>(whole.as_ptr())
    }
}
