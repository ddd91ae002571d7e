//! A linear map as a model holds it: two tensors, or packed for the processor.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use microtome_kernels as kernels;
use microtome_kernels::PackedMatrix;

use crate::error::Result;
use crate::model::Precision;
use crate::ops;
use crate::weights::Linear;

/// `x W + b`.
#[derive(Debug, Clone)]
pub enum LinearMap {
    /// Tensors, which may be variables.
    Plain(Linear),
    /// Laid out for products on this processor; fixed.
    Packed(Arc<PackedLinear>),
}

/// A packed weight and its bias.
#[derive(Debug)]
pub struct PackedLinear {
    pub(crate) w: PackedMatrix,
    /// `[out]`
    pub(crate) b: Tensor,
}

impl LinearMap {
    /// Packs a map that lies on the CPU as f32; any other stays where it is, its matrix rounded if asked.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) where the tensor's numbers cannot be read.
    pub(crate) fn pack(map: Linear, precision: Precision) -> Result<LinearMap> {
        if !ops::has_kernels(&map.w) {
            return Ok(LinearMap::Plain(match precision {
                Precision::F32 => map,
                Precision::Bf16 => {
                    let w = map.w.to_dtype(DType::BF16)?.to_dtype(map.w.dtype())?;
                    Linear { w, b: map.b }
                }
            }));
        }
        let precision = match precision {
            Precision::F32 => kernels::Precision::F32,
            Precision::Bf16 => kernels::Precision::Bf16,
        };
        let w = ops::packed_matrix(&map.w, precision)?;
        Ok(LinearMap::Packed(Arc::new(PackedLinear { w, b: map.b.detach().contiguous()? })))
    }

    /// Width of what it maps from.
    pub fn d_in(&self) -> usize {
        match self {
            LinearMap::Plain(map) => map.w.dims()[0],
            LinearMap::Packed(map) => map.w.shape().0,
        }
    }

    /// Width of what it maps to.
    pub fn d_out(&self) -> usize {
        match self {
            LinearMap::Plain(map) => map.w.dims()[1],
            LinearMap::Packed(map) => map.w.shape().1,
        }
    }

    /// `b`, `[out]`.
    pub fn bias(&self) -> &Tensor {
        match self {
            LinearMap::Plain(map) => &map.b,
            LinearMap::Packed(map) => &map.b,
        }
    }

    /// Some columns of `W`, `[in, columns]`, copied where it is packed or kept as bf16.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) where they do not exist.
    pub fn columns(&self, columns: Range<usize>) -> Result<Tensor> {
        match self {
            LinearMap::Plain(map) => {
                let w = map.w.narrow(1, columns.start, columns.len())?;
                // A matrix may be kept in fewer bits than it is computed with.
                Ok(w.to_dtype(map.b.dtype())?)
            }
            LinearMap::Packed(map) => {
                let b = map.b.narrow(0, columns.start, columns.len())?; // checks the range
                let shape = (self.d_in(), columns.len());
                Ok(Tensor::from_vec(map.w.columns(columns), shape, b.device())?)
            }
        }
    }

    /// Weight and bias as tensors, copied where it is packed.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) where the tensor library cannot make them.
    pub fn unpacked(&self) -> Result<Linear> {
        match self {
            LinearMap::Plain(map) => Ok(Linear { w: map.w.to_dtype(map.b.dtype())?, b: map.b.clone() }),
            LinearMap::Packed(map) => Ok(Linear { w: self.columns(0..self.d_out())?, b: map.b.clone() }),
        }
    }
}
