//! Turning a matrix, in tiles.
//!
//! The unembedding of a tied GPT-2 is its 50257 x 768 embedding turned; walking that column by
//! column misses the cache on every element and takes longer than reading the whole file.

use candle_core::{DType, Device, Storage, Tensor, WithDType};
use rayon::prelude::*;

use crate::error::Result;

/// Rows and columns of a tile: two of them (source and result) fit the first-level cache.
const TILE: usize = 32;

/// The matrix with its axes exchanged, row-major.
pub(super) fn transposed(matrix: &Tensor) -> Result<Tensor> {
    match matrix.dtype() {
        DType::F64 => transposed_as::<f64>(matrix),
        _ => transposed_as::<f32>(matrix),
    }
}

fn transposed_as<T: WithDType>(matrix: &Tensor) -> Result<Tensor> {
    let (rows, cols) = matrix.dims2()?;
    let (storage, layout) = matrix.storage_and_layout();
    let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        return Ok(matrix.t()?.contiguous()?);
    };
    let source = &storage.as_slice::<T>()?[start..end];
    let mut turned = vec![T::zero(); rows * cols];
    // One strip of the result, TILE of its rows, per task.
    turned.par_chunks_mut((TILE * rows).max(1)).enumerate().for_each(|(strip, out)| {
        let first_col = strip * TILE;
        for first_row in (0..rows).step_by(TILE) {
            let last_row = (first_row + TILE).min(rows);
            for (i, out_row) in out.chunks_exact_mut(rows).enumerate() {
                for (row, x) in (first_row..last_row).zip(&mut out_row[first_row..last_row]) {
                    *x = source[row * cols + first_col + i];
                }
            }
        }
    });
    Ok(Tensor::from_vec(turned, (cols, rows), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_give_what_the_tensor_library_gives() {
        for (rows, cols) in [(1, 1), (3, 70), (32, 32), (33, 65), (100, 31)] {
            let matrix = Tensor::arange(0f32, (rows * cols) as f32, &Device::Cpu).unwrap();
            let matrix = matrix.reshape((rows, cols)).unwrap();
            let ours = transposed(&matrix).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(ours, matrix.t().unwrap().to_vec2::<f32>().unwrap());
        }
    }
}
