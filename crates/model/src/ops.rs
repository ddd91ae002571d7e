//! The seam between the forward pass and the tensor library: every operation that costs time.
//!
//! The layers call these and nothing else for their maths, so a faster implementation replaces one
//! function here. Each works on any device and dtype and is differentiable.

use candle_core::{D, Tensor};

use crate::config::Activation;
use crate::error::Result;
use crate::weights::{Affine, Linear};

/// `x W + b`. `x` is `[rows, in]`, the result `[rows, out]`.
pub(crate) fn linear(x: &Tensor, map: &Linear) -> Result<Tensor> {
    Ok(x.matmul(&map.w)?.broadcast_add(&map.b)?)
}

/// Columns `first..first + count` of `x W + b`.
pub(crate) fn linear_columns(x: &Tensor, map: &Linear, first: usize, count: usize) -> Result<Tensor> {
    Ok(x.matmul(&map.w.narrow(1, first, count)?)?.broadcast_add(&map.b.narrow(0, first, count)?)?)
}

/// `x` minus its mean and `sqrt(var + eps)`, both over the last axis (variance with divisor `n`).
pub(crate) fn center_and_scale(x: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let scale = (centered.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    Ok((centered, scale))
}

/// `centered / scale`, row by row.
pub(crate) fn divide_rows(centered: &Tensor, scale: &Tensor) -> Result<Tensor> {
    Ok(centered.broadcast_div(scale)?)
}

/// `x * w + b`, over the last axis.
pub(crate) fn affine(x: &Tensor, affine: &Affine) -> Result<Tensor> {
    Ok(x.broadcast_mul(&affine.w)?.broadcast_add(&affine.b)?)
}

/// The MLP's non-linearity.
pub(crate) fn activation(x: &Tensor, kind: Activation) -> Result<Tensor> {
    Ok(match kind {
        Activation::GeluNew => x.gelu()?,
        Activation::Gelu => x.gelu_erf()?,
        Activation::Relu => x.relu()?,
        Activation::Silu => x.silu()?,
    })
}

/// Softmax over the last axis; entries of `-inf` become exactly 0.
pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    // The maximum only keeps exp in range: it is a constant of the derivative.
    let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
    let weights = shifted.exp()?;
    Ok(weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?)
}

/// Batched matrix product over the last two axes; leading axes must agree.
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(a.contiguous()?.matmul(b)?)
}
