//! The seam between the forward pass and the tensor library: every operation that costs time.
//!
//! The layers call these and nothing else for their maths, so a faster implementation replaces one
//! function here. Each works on any device and dtype and is differentiable.

mod fused;

use candle_core::{D, DType, Tensor};

use crate::config::{Activation, Config};
use crate::error::Result;
use crate::weights::{Affine, Linear};

/// Whether the kernels take these: f32 on the CPU. Everything else is composed of the tensor library's
/// own operations, which is also what the kernels are tested against.
pub(crate) fn has_kernels(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// `x W + b`. `x` is `[rows, in]`, the result `[rows, out]`.
pub(crate) fn linear(x: &Tensor, map: &Linear) -> Result<Tensor> {
    affine_map(x, &map.w, &map.b)
}

fn affine_map(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    match has_kernels(x) {
        true => Ok(x.apply_op3(w, b, fused::Linear)?),
        false => Ok(x.matmul(w)?.broadcast_add(b)?),
    }
}

/// LayerNorm with gain and bias in one piece, where none of its steps is looked at. Equal to
/// [`center_and_scale`], [`divide_rows`] and [`affine`] up to rounding.
pub(crate) fn layer_norm(x: &Tensor, norm: &Affine, eps: f64) -> Result<Tensor> {
    if has_kernels(x) {
        return Ok(x.apply_op3(&norm.w, &norm.b, fused::LayerNorm { eps: eps as f32 })?);
    }
    let (centered, scale) = center_and_scale(x, eps)?;
    affine(&divide_rows(&centered, &scale)?, norm)
}

/// Causal attention of whole sequences of `n_pos` positions in one piece, where none of its steps is
/// looked at: `z` `[rows, heads * d_head]` from queries, keys and values `[rows, 3 * heads * d_head]`. Only where
/// [`has_kernels`].
pub(crate) fn causal_attention(qkv: &Tensor, n_pos: usize, config: &Config) -> Result<Tensor> {
    Ok(qkv.apply_op1(fused::Attention { n_pos, n_heads: config.n_heads, d_head: config.d_head })?)
}

/// Columns `first..first + count` of `x W + b`.
pub(crate) fn linear_columns(x: &Tensor, map: &Linear, first: usize, count: usize) -> Result<Tensor> {
    affine_map(x, &map.w.narrow(1, first, count)?, &map.b.narrow(0, first, count)?)
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
        Activation::GeluNew if has_kernels(x) => x.contiguous()?.apply_op1(fused::GELU_NEW)?,
        Activation::GeluNew => {
            // Not the tensor library's: the constants of its derivative are rounded to six digits.
            let scale = (2.0 / std::f64::consts::PI).sqrt();
            let u = ((x + (x.sqr()? * x)? * 0.044715)? * scale)?;
            ((x * (u.tanh()? + 1.0)?)? * 0.5)?
        }
        Activation::Gelu if has_kernels(x) => x.contiguous()?.apply_op1(fused::GELU)?,
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

/// Batched matrix product over the last two axes; leading axes must agree.
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
            let y = activation(&x.to_dtype(dtype).unwrap(), Activation::GeluNew).unwrap();
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
