//! Half a block as one operation, for learning: LayerNorm, two products and what stands between them, and the residual.
//!
//! The tensor library's derivative makes, for every operation and each of its inputs, a tensor of zeros and a
//! sum, on one thread; a block of eight operations spends more time so than in its LayerNorms and attention together.
//! Here a half has one input, the residual stream. Derivatives in its weights go to a [`GradientSink`]. The
//! kernels are called as the single operations call them, so both ways give the same bits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result as Candle, Shape, Tensor, TensorId, bail};
use microtome_kernels::{self as kernels, AttentionShape, Gelu, Keyed, Matrix, PackedMatrix, Precision};
use rayon::prelude::*;

use super::fused::{dense, matrix, on_slices};
use super::gelu_kernel;
use crate::config::Activation;
use crate::error::Result;
use crate::linear_map::LinearMap;
use crate::weights::{Affine, BlockWeights, Linear};

/// Where derivatives in weights are left that do not go through the tensor library.
#[derive(Debug, Clone, Default)]
pub struct GradientSink(Arc<Mutex<HashMap<TensorId, Tensor>>>);

impl GradientSink {
    /// What was left for a variable, once.
    pub fn take(&self, variable: &Tensor) -> Option<Tensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&variable.id())
    }

    fn add(&self, variable: &Tensor, values: Vec<f32>) -> Candle<()> {
        if !variable.track_op() {
            return Ok(());
        }
        let gradient = Tensor::from_vec(values, variable.shape(), variable.device())?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = match all.get(&variable.id()) {
            Some(before) => (before + gradient)?,
            None => gradient,
        };
        all.insert(variable.id(), sum);
        Ok(())
    }
}

/// `x + attention(LN(x))` of whole sequences of `n_pos` positions; `None` where the weights are packed, or `x` leads
/// back to no variable. `eps` is that of the LayerNorm, where there is one.
pub(crate) fn attention_half(
    x: &Tensor,
    block: &BlockWeights<LinearMap>,
    eps: Option<f64>,
    (n_pos, n_heads): (usize, usize),
    sink: &GradientSink,
) -> Result<Option<Tensor>> {
    let (LinearMap::Plain(qkv), LinearMap::Plain(out)) = (&block.qkv, &block.out) else { return Ok(None) };
    let inner = Inner::Attention { n_pos, n_heads };
    half(x, norm_of(eps, block.ln1.as_ref()), qkv, out, inner, sink)
}

/// `x + MLP(LN(x))`; `None` where the weights are packed, `x` leads back to no variable, or the non-linearity has no
/// kernel.
pub(crate) fn mlp_half(
    x: &Tensor,
    block: &BlockWeights<LinearMap>,
    eps: Option<f64>,
    activation: Activation,
    sink: &GradientSink,
) -> Result<Option<Tensor>> {
    let Some(mlp) = &block.mlp else { return Ok(None) };
    let (LinearMap::Plain(input), LinearMap::Plain(output)) = (&mlp.input, &mlp.output) else {
        return Ok(None);
    };
    let Some(gelu) = gelu_kernel(activation) else { return Ok(None) };
    half(x, norm_of(eps, block.ln2.as_ref()), input, output, Inner::Gelu(gelu), sink)
}

fn norm_of(eps: Option<f64>, affine: Option<&Affine>) -> Option<Norm> {
    eps.map(|eps| Norm { affine: affine.cloned(), eps: eps as f32 })
}

fn half(
    x: &Tensor,
    norm: Option<Norm>,
    first: &Linear,
    second: &Linear,
    inner: Inner,
    sink: &GradientSink,
) -> Result<Option<Tensor>> {
    // What leads nowhere back is not derived, and its weights would be forgotten.
    if !x.track_op() {
        return Ok(None);
    }
    let (first, second, sink) = (first.clone(), second.clone(), sink.clone());
    let half = Half { norm, first, inner, second, sink, kept: Mutex::new(None) };
    Ok(Some(x.contiguous()?.apply_op1(half)?))
}

/// A LayerNorm.
struct Norm {
    affine: Option<Affine>,
    eps: f32,
}

/// What stands between the products.
#[derive(Clone, Copy)]
enum Inner {
    Attention { n_pos: usize, n_heads: usize },
    Gelu(Gelu),
}

/// `y = x + second(inner(first(norm(x))))`
struct Half {
    norm: Option<Norm>,
    first: Linear,
    inner: Inner,
    second: Linear,
    sink: GradientSink,
    kept: Mutex<Option<Kept>>,
}

/// What the derivative needs of the pass before it.
struct Kept {
    /// `None`: the input as it is.
    normed: Option<Vec<f32>>,
    before: Vec<f32>,
    after: Vec<f32>,
}

impl Norm {
    fn forward(&self, x: &[f32], d: usize) -> Candle<Vec<f32>> {
        let Some(Affine { w, b }) = &self.affine else {
            return Ok(kernels::layer_norm(x, d, None, self.eps));
        };
        on_slices([w, b], |[w_data, b_data]| {
            let gain_and_bias = (dense(w_data, w.layout())?, dense(b_data, b.layout())?);
            Ok(kernels::layer_norm(x, d, Some(gain_and_bias), self.eps))
        })
    }

    fn backward(&self, x: &[f32], d: usize, dy: &[f32], sink: &GradientSink) -> Candle<Vec<f32>> {
        let Some(Affine { w, b }) = &self.affine else {
            return Ok(kernels::layer_norm_backward(x, d, None, self.eps, dy).x);
        };
        let gradients = on_slices([w], |[data]| {
            Ok(kernels::layer_norm_backward(x, d, Some(dense(data, w.layout())?), self.eps, dy))
        })?;
        sink.add(w, gradients.w)?;
        sink.add(b, gradients.b)?;
        Ok(gradients.x)
    }
}

/// `z` of queries, keys and values side by side, `[rows, 3 * width]`.
fn attention(qkv: &[f32], rows: usize, n_pos: usize, n_heads: usize) -> Vec<f32> {
    let [q, k, v] = three_parts(qkv, rows);
    let sees: Vec<usize> = (1..=n_pos).collect();
    let shape = AttentionShape { n_lanes: rows / n_pos.max(1), n_heads, n_past: 0, sees: &sees };
    let [keys, values] = [k, v].map(|own| Keyed { past: None, own });
    kernels::causal_attention(q, keys, values, shape)
}

/// Queries, keys and values that stand side by side.
fn three_parts(qkv: &[f32], rows: usize) -> [Matrix<'_>; 3] {
    let width = qkv.len() / rows.max(1) / 3;
    let all = Matrix::dense(qkv, rows, 3 * width);
    [0, 1, 2].map(|part| all.part(0..rows, part * width..(part + 1) * width))
}

/// Lends a map's weight, packed, and its bias.
fn with_packed<T>(map: &Linear, with: impl FnOnce(&PackedMatrix, &[f32]) -> T) -> Candle<T> {
    on_slices([&map.w, &map.b], |[w, b]| {
        let w = PackedMatrix::new(matrix(w, map.w.layout())?, Precision::F32);
        Ok(with(&w, dense(b, map.b.layout())?))
    })
}

fn linear(x: &[f32], map: &Linear, then: kernels::Then) -> Candle<Vec<f32>> {
    let (d_in, d_out) = map.w.dims2()?;
    with_packed(map, |w, b| kernels::linear(Matrix::dense(x, x.len() / d_in, d_in), w, 0..d_out, b, then))
}

fn linear_and_gelu(x: &[f32], map: &Linear, gelu: Gelu) -> Candle<(Vec<f32>, Vec<f32>)> {
    let d_in = map.w.dim(0)?;
    with_packed(map, |w, b| kernels::linear_and_gelu(Matrix::dense(x, x.len() / d_in, d_in), w, b, gelu))
}

/// Leaves the derivatives in a map's weight and bias in the sink.
fn weight_gradients(x: &[f32], map: &Linear, dy: &[f32], sink: &GradientSink) -> Candle<()> {
    let (d_in, d_out) = map.w.dims2()?;
    if map.w.track_op() {
        let x = Matrix::dense(x, dy.len() / d_out, d_in);
        sink.add(&map.w, kernels::linear_weight_gradient(x, dy, d_out))?;
    }
    if map.b.track_op() {
        sink.add(&map.b, kernels::linear_bias_gradient(dy, d_out))?;
    }
    Ok(())
}

/// The derivative in what a map is given, or, through a GELU, in what that was given.
fn input_gradient(map: &Linear, dy: &[f32], through: Option<(Gelu, &[f32])>) -> Candle<Vec<f32>> {
    let d_out = map.w.dim(1)?;
    on_slices([&map.w], |[w]| {
        let (w, dy) = (matrix(w, map.w.layout())?, Matrix::dense(dy, dy.len() / d_out, d_out));
        Ok(match through {
            None => kernels::linear_input_gradient_of(w, dy),
            Some((gelu, before)) => kernels::linear_input_gradient_through(w, dy, gelu, before),
        })
    })
}

impl CustomOp1 for Half {
    fn name(&self) -> &'static str {
        "half_a_block"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Candle<(CpuStorage, Shape)> {
        let (rows, d) = layout.shape().dims2()?;
        let x = dense(x.as_slice()?, layout)?;
        let normed = self.norm.as_ref().map(|norm| norm.forward(x, d)).transpose()?;
        let input = normed.as_deref().unwrap_or(x);
        let (before, after) = match self.inner {
            Inner::Gelu(gelu) => linear_and_gelu(input, &self.first, gelu)?,
            Inner::Attention { n_pos, n_heads } => {
                let before = linear(input, &self.first, kernels::Then::Keep)?;
                let after = attention(&before, rows, n_pos, n_heads);
                (before, after)
            }
        };
        let y = linear(&after, &self.second, kernels::Then::AddTo(x))?;
        let kept = Kept { normed, before, after };
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Candle<Option<Tensor>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Kept { normed, before, after }) = kept else { bail!("this derivative is taken once") };
        let ((rows, d), dy) = (x.dims2()?, dy.contiguous()?);
        let dx = on_slices([x, &dy], |[x_data, dy_data]| {
            let (x, dy) = (dense(x_data, x.layout())?, dense(dy_data, dy.layout())?);
            weight_gradients(&after, &self.second, dy, &self.sink)?;
            let d_before = match self.inner {
                Inner::Gelu(gelu) => input_gradient(&self.second, dy, Some((gelu, &before)))?,
                Inner::Attention { n_pos, n_heads } => {
                    let dz = input_gradient(&self.second, dy, None)?;
                    let dz = Matrix::dense(&dz, rows, dz.len() / rows.max(1));
                    kernels::causal_attention_backward(three_parts(&before, rows), n_pos, n_heads, dz)
                }
            };
            weight_gradients(normed.as_deref().unwrap_or(x), &self.first, &d_before, &self.sink)?;
            let mut dx = input_gradient(&self.first, &d_before, None)?;
            if let Some(norm) = &self.norm {
                dx = norm.backward(x, d, &dx, &self.sink)?;
            }
            add(&mut dx, dy);
            Ok(dx)
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// `a += b`
fn add(a: &mut [f32], b: &[f32]) {
    /// Numbers one thread takes at a time.
    const PIECE: usize = 1 << 14;
    a.par_chunks_mut(PIECE).zip(b.par_chunks(PIECE)).for_each(|(a, b)| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    });
}
