//! Turning a matrix by blocks.
//!
//! The unembedding of a tied GPT-2 is its 50257 x 768 embedding turned; walking that column by
//! column misses the cache on every element and takes longer than reading the whole file.

use candle_core::{DType, Device, Storage, Tensor};
use microtome_kernels::{self as kernels, Matrix};

use crate::error::Result;

/// The matrix with its axes exchanged, row-major.
pub(super) fn transposed(matrix: &Tensor) -> Result<Tensor> {
    let (rows, columns) = matrix.dims2()?;
    let (storage, layout) = matrix.storage_and_layout();
    match (&*storage, matrix.dtype(), layout.contiguous_offsets()) {
        (Storage::Cpu(storage), DType::F32, Some((first, end))) => {
            let values = &storage.as_slice::<f32>()?[first..end];
            let turned = kernels::transposed(Matrix::dense(values, rows, columns));
            Ok(Tensor::from_vec(turned, (columns, rows), &Device::Cpu)?)
        }
        _ => Ok(matrix.t()?.contiguous()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_give_what_the_tensor_library_gives() {
        for (rows, columns) in [(1, 1), (3, 70), (32, 32), (33, 65), (100, 31)] {
            for dtype in [DType::F32, DType::F64] {
                let matrix = Tensor::arange(0f32, (rows * columns) as f32, &Device::Cpu).unwrap();
                let matrix = matrix.to_dtype(dtype).unwrap().reshape((rows, columns)).unwrap();
                for matrix in [matrix.clone(), matrix.t().unwrap()] {
                    let ours = transposed(&matrix).unwrap();
                    assert!(ours.is_contiguous());
                    let of = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
                    assert_eq!(of(&ours), of(&matrix.t().unwrap()));
                }
            }
        }
    }
}
