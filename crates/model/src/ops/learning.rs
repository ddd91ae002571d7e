//! The blocks as one operation, for learning. Each half of a block is a LayerNorm, two products and what stands between
//! them, and the residual.
//!
//! The tensor library's derivative makes, for every operation and each of its inputs, a tensor of zeros and a
//! sum, on one thread; a block of eight operations spends more time so than in its LayerNorms and attention together.
//! Here there is one input, the residual stream. Derivatives in the weights go to a [`GradientSink`]. The
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

/// Whole sequences, and what a block does with them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sequences {
    /// Positions of each.
    pub n_pos: usize,
    pub n_heads: usize,
    /// Of the LayerNorms, where there are any.
    pub eps: Option<f64>,
    /// Of the MLPs, where there are any.
    pub activation: Option<Activation>,
}

/// The residual stream after blocks, `[rows, d_model]` as `x`, f32 on the CPU; `None` where `x` leads back to no variable,
/// weights are packed, or the non-linearity has no kernel.
pub(crate) fn blocks(
    x: &Tensor,
    blocks: &[BlockWeights<LinearMap>],
    sequences: Sequences,
    sink: &GradientSink,
) -> Result<Option<Tensor>> {
    // What leads nowhere back is not derived, and its weights would be forgotten.
    if !x.track_op() {
        return Ok(None);
    }
    let Some(halves) = halves(blocks, sequences) else { return Ok(None) };
    let blocks = Blocks { halves, sink: sink.clone(), kept: Mutex::new(vec![]) };
    Ok(Some(x.contiguous()?.apply_op1(blocks)?))
}

/// Attention and MLP of each block.
fn halves(blocks: &[BlockWeights<LinearMap>], sequences: Sequences) -> Option<Vec<Half>> {
    let Sequences { n_pos, n_heads, eps, activation } = sequences;
    let norm = |affine: Option<&Affine>| eps.map(|eps| Norm { affine: affine.cloned(), eps: eps as f32 });
    let half = |norm, first: &LinearMap, inner, second: &LinearMap| match (first, second) {
        (LinearMap::Plain(first), LinearMap::Plain(second)) => {
            Some(Half { norm, first: first.clone(), inner, second: second.clone() })
        }
        _ => None,
    };
    let mut halves = Vec::with_capacity(2 * blocks.len());
    for block in blocks {
        let attention = Inner::Attention { n_pos, n_heads };
        halves.push(half(norm(block.ln1.as_ref()), &block.qkv, attention, &block.out)?);
        if let (Some(mlp), Some(activation)) = (&block.mlp, activation) {
            let inner = Inner::Gelu(gelu_kernel(activation)?);
            halves.push(half(norm(block.ln2.as_ref()), &mlp.input, inner, &mlp.output)?);
        }
    }
    Some(halves)
}

/// A LayerNorm.
struct Norm {
    affine: Option<Affine>,
    eps: f32,
}

/// What stands between the products.
#[derive(Debug, Clone, Copy)]
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
}

/// What the derivative of a half needs of the pass before it.
struct Kept {
    /// `None`: the input as it is.
    normed: Option<Vec<f32>>,
    /// Queries, keys and values, or the slopes of the GELU.
    inside: Vec<f32>,
    /// What the second map is given.
    mixed: Vec<f32>,
}

/// All halves one after the other.
struct Blocks {
    halves: Vec<Half>,
    sink: GradientSink,
    /// The input of each half, but for the first one's, and what the half kept.
    kept: Mutex<Vec<(Option<Vec<f32>>, Kept)>>,
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

/// The derivative in what a map is given, or, through a function of each number with these slopes, in what that was given.
fn input_gradient(map: &Linear, dy: &[f32], through: Option<&[f32]>) -> Candle<Vec<f32>> {
    let d_out = map.w.dim(1)?;
    on_slices([&map.w], |[w]| {
        let (w, dy) = (matrix(w, map.w.layout())?, Matrix::dense(dy, dy.len() / d_out, d_out));
        Ok(match through {
            None => kernels::linear_input_gradient_of(w, dy),
            Some(slopes) => kernels::linear_input_gradient_through(w, dy, slopes),
        })
    })
}

impl Half {
    /// `y` of rows of `d` numbers, and what the derivative needs.
    fn forward(&self, x: &[f32], d: usize) -> Candle<(Vec<f32>, Kept)> {
        let normed = self.norm.as_ref().map(|norm| norm.forward(x, d)).transpose()?;
        let input = normed.as_deref().unwrap_or(x);
        let (mixed, inside) = match self.inner {
            Inner::Gelu(gelu) => linear_and_gelu(input, &self.first, gelu)?,
            Inner::Attention { n_pos, n_heads } => {
                let qkv = linear(input, &self.first, kernels::Then::Keep)?;
                (attention(&qkv, x.len() / d, n_pos, n_heads), qkv)
            }
        };
        let y = linear(&mixed, &self.second, kernels::Then::AddTo(x))?;
        Ok((y, Kept { normed, inside, mixed }))
    }

    /// The derivative in `x`; those in the weights go to the sink.
    fn backward(
        &self,
        x: &[f32],
        d: usize,
        kept: &Kept,
        dy: &[f32],
        sink: &GradientSink,
    ) -> Candle<Vec<f32>> {
        let Kept { normed, inside, mixed } = kept;
        weight_gradients(mixed, &self.second, dy, sink)?;
        let d_first = match self.inner {
            Inner::Gelu(_) => input_gradient(&self.second, dy, Some(inside))?,
            Inner::Attention { n_pos, n_heads } => {
                let (rows, dz) = (x.len() / d, input_gradient(&self.second, dy, None)?);
                let dz = Matrix::dense(&dz, rows, dz.len() / rows.max(1));
                kernels::causal_attention_backward(three_parts(inside, rows), n_pos, n_heads, dz)
            }
        };
        weight_gradients(normed.as_deref().unwrap_or(x), &self.first, &d_first, sink)?;
        let mut dx = input_gradient(&self.first, &d_first, None)?;
        if let Some(norm) = &self.norm {
            dx = norm.backward(x, d, &dx, sink)?;
        }
        add(&mut dx, dy);
        Ok(dx)
    }
}

impl CustomOp1 for Blocks {
    fn name(&self) -> &'static str {
        "blocks"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Candle<(CpuStorage, Shape)> {
        let d = layout.shape().dims2()?.1;
        let first = dense(x.as_slice()?, layout)?;
        let mut kept = Vec::with_capacity(self.halves.len());
        let mut input: Option<Vec<f32>> = None;
        for half in &self.halves {
            let (y, of_half) = half.forward(input.as_deref().unwrap_or(first), d)?;
            kept.push((input.replace(y), of_half));
        }
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok((CpuStorage::F32(input.unwrap_or_else(|| first.to_vec())), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Candle<Option<Tensor>> {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        if kept.len() != self.halves.len() {
            bail!("this derivative is taken once")
        }
        let (d, dy) = (x.dim(1)?, dy.contiguous()?);
        let dx = on_slices([x, &dy], |[x_data, dy_data]| {
            let first = dense(x_data, x.layout())?;
            let mut dx: Option<Vec<f32>> = None;
            // What a half kept is let go when it is done.
            for (half, (input, of_half)) in self.halves.iter().zip(kept).rev() {
                let dy = match &dx {
                    Some(dx) => dx,
                    None => dense(dy_data, dy.layout())?,
                };
                dx = Some(half.backward(input.as_deref().unwrap_or(first), d, &of_half, dy, &self.sink)?);
            }
            Ok(dx)
        })?;
        dx.map(|dx| Tensor::from_vec(dx, x.shape(), x.device())).transpose()
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
