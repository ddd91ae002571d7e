//! The kernels as operations of the tensor library: f32 on the CPU, each with its derivative.
//!
//! A derivative is taken only in what leads to a variable, so frozen weights cost nothing.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, D, Layout, Result, Shape, Storage, Tensor, bail,
};
use microtome_kernels as kernels;
use microtome_kernels::{Matrix, PackedMatrix, Precision};

use crate::linear_map;

/// Some columns of `x W + b` of a packed map; the derivative is that in `x`.
pub(super) struct PackedLinear {
    pub map: Arc<linear_map::PackedLinear>,
    pub columns: Range<usize>,
}

impl CustomOp1 for PackedLinear {
    fn name(&self) -> &'static str {
        "packed_linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = matrix(x.as_slice()?, layout)?;
        let b = self.map.b.narrow(0, self.columns.start, self.columns.len())?;
        let y = on_slices([&b], |[data]| {
            let b = dense(data, b.layout())?;
            Ok(kernels::linear(x, &self.map.w, self.columns.clone(), b, kernels::Then::Keep))
        })?;
        Ok((CpuStorage::F32(y), Shape::from((x.shape().0, self.columns.len()))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let all = 0..self.map.w.shape().1;
        let dy = match self.columns == all {
            true => dy.contiguous()?,
            false => dy.pad_with_zeros(1, self.columns.start, all.end - self.columns.end)?.contiguous()?,
        };
        let dx = on_slices([&dy], |[data]| {
            Ok(kernels::linear_input_gradient(&self.map.w, dense(data, dy.layout())?))
        })?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// `x W + b` of `x` `[rows, in]`, `W` `[in, out]`, `b` `[out]`.
pub(super) struct Linear;

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (matrix(x.as_slice()?, x_layout)?, matrix(w.as_slice()?, w_layout)?);
        if x.shape().1 != w.shape().0 {
            bail!("a linear map of {:?} was given rows {:?}", w_layout.shape(), x_layout.shape());
        }
        let packed = PackedMatrix::new(w, Precision::F32);
        let b = dense(b.as_slice()?, b_layout)?;
        let y = kernels::linear(x, &packed, 0..w.shape().1, b, kernels::Then::Keep);
        Ok((CpuStorage::F32(y), Shape::from((x.shape().0, w.shape().1))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let out = w.dim(1)?;
        let input_gradient = || {
            on_slices([w, &dy], |[w_data, dy_data]| {
                let dy = Matrix::dense(dense(dy_data, dy.layout())?, dy.dim(0)?, out);
                let dx = kernels::linear_input_gradient_of(matrix(w_data, w.layout())?, dy);
                Tensor::from_vec(dx, x.shape(), x.device())
            })
        };
        let weight_gradient = || {
            on_slices([x, &dy], |[x_data, dy_data]| {
                let dy = dense(dy_data, dy.layout())?;
                let dw = kernels::linear_weight_gradient(matrix(x_data, x.layout())?, dy, out);
                Tensor::from_vec(dw, w.shape(), w.device())
            })
        };
        let bias_gradient = || {
            on_slices([&dy], |[data]| {
                let db = kernels::linear_bias_gradient(dense(data, dy.layout())?, out);
                Tensor::from_vec(db, b.shape(), b.device())
            })
        };
        Ok((
            x.track_op().then(input_gradient).transpose()?,
            w.track_op().then(weight_gradient).transpose()?,
            b.track_op().then(bias_gradient).transpose()?,
        ))
    }
}

/// LayerNorm of `x` `[.., d]` with gain and bias `[d]`.
pub(super) struct LayerNorm {
    pub eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = dense(x.as_slice()?, x_layout)?;
        let (w, b) = (dense(w.as_slice()?, w_layout)?, dense(b.as_slice()?, b_layout)?);
        let y = kernels::layer_norm(x, last(x_layout)?, Some((w, b)), self.eps);
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (x, dy) = (x.contiguous()?, dy.contiguous()?);
        let gradients = on_slices([&x, w, &dy], |[x_data, w_data, dy_data]| {
            let (x_data, dy_data) = (dense(x_data, x.layout())?, dense(dy_data, dy.layout())?);
            let w = dense(w_data, w.layout())?;
            Ok(kernels::layer_norm_backward(x_data, last(x.layout())?, Some(w), self.eps, dy_data))
        })?;
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        Ok((Some(tensor(gradients.x, &x)?), Some(tensor(gradients.w, w)?), Some(tensor(gradients.b, b)?)))
    }
}

/// LayerNorm of `x` `[.., d]` without gain and bias.
pub(super) struct Normalize {
    pub eps: f32,
}

impl CustomOp1 for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = kernels::layer_norm(dense(x.as_slice()?, layout)?, last(layout)?, None, self.eps);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (x, dy) = (x.contiguous()?, dy.contiguous()?);
        let gradients = on_slices([&x, &dy], |[x_data, dy_data]| {
            let (x_data, dy_data) = (dense(x_data, x.layout())?, dense(dy_data, dy.layout())?);
            Ok(kernels::layer_norm_backward(x_data, last(x.layout())?, None, self.eps, dy_data))
        })?;
        Ok(Some(Tensor::from_vec(gradients.x, x.shape(), x.device())?))
    }
}

/// `sqrt(var + eps)` over the last axis, which becomes 1.
pub(super) struct NormScale {
    pub eps: f32,
}

impl CustomOp1 for NormScale {
    fn name(&self) -> &'static str {
        "norm_scale"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let scales = kernels::norm_scale(dense(x.as_slice()?, layout)?, last(layout)?, self.eps);
        let mut dims = layout.dims().to_vec();
        dims.pop();
        dims.push(1);
        Ok((CpuStorage::F32(scales), Shape::from(dims)))
    }

    fn bwd(&self, x: &Tensor, scale: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let per_value = (dy / (scale * x.dim(D::Minus1)? as f64)?)?;
        Ok(Some(centered.broadcast_mul(&per_value)?))
    }
}

/// `(x - mean) / scale` over the last axis.
pub(super) struct NormDivide;

impl CustomOp2 for NormDivide {
    fn name(&self) -> &'static str {
        "norm_divide"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let scales = dense(scale.as_slice()?, scale_layout)?;
        let y = kernels::norm_divide(dense(x.as_slice()?, layout)?, last(layout)?, scales);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        scale: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let centered = dy.broadcast_sub(&dy.mean_keepdim(D::Minus1)?)?;
        let dscale = ((dy * y)?.sum_keepdim(D::Minus1)?.neg()? / scale)?;
        Ok((Some(centered.broadcast_div(scale)?), Some(dscale)))
    }
}

/// GELU of each number.
pub(super) struct Gelu(pub kernels::Gelu);

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.0.of(dense(x.as_slice()?, layout)?)), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let gradient = on_slices([x, &dy], |[x_data, dy_data]| {
            Ok(self.0.backward(dense(x_data, x.layout())?, dense(dy_data, dy.layout())?))
        })?;
        Ok(Some(Tensor::from_vec(gradient, x.shape(), x.device())?))
    }
}

/// The mean cross-entropy of logits `[rows, d_vocab]` and target ids `[rows]`.
pub(super) struct CrossEntropy;

impl CustomOp2 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        layout: &Layout,
        targets: &CpuStorage,
        targets_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let targets = dense(targets.as_slice()?, targets_layout)?;
        if targets.len() != layout.dims()[0] {
            bail!("{} targets for logits {:?}", targets.len(), layout.shape());
        }
        let loss = kernels::cross_entropy(dense(logits.as_slice()?, layout)?, targets);
        Ok((CpuStorage::F32(vec![loss]), Shape::from(())))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        _: &Tensor,
        from_above: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let targets: Vec<u32> = targets.to_vec1()?;
        let factor = from_above.to_scalar::<f32>()?;
        let gradient = on_slices([logits], |[data]| {
            Ok(kernels::cross_entropy_backward(dense(data, logits.layout())?, &targets, factor))
        })?;
        Ok((Some(Tensor::from_vec(gradient, logits.shape(), logits.device())?), None))
    }
}

/// A `[rows, columns]` tensor of any strides.
pub(super) fn matrix<'a>(data: &'a [f32], layout: &Layout) -> Result<Matrix<'a>> {
    let &[rows, columns] = layout.dims() else { bail!("expected a matrix, got {:?}", layout.shape()) };
    let strides = (layout.stride()[0], layout.stride()[1]);
    Ok(Matrix::new(&data[layout.start_offset()..], (rows, columns), strides))
}

/// The size of the last axis.
fn last(layout: &Layout) -> Result<usize> {
    match layout.dims().last() {
        Some(&d) => Ok(d),
        None => bail!("expected an axis"),
    }
}

/// The values of a contiguous tensor.
pub(super) fn dense<'a, T>(data: &'a [T], layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((first, end)) => Ok(&data[first..end]),
        None => bail!("expected a contiguous tensor, got {layout:?}"),
    }
}

/// Lends the storages of CPU tensors of f32.
pub(super) fn on_slices<const N: usize, T>(
    tensors: [&Tensor; N],
    lend: impl FnOnce([&[f32]; N]) -> Result<T>,
) -> Result<T> {
    let guards = tensors.map(|tensor| tensor.storage_and_layout().0);
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slice, guard) in slices.iter_mut().zip(&guards) {
        let Storage::Cpu(storage) = &**guard else { bail!("expected tensors on the CPU") };
        *slice = storage.as_slice()?;
    }
    lend(slices)
}
