//! The seam between the forward pass and the tensor library: every operation that costs time.
//!
//! The layers call these and nothing else for their maths, so a faster implementation replaces one
//! function here. Each works on any device and dtype and is differentiable.
//!
//! [`Arithmetic`] says what they are made of. Composed, a matrix may be kept as bf16 beside activations of f32: its
//! product is taken in bf16 and its result brought back, everything else stays f32.

pub(crate) mod attention;
mod fused;
pub(crate) mod learning;

use std::ops::Range;

use candle_core::{D, DType, Tensor};
use microtome_kernels::{self as kernels, PackedMatrix, Precision};

use crate::config::Activation;
use crate::error::Result;
use crate::linear_map::{LinearMap, PackedLinear};
use crate::weights::Affine;

/// Whether the kernels take these: f32 on the CPU. Everything else is composed of the tensor library's
/// own operations, which is also what the kernels are tested against.
pub(crate) fn has_kernels(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// What the operations of a pass are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Arithmetic {
    /// The kernels where they apply, the tensor library's operations elsewhere.
    #[default]
    Kernels,
    /// The tensor library's operations everywhere, as on a GPU.
    Composed,
}

impl Arithmetic {
    /// Whether the kernels are to take these.
    pub fn has_kernels(self, x: &Tensor) -> bool {
        self == Arithmetic::Kernels && has_kernels(x)
    }
}

/// What follows a linear map where nobody looks in between.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then<'a> {
    Keep,
    Activate(Activation),
    /// `residual + y`
    AddTo(&'a Tensor),
}

/// Some columns of `x W + b`, and what follows. `x` is `[rows, in]`, the result `[rows, columns]`.
pub(crate) fn linear(
    by: Arithmetic,
    x: &Tensor,
    map: &LinearMap,
    columns: Range<usize>,
    then: Then,
) -> Result<Tensor> {
    let y = match map {
        LinearMap::Packed(map) if !x.track_op() => return packed_linear(x, map, columns, then),
        LinearMap::Packed(map) => {
            x.apply_op1(fused::PackedLinear { map: map.clone(), columns: columns.clone() })?
        }
        LinearMap::Plain(map) => {
            let (first, count) = (columns.start, columns.len());
            affine_map(by, x, &map.w.narrow(1, first, count)?, &map.b.narrow(0, first, count)?)?
        }
    };
    match then {
        Then::Keep => Ok(y),
        Then::Activate(kind) => activation(by, &y, kind),
        Then::AddTo(residual) => Ok((residual + y)?),
    }
}

fn packed_linear(x: &Tensor, map: &PackedLinear, columns: Range<usize>, then: Then) -> Result<Tensor> {
    let shape = (x.dim(0)?, columns.len());
    let b = map.b.narrow(0, columns.start, columns.len())?;
    let with = |then: kernels::Then| -> Result<Tensor> {
        let y = fused::on_slices([x, &b], |[x_data, b_data]| {
            let (x, b) = (fused::matrix(x_data, x.layout())?, fused::dense(b_data, b.layout())?);
            Ok(kernels::linear(x, &map.w, columns.clone(), b, then))
        })?;
        Ok(Tensor::from_vec(y, shape, x.device())?)
    };
    match then {
        Then::Keep => with(kernels::Then::Keep),
        Then::Activate(kind) => match gelu_kernel(kind) {
            Some(gelu) => with(kernels::Then::Gelu(gelu)),
            None => activation(Arithmetic::Kernels, &with(kernels::Then::Keep)?, kind),
        },
        Then::AddTo(residual) if residual.track_op() => Ok((residual + with(kernels::Then::Keep)?)?),
        Then::AddTo(residual) => {
            let residual = residual.contiguous()?;
            let lent = fused::on_slices([&residual], |[data]| {
                let residual = fused::dense(data, residual.layout())?;
                Ok(with(kernels::Then::AddTo(residual)))
            });
            lent?
        }
    }
}

/// A matrix of f32 on the CPU, packed.
pub(crate) fn packed_matrix(w: &Tensor, precision: Precision) -> Result<PackedMatrix> {
    Ok(fused::on_slices([w], |[data]| Ok(PackedMatrix::new(fused::matrix(data, w.layout())?, precision)))?)
}

fn affine_map(by: Arithmetic, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    if by.has_kernels(x) && has_kernels(w) {
        return Ok(x.apply_op3(w, b, fused::Linear)?);
    }
    // A GPU multiplies by a whole matrix or by its transpose, not by some columns of one.
    let whole = w.is_contiguous() || w.t()?.is_contiguous();
    let w = if whole { w.clone() } else { w.contiguous()? };
    let y = match w.dtype() == x.dtype() {
        true => x.contiguous()?.matmul(&w)?,
        false => x.to_dtype(w.dtype())?.contiguous()?.matmul(&w)?.to_dtype(x.dtype())?,
    };
    Ok(y.broadcast_add(b)?)
}

/// LayerNorm over the last axis, with gain and bias where it has them, in one piece. The same bits as
/// [`norm_scale`], [`norm_divide`] and [`affine`] give.
pub(crate) fn layer_norm(
    by: Arithmetic,
    x: &Tensor,
    gain_and_bias: Option<&Affine>,
    eps: f64,
) -> Result<Tensor> {
    if by.has_kernels(x) {
        let (x, eps) = (x.contiguous()?, eps as f32);
        return Ok(match gain_and_bias {
            Some(norm) => x.apply_op3(&norm.w, &norm.b, fused::LayerNorm { eps })?,
            None => x.apply_op1(fused::Normalize { eps })?,
        });
    }
    let centered = centered(x)?;
    affine(centered.broadcast_div(&deviation(&centered, eps)?)?, gain_and_bias)
}

/// `sqrt(var + eps)` over the last axis (variance with divisor `n`), which becomes 1.
pub(crate) fn norm_scale(by: Arithmetic, x: &Tensor, eps: f64) -> Result<Tensor> {
    if by.has_kernels(x) {
        return Ok(x.contiguous()?.apply_op1(fused::NormScale { eps: eps as f32 })?);
    }
    deviation(&centered(x)?, eps)
}

/// `(x - mean) / scale`, the mean over the last axis.
pub(crate) fn norm_divide(by: Arithmetic, x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    if by.has_kernels(x) {
        return Ok(x.contiguous()?.apply_op2(&scale.contiguous()?, fused::NormDivide)?);
    }
    Ok(centered(x)?.broadcast_div(scale)?)
}

/// Without its mean over the last axis.
fn centered(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?)
}

/// `sqrt(var + eps)` of what has mean 0.
fn deviation(centered: &Tensor, eps: f64) -> Result<Tensor> {
    Ok((centered.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?)
}

/// `x * w + b`, over the last axis, where there are such.
pub(crate) fn affine(x: Tensor, gain_and_bias: Option<&Affine>) -> Result<Tensor> {
    match gain_and_bias {
        Some(norm) => Ok(x.broadcast_mul(&norm.w)?.broadcast_add(&norm.b)?),
        None => Ok(x),
    }
}

/// The kernel of a non-linearity that has one.
fn gelu_kernel(kind: Activation) -> Option<kernels::Gelu> {
    match kind {
        Activation::GeluNew => Some(kernels::Gelu::ByTanh),
        Activation::Gelu => Some(kernels::Gelu::ByErf),
        Activation::Relu | Activation::Silu => None,
    }
}

/// The MLP's non-linearity.
pub(crate) fn activation(by: Arithmetic, x: &Tensor, kind: Activation) -> Result<Tensor> {
    if let (true, Some(gelu)) = (by.has_kernels(x), gelu_kernel(kind)) {
        return Ok(x.contiguous()?.apply_op1(fused::Gelu(gelu))?);
    }
    Ok(match kind {
        Activation::GeluNew if !x.track_op() => x.gelu()?,
        Activation::GeluNew => {
            // Not the tensor library's: the constants of its derivative are rounded to six digits.
            let scale = (2.0 / std::f64::consts::PI).sqrt();
            let u = ((x + (x.sqr()? * x)? * 0.044715)? * scale)?;
            ((x * (u.tanh()? + 1.0)?)? * 0.5)?
        }
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

/// The mean over rows of `log sum exp(logits) - logits[target]`.
pub(crate) fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    if has_kernels(logits) {
        return Ok(logits.contiguous()?.apply_op2(targets, fused::CrossEntropy)?);
    }
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let normalizer = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let of_target = shifted.gather(&targets.unsqueeze(1)?, 1)?;
    Ok((normalizer - of_target)?.mean_all()?)
}

/// Batched matrix product over the last two axes; leading axes must agree. `b` must be whole, or the transpose of a
/// whole tensor.
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(a.contiguous()?.matmul(b)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn gelu_new_is_its_definition_to_f32_rounding_everywhere() {
        let values: Vec<f64> =
            (-40_000..=40_000).map(|i| f64::from(i) * 5e-4).chain([-1e30, 1e30, 0.0]).collect();
        let x = Tensor::new(values, &Device::Cpu).unwrap();
        let of = |dtype: DType| {
            let y =
                activation(Arithmetic::Kernels, &x.to_dtype(dtype).unwrap(), Activation::GeluNew).unwrap();
            y.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()
        };
        let exact: Vec<f64> = x
            .to_vec1::<f64>()
            .unwrap()
            .iter()
            .map(|&x| {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + u.tanh())
            })
            .collect();
        for (i, ((a, b), exact)) in of(DType::F32).into_iter().zip(of(DType::F64)).zip(exact).enumerate() {
            // Relative to x, not to the result: far to the left the result is a difference of halves.
            let x = x.get(i).unwrap().to_scalar::<f64>().unwrap().abs();
            assert!((a - exact).abs() <= 4e-7 * x.max(1e-3), "{a} {exact} at {i}");
            assert!((b - exact).abs() <= 1e-14 * x.max(1e-3), "{b} {exact} at {i}");
        }
    }

    #[test]
    fn softmax_sums_to_one_and_gives_masked_keys_nothing() {
        let x =
            Tensor::new(&[[0.3f32, f32::NEG_INFINITY, 2.0], [-1e30, -1e30, -1e30]], &Device::Cpu).unwrap();
        let p = softmax(&x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(p[0][1], 0.0);
        for row in p {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }
}
