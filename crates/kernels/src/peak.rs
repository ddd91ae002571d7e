//! The most arithmetic the processor can do: what a product is compared with.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use crate::instructions::InstructionSet;
use crate::matmul::Matrix;
use crate::packed::{PackedMatrix, Precision, Values};
use crate::tile::{Block, Panels, Strided, Target, packed_block, panel_width, tile_rows};

/// Floating-point operations a second, in GFLOP/s, of products so small that everything stays in the nearest
/// cache, on all threads: the best of some tries, about a second in all.
pub fn peak_gflops() -> f64 {
    const DEPTH: usize = 256;
    const TILES: usize = 20_000;
    let set = InstructionSet::current();
    let (rows, columns) = (tile_rows(set), panel_width(set));
    let threads = rayon::current_num_threads();
    let once = || {
        let start = Instant::now();
        (0..threads).into_par_iter().for_each(|_| {
            let left = vec![1.0f32; rows * DEPTH];
            let right = PackedMatrix::new(Matrix::dense(&left, DEPTH, 1), Precision::F32);
            let Values::F32(right) = right.values() else { unreachable!("packed as f32") };
            let mut out = vec![0.0f32; rows * columns];
            for _ in 0..TILES {
                let block = Block {
                    left: Strided { from: black_box(left.as_ptr()), row_stride: DEPTH, column_stride: 1 },
                    right: Panels { from: right.as_slice().as_ptr(), panel_stride: 0, row_stride: columns },
                    depth: DEPTH,
                    rows: 0..rows,
                    columns: 0..columns,
                    out: Target { to: out.as_mut_ptr(), row_stride: columns },
                    adds: false,
                };
                // SAFETY: the set is in use, so the processor has it; the vectors have room for one tile and
                // `DEPTH` steps.
                unsafe { packed_block(set, &block) };
            }
            black_box(&out);
        });
        (2 * threads * TILES * rows * columns * DEPTH) as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(|_| once()).fold(0.0, f64::max)
}
