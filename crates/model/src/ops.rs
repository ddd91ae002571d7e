//! The seam between the forward pass and the tensor library: every operation that costs time.
//!
//! The layers call these and nothing else for their maths, so a faster implementation replaces one
//! function here. Each works on any device and dtype and is differentiable.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Shape, Tensor};
use rayon::prelude::*;

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
        Activation::GeluNew if x.device().is_cpu() => x.contiguous()?.apply_op1(GeluNew)?,
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

/// `x sigmoid(2u)`, `u = sqrt(2 / pi) (x + 0.044715 x^3)`: the tanh approximation of GELU without a
/// tanh. The tensor library's own takes a fifth of a forward pass, in tanhf and expm1f.
struct GeluNew;

/// Its derivative, `s + 2 x s (1 - s) u'` with `s = sigmoid(2u)`.
struct GeluNewDerivative;

impl CustomOp1 for GeluNew {
    fn name(&self) -> &'static str {
        "gelu_new"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        map(x, layout, |x| x * sigmoid_f32(2.0 * gelu_u(x)), |x| x / (1.0 + (-2.0 * gelu_u(x)).exp()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some((x.contiguous()?.apply_op1_no_bwd(&GeluNewDerivative)? * gradient)?))
    }
}

impl CustomOp1 for GeluNewDerivative {
    fn name(&self) -> &'static str {
        "gelu_new_derivative"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let derivative =
            |x: f64, s: f64| s + 2.0 * x * s * (1.0 - s) * GELU_SCALE * (1.0 + 3.0 * GELU_CUBE * x * x);
        map(
            x,
            layout,
            |x| derivative(f64::from(x), f64::from(sigmoid_f32(2.0 * gelu_u(x)))) as f32,
            |x| derivative(x, 1.0 / (1.0 + (-2.0 * gelu_u(x)).exp())),
        )
    }
}

/// `sqrt(2 / pi)`
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBE: f64 = 0.044_715;

/// The two float types a model computes in on the CPU.
trait Float: Copy + std::ops::Mul<Output = Self> + std::ops::Add<Output = Self> {
    fn from_f64(x: f64) -> Self;
}

impl Float for f32 {
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
}

impl Float for f64 {
    fn from_f64(x: f64) -> f64 {
        x
    }
}

fn gelu_u<F: Float>(x: F) -> F {
    F::from_f64(GELU_SCALE) * (x + F::from_f64(GELU_CUBE) * x * x * x)
}

/// `1 / (1 + exp(-x))` in a form the compiler can vectorise: no branch, no call.
///
/// `exp(y) = 2^n exp(r)` with `n` the nearest whole number to `y / ln 2` and `|r| <= ln 2 / 2`, where
/// the Taylor series to the seventh power is exact to f32 rounding. `r` subtracts `n ln 2` in two
/// parts, the first short enough that the product is exact. Past +-87 the sigmoid is 0 or 1 in f32.
fn sigmoid_f32(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let y = (-x).clamp(-87.0, 87.0);
    let n = (y * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (y - n * LN2_HIGH) - n * LN2_LOW;
    let series = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let exp_r = series.iter().fold(0.0, |sum, &term| sum * r + term);
    let two_n = f32::from_bits(((n as i32 + 127) << 23) as u32);
    1.0 / (1.0 + exp_r * two_n)
}

/// Values handed to one thread at a time.
const CHUNK: usize = 1 << 14;

/// One function of every value, on all threads.
fn map(
    x: &CpuStorage,
    layout: &Layout,
    f: impl Fn(f32) -> f32 + Sync,
    g: impl Fn(f64) -> f64 + Sync,
) -> candle_core::Result<(CpuStorage, Shape)> {
    let Some((first, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("expected a contiguous tensor, got {layout:?}")
    };
    let storage = match x {
        CpuStorage::F32(x) => CpuStorage::F32(map_slice(&x[first..end], f)),
        CpuStorage::F64(x) => CpuStorage::F64(map_slice(&x[first..end], g)),
        other => candle_core::bail!("expected f32 or f64 on the CPU, got {:?}", other.dtype()),
    };
    Ok((storage, layout.shape().clone()))
}

fn map_slice<F: Copy + Default + Send + Sync>(x: &[F], f: impl Fn(F) -> F + Sync) -> Vec<F> {
    let mut out = vec![F::default(); x.len()];
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = f(x);
        }
    });
    out
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
