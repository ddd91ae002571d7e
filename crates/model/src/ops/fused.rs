//! The kernels as operations of the tensor library: f32 on the CPU, each with its derivative.
//!
//! A derivative is taken only in what leads to a variable, so frozen weights cost nothing.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail,
};
use microtome_kernels as kernels;
use microtome_kernels::{AttentionShape, Matrix};

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
        let y = kernels::linear(x, w, dense(b.as_slice()?, b_layout)?);
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
        let dx = match x.track_op() {
            true => Some(on_slices([w, &dy], |[w_data, dy_data]| {
                let dy = Matrix::dense(dense(dy_data, dy.layout())?, dy.dim(0)?, out);
                let dx = kernels::linear_input_gradient(matrix(w_data, w.layout())?, dy);
                Tensor::from_vec(dx, x.shape(), x.device())
            })?),
            false => None,
        };
        if !w.track_op() && !b.track_op() {
            return Ok((dx, None, None));
        }
        let gradients = on_slices([x, &dy], |[x_data, dy_data]| {
            let dy = dense(dy_data, dy.layout())?;
            Ok(kernels::linear_weight_gradients(matrix(x_data, x.layout())?, dy, out))
        })?;
        let dw = Tensor::from_vec(gradients.w, w.shape(), w.device())?;
        let db = Tensor::from_vec(gradients.b, b.shape(), b.device())?;
        Ok((dx, Some(dw), Some(db)))
    }
}

/// LayerNorm of `x` `[rows, d]` with gain and bias `[d]`.
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
        Ok((CpuStorage::F32(kernels::layer_norm(x, w, b, self.eps)), x_layout.shape().clone()))
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
        let layouts = [x, w, b, &dy].map(|t| t.layout().clone());
        let gradients = on_slices([x, w, b, &dy], |data| {
            let [x, w, b, dy] = [0, 1, 2, 3].map(|i| dense(data[i], &layouts[i]));
            Ok(kernels::layer_norm_backward(x?, w?, b?, self.eps, dy?))
        })?;
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        Ok((Some(tensor(gradients.x, x)?), Some(tensor(gradients.w, w)?), Some(tensor(gradients.b, b)?)))
    }
}

/// Causal attention of whole sequences: `z` from the fused projection.
pub(super) struct Attention {
    pub n_pos: usize,
    pub n_heads: usize,
    pub d_head: usize,
}

impl Attention {
    fn shape(&self) -> AttentionShape {
        AttentionShape { n_pos: self.n_pos, n_heads: self.n_heads, d_head: self.d_head }
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "causal_attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let rows = layout.dims()[0];
        let z = kernels::causal_attention(dense(qkv.as_slice()?, layout)?, self.shape());
        Ok((CpuStorage::F32(z), Shape::from((rows, self.n_heads * self.d_head))))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, dz: &Tensor) -> Result<Option<Tensor>> {
        let dz = dz.contiguous()?;
        let gradient = on_slices([qkv, &dz], |[qkv_data, dz_data]| {
            let (qkv, dz) = (dense(qkv_data, qkv.layout())?, dense(dz_data, dz.layout())?);
            Ok(kernels::causal_attention_backward(qkv, self.shape(), dz))
        })?;
        Ok(Some(Tensor::from_vec(gradient, qkv.shape(), qkv.device())?))
    }
}

/// A function of each number by itself.
pub(super) struct Elementwise {
    name: &'static str,
    forward: fn(&[f32]) -> Vec<f32>,
    /// From `x` and the derivative in the result.
    backward: fn(&[f32], &[f32]) -> Vec<f32>,
}

/// GELU by the tanh approximation.
pub(super) const GELU_NEW: Elementwise =
    Elementwise { name: "gelu_new", forward: kernels::gelu_new, backward: kernels::gelu_new_backward };

/// GELU by the error function.
pub(super) const GELU: Elementwise =
    Elementwise { name: "gelu", forward: kernels::gelu, backward: kernels::gelu_backward };

impl CustomOp1 for Elementwise {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32((self.forward)(dense(x.as_slice()?, layout)?)), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let gradient = on_slices([x, &dy], |[x_data, dy_data]| {
            Ok((self.backward)(dense(x_data, x.layout())?, dense(dy_data, dy.layout())?))
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
fn matrix<'a>(data: &'a [f32], layout: &Layout) -> Result<Matrix<'a>> {
    let &[rows, columns] = layout.dims() else { bail!("expected a matrix, got {:?}", layout.shape()) };
    let strides = (layout.stride()[0], layout.stride()[1]);
    Ok(Matrix::new(&data[layout.start_offset()..], (rows, columns), strides))
}

/// The values of a contiguous tensor.
fn dense<'a, T>(data: &'a [T], layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((first, end)) => Ok(&data[first..end]),
        None => bail!("expected a contiguous tensor, got {layout:?}"),
    }
}

/// Lends the storages of CPU tensors of f32.
fn on_slices<const N: usize, T>(
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
