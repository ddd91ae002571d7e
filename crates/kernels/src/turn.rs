//! Rows to columns: the transpose of a matrix, block by block, so that each cache line is read and written once.

use std::ops::Range;

use crate::simd::{Cache, fetch};
use crate::tile::{Strided, Target};

/// Rows and columns of a block: a cache line of f32 in both directions.
const SIDE: usize = 16;

/// Writes `from[row][column]` to `to[column][row]` for these rows and columns of `from`, whose rows are of neighbouring
/// values.
///
/// # Safety
/// `from` has column stride 1; it is valid for the rows and columns, `to` for as many columns and rows, which overlap
/// nothing and which nobody else touches meanwhile.
pub(crate) unsafe fn turn(from: Strided<f32>, rows: Range<usize>, columns: Range<usize>, to: Target) {
    // SAFETY: the caller's promise; the instruction set in use is one this processor has.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        {
            use crate::instructions::InstructionSet;
            if matches!(InstructionSet::current(), InstructionSet::Avx2 | InstructionSet::Avx512) {
                return avx2::turn(from, rows, columns, to);
            }
        }
        blocks(rows, columns, |rows, columns| one_by_one(from, rows, columns, to));
    }
}

/// Calls a function with the rows and columns of every block.
#[inline(always)]
fn blocks(rows: Range<usize>, columns: Range<usize>, mut each: impl FnMut(Range<usize>, Range<usize>)) {
    for row in rows.clone().step_by(SIDE) {
        for column in columns.clone().step_by(SIDE) {
            each(row..(row + SIDE).min(rows.end), column..(column + SIDE).min(columns.end));
        }
    }
}

/// # Safety
/// As [`turn`].
#[inline(always)]
unsafe fn one_by_one(from: Strided<f32>, rows: Range<usize>, columns: Range<usize>, to: Target) {
    for column in columns {
        for row in rows.clone() {
            // SAFETY: the caller's promise.
            unsafe {
                *to.to.add(column * to.row_stride + row) = *from.from.add(row * from.row_stride + column)
            };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::*;

    /// # Safety
    /// As [`super::turn`], on a processor with AVX2.
    #[target_feature(enable = "avx2")]
    pub unsafe fn turn(from: Strided<f32>, rows: Range<usize>, columns: Range<usize>, to: Target) {
        blocks(rows, columns, |rows, columns| {
            // SAFETY: the caller's promise: blocks lie inside the rows and columns.
            unsafe {
                if rows.len() < SIDE || columns.len() < SIDE {
                    return one_by_one(from, rows, columns, to);
                }
                // The rows of the next block lie too far apart for the processor to see where this is going.
                for row in rows.end..rows.end + SIDE {
                    fetch(from.from.wrapping_add(row * from.row_stride + columns.start), Cache::Nearest);
                }
                for row in rows.step_by(8) {
                    for column in columns.clone().step_by(8) {
                        eight_by_eight(
                            Strided { from: from.from.add(row * from.row_stride + column), ..from },
                            to.after(column * to.row_stride + row),
                        );
                    }
                }
            }
        });
    }

    /// # Safety
    /// Both are valid for eight rows of eight; the processor has AVX2.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn eight_by_eight(from: Strided<f32>, to: Target) {
        // SAFETY: the caller's promise.
        let row: [__m256; 8] =
            std::array::from_fn(|i| unsafe { _mm256_loadu_ps(from.from.add(i * from.row_stride)) });
        // Two rows woven together, then four, then the halves exchanged.
        let low = |i: usize| _mm256_unpacklo_ps(row[2 * i], row[2 * i + 1]);
        let high = |i: usize| _mm256_unpackhi_ps(row[2 * i], row[2 * i + 1]);
        let pairs = [low(0), high(0), low(1), high(1), low(2), high(2), low(3), high(3)];
        let first = |a: usize| _mm256_shuffle_ps::<0x44>(pairs[a], pairs[a + 2]);
        let second = |a: usize| _mm256_shuffle_ps::<0xEE>(pairs[a], pairs[a + 2]);
        let fours = [first(0), second(0), first(1), second(1), first(4), second(4), first(5), second(5)];
        for i in 0..4 {
            // SAFETY: the caller's promise.
            unsafe {
                let (a, b) = (fours[i], fours[i + 4]);
                _mm256_storeu_ps(to.to.add(i * to.row_stride), _mm256_permute2f128_ps::<0x20>(a, b));
                _mm256_storeu_ps(to.to.add((i + 4) * to.row_stride), _mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_each_instruction_set;

    #[test]
    fn every_value_is_where_it_belongs_and_nothing_else_is_touched() {
        for_each_instruction_set(|set| {
            for (rows, columns) in [(1, 1), (8, 8), (16, 16), (17, 33), (48, 16), (5, 70), (0, 3), (40, 0)] {
                let (wide, tall) = (columns + 3, rows + 2);
                let from: Vec<f32> = (0..(rows + 1) * wide).map(|i| i as f32).collect();
                let mut to = vec![-1.0; (columns + 1) * tall];
                let source = Strided { from: from.as_ptr(), row_stride: wide, column_stride: 1 };
                let target = Target { to: to.as_mut_ptr(), row_stride: tall };
                // All but the first row and column, where there are more.
                let (first_row, first_column) = (rows.min(1), columns.min(1));
                // SAFETY: `from` and `to` have room for all of them.
                unsafe { turn(source, first_row..rows, first_column..columns, target) };
                for column in 0..=columns {
                    for row in 0..tall {
                        let turned =
                            (first_row..rows).contains(&row) && (first_column..columns).contains(&column);
                        let expected = if turned { from[row * wide + column] } else { -1.0 };
                        assert_eq!(to[column * tall + row], expected, "{set} {rows} {columns}");
                    }
                }
            }
        });
    }
}
