//! Attention, in one piece and step by step. Both give the same bits.
//!
//! On the kernels' ground (f32 on the CPU) queries, keys and values are read where they stand; elsewhere the
//! steps are composed of the tensor library's operations. `sequence` is what training spends its time in.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, D, Device, Layout, Shape, Tensor, bail};
use microtome_kernels::{self as kernels, AttentionShape, Keyed, Matrix};

use super::fused::{dense, matrix, on_slices};
use super::{Arithmetic, matmul, softmax};
use crate::error::Result;

type Candle<T> = candle_core::Result<T>;

/// One group's attention: its lanes' queries at some positions, their own keys and values, and those that they
/// share, which come before.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub by: Arithmetic,
    pub n_lanes: usize,
    /// How many keys each query of a lane sees.
    pub sees: Vec<usize>,
    pub n_keys: usize,
    /// Keys and values `[past, head, d_head]`; constants.
    pub past: Option<(Tensor, Tensor)>,
    /// What [`Attention::future`] gave for the same queries and keys; asked again where it is not here.
    pub mask: Option<Tensor>,
}

impl Attention {
    fn n_past(&self) -> usize {
        self.past.as_ref().map_or(0, |(keys, _)| keys.dims()[0])
    }

    /// Whether every lane is a whole sequence.
    fn is_whole(&self) -> bool {
        self.past.is_none() && self.sees.iter().copied().eq(1..=self.n_keys)
    }

    fn shape(&self, n_heads: usize) -> AttentionShape<'_> {
        AttentionShape { n_lanes: self.n_lanes, n_heads, n_past: self.n_past(), sees: &self.sees }
    }

    /// `z`, `[rows, head, d_head]`, from queries `[rows, head, d_head]` and own keys and values; `None` where it
    /// cannot be had in one piece.
    pub fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Option<Tensor>> {
        let leads_back = [q, k, v].iter().any(|x| x.track_op());
        if !self.by.has_kernels(q) || (leads_back && !self.is_whole()) {
            return Ok(None);
        }
        Ok(Some(q.apply_op3(k, v, InOnePiece(self.clone()))?))
    }

    /// Scores, `[lane, head, query, key]`.
    pub fn scores(&self, q: &Tensor, k: &Tensor) -> Result<Tensor> {
        if self.by.has_kernels(q) {
            return Ok(q.apply_op2(k, Scores(self.clone()))?);
        }
        let (_, n_heads, d_head) = q.dims3()?;
        let q = self.by_lane(q, self.sees.len())?; // [lane, head, query, d_head]
        let k = self.by_lane(k, self.n_keys - self.n_past())?;
        let mut scores = matmul(&q, &k.transpose(2, 3)?)?; // [lane, head, query, own key]
        if let Some((past, _)) = &self.past {
            let from_past = with_shared(&q, &past.permute((1, 2, 0))?)?; // [lane, head, query, past key]
            scores = Tensor::cat(&[&from_past, &scores], 3)?;
        }
        debug_assert_eq!(scores.dim(1)?, n_heads);
        let scores = (scores * (1.0 / (d_head as f64).sqrt()))?;
        let mask = match &self.mask {
            Some(mask) => Some(mask.clone()),
            None => self.future(&scores)?,
        };
        match mask {
            Some(mask) => Ok(scores.broadcast_add(&mask)?),
            None => Ok(scores),
        }
    }

    /// The pattern, `[lane, head, query, key]`, of scores.
    pub fn pattern(&self, scores: &Tensor) -> Result<Tensor> {
        match self.by.has_kernels(scores) {
            true => Ok(scores.contiguous()?.apply_op1(Pattern(self.clone()))?),
            false => softmax(scores),
        }
    }

    /// `z`, `[rows, head, d_head]`, of a pattern.
    pub fn mix(&self, pattern: &Tensor, v: &Tensor) -> Result<Tensor> {
        if self.by.has_kernels(pattern) {
            return Ok(pattern.contiguous()?.apply_op2(v, Mix(self.clone()))?);
        }
        let (n_heads, d_head) = (v.dim(1)?, v.dim(2)?);
        let n_past = self.n_past();
        let n_own = self.n_keys - n_past;
        let v = self.by_lane(v, n_own)?;
        let mut z = matmul(&pattern.narrow(3, n_past, n_own)?, &v)?; // [lane, head, query, d_head]
        if let Some((_, past)) = &self.past {
            z = (z + with_shared(&pattern.narrow(3, 0, n_past)?, &past.transpose(0, 1)?)?)?;
        }
        let rows = self.n_lanes * self.sees.len();
        Ok(z.transpose(1, 2)?.contiguous()?.reshape((rows, n_heads, d_head))?)
    }

    /// `[lane * row, head, d_head]` as `[lane, head, row, d_head]`.
    fn by_lane(&self, x: &Tensor, n_rows: usize) -> Candle<Tensor> {
        let (_, n_heads, d_head) = x.dims3()?;
        x.reshape((self.n_lanes, n_rows, n_heads, d_head))?.transpose(1, 2)?.contiguous()
    }

    /// `[lane, head, row, d_head]` as `[lane * row, head, d_head]`.
    fn by_row(x: &Tensor) -> Candle<Tensor> {
        let (n_lanes, n_heads, n_rows, d_head) = x.dims4()?;
        x.transpose(1, 2)?.contiguous()?.reshape((n_lanes * n_rows, n_heads, d_head))
    }

    /// 0 where a query may see a key, `-inf` where the key is in its future; `[query, key]`, or `None`
    /// where every query sees every key.
    pub fn future(&self, like: &Tensor) -> Result<Option<Tensor>> {
        if self.sees.iter().all(|&seen| seen >= self.n_keys) {
            return Ok(None);
        }
        let row =
            |&seen: &usize| (0..self.n_keys).map(move |key| if key < seen { 0.0 } else { f32::NEG_INFINITY });
        let mask: Vec<f32> = self.sees.iter().flat_map(row).collect();
        let mask = Tensor::from_vec(mask, (self.sees.len(), self.n_keys), &Device::Cpu)?;
        Ok(Some(mask.to_dtype(like.dtype())?.to_device(like.device())?))
    }

    /// Lends keys or values to the kernels, with the ones that are shared.
    fn keyed<T>(&self, own: Matrix, past: Option<&Tensor>, lend: impl FnOnce(Keyed) -> T) -> Candle<T> {
        let Some(past) = past else { return Ok(lend(Keyed { past: None, own })) };
        let past = past.contiguous()?;
        on_slices([&past], |[data]| {
            let past = rows_of_heads(data, past.layout())?;
            Ok(lend(Keyed { past: Some(past), own }))
        })
    }
}

/// `a` `[lane, head, query, inner]` times `shared` `[head, inner, out]`, the same for every lane.
fn with_shared(a: &Tensor, shared: &Tensor) -> Candle<Tensor> {
    let (n_lanes, n_heads, n_queries, inner) = a.dims4()?;
    let a = a.transpose(0, 1)?.contiguous()?.reshape((n_heads, n_lanes * n_queries, inner))?;
    let product = a.matmul(&shared.contiguous()?)?; // [head, lane * query, out]
    let out = product.dim(2)?;
    product.reshape((n_heads, n_lanes, n_queries, out))?.transpose(0, 1)?.contiguous()
}

/// `[rows, head, d_head]` as a matrix `[rows, heads * d_head]`, where the heads of a row stand side by side.
fn rows_of_heads<'a>(data: &'a [f32], layout: &Layout) -> Candle<Matrix<'a>> {
    let (&[rows, n_heads, d_head], stride) = (layout.dims(), layout.stride()) else {
        bail!("expected rows of heads, got {:?}", layout.shape())
    };
    let side_by_side = (d_head <= 1 || stride[2] == 1) && (n_heads <= 1 || stride[1] == d_head);
    if !side_by_side {
        bail!("expected heads side by side, got {layout:?}");
    }
    Ok(Matrix::new(&data[layout.start_offset()..], (rows, n_heads * d_head), (stride[0], 1)))
}

/// Queries, own keys and values to `z`.
struct InOnePiece(Attention);

impl CustomOp3 for InOnePiece {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Candle<(CpuStorage, Shape)> {
        let (q, k) = (rows_of_heads(q.as_slice()?, q_layout)?, rows_of_heads(k.as_slice()?, k_layout)?);
        let v = rows_of_heads(v.as_slice()?, v_layout)?;
        let shape = self.0.shape(q_layout.dims()[1]);
        let (past_k, past_v) = self.0.past.as_ref().map(|(k, v)| (k, v)).unzip();
        let z = self.0.keyed(k, past_k, |keys| {
            self.0.keyed(v, past_v, |values| kernels::causal_attention(q, keys, values, shape))
        })??;
        Ok((CpuStorage::F32(z), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        dz: &Tensor,
    ) -> Candle<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (rows, n_heads, d_head) = q.dims3()?;
        let dz = dz.contiguous()?;
        let tensors = [q, k, v, &dz];
        let gradient = on_slices(tensors, |data| {
            let [q, k, v, dz] = [0, 1, 2, 3].map(|i| rows_of_heads(data[i], tensors[i].layout()));
            Ok(kernels::causal_attention_backward([q?, k?, v?], self.0.n_keys, n_heads, dz?))
        })?;
        let gradient = Tensor::from_vec(gradient, (rows, 3, n_heads, d_head), q.device())?;
        let [dq, dk, dv] = [0, 1, 2].map(|part| gradient.narrow(1, part, 1)?.squeeze(1));
        Ok((Some(dq?), Some(dk?), Some(dv?)))
    }
}

/// Attention of whole sequences of `n_pos` positions from queries, keys and values side by side, `[rows, 3 *
/// heads * d_head]`: `z`, `[rows, heads * d_head]`. Only on the kernels' ground.
pub(crate) fn sequence(qkv: &Tensor, n_pos: usize, n_heads: usize) -> Result<Tensor> {
    Ok(qkv.contiguous()?.apply_op1(Sequence { n_pos, n_heads })?)
}

struct Sequence {
    n_pos: usize,
    n_heads: usize,
}

/// Queries, keys and values that stand side by side.
fn three_parts<'a>(data: &'a [f32], layout: &Layout) -> Candle<[Matrix<'a>; 3]> {
    let qkv = matrix(data, layout)?;
    let (rows, width) = (qkv.shape().0, qkv.shape().1 / 3);
    Ok([0, 1, 2].map(|part| qkv.part(0..rows, part * width..(part + 1) * width)))
}

impl CustomOp1 for Sequence {
    fn name(&self) -> &'static str {
        "attention_of_sequences"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Candle<(CpuStorage, Shape)> {
        let [q, k, v] = three_parts(qkv.as_slice()?, layout)?;
        let (rows, width) = q.shape();
        let sees: Vec<usize> = (1..=self.n_pos).collect();
        let n_lanes = rows / self.n_pos.max(1);
        let shape = AttentionShape { n_lanes, n_heads: self.n_heads, n_past: 0, sees: &sees };
        let [keys, values] = [k, v].map(|own| Keyed { past: None, own });
        Ok((CpuStorage::F32(kernels::causal_attention(q, keys, values, shape)), Shape::from((rows, width))))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, dz: &Tensor) -> Candle<Option<Tensor>> {
        let dz = dz.contiguous()?;
        let gradient = on_slices([qkv, &dz], |[qkv_data, dz_data]| {
            let parts = three_parts(qkv_data, qkv.layout())?;
            let dz = matrix(dz_data, dz.layout())?;
            Ok(kernels::causal_attention_backward(parts, self.n_pos, self.n_heads, dz))
        })?;
        Ok(Some(Tensor::from_vec(gradient, qkv.shape(), qkv.device())?))
    }
}

/// Queries and own keys to scores.
struct Scores(Attention);

impl CustomOp2 for Scores {
    fn name(&self) -> &'static str {
        "attention_scores"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
    ) -> Candle<(CpuStorage, Shape)> {
        let (q, k) = (rows_of_heads(q.as_slice()?, q_layout)?, rows_of_heads(k.as_slice()?, k_layout)?);
        let n_heads = q_layout.dims()[1];
        let past = self.0.past.as_ref().map(|(k, _)| k);
        let scores =
            self.0.keyed(k, past, |keys| kernels::attention_scores(q, keys, self.0.shape(n_heads)))?;
        let dims = (self.0.n_lanes, n_heads, self.0.sees.len(), self.0.n_keys);
        Ok((CpuStorage::F32(scores), Shape::from(dims)))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        _: &Tensor,
        ds: &Tensor,
    ) -> Candle<(Option<Tensor>, Option<Tensor>)> {
        let n_past = self.0.n_past();
        let n_own = self.0.n_keys - n_past;
        let ds = (ds * (1.0 / (q.dim(2)? as f64).sqrt()))?;
        let own = ds.narrow(3, n_past, n_own)?.contiguous()?;
        let mut dq = own.matmul(&self.0.by_lane(k, n_own)?)?;
        if let Some((past, _)) = &self.0.past {
            dq = (dq + with_shared(&ds.narrow(3, 0, n_past)?, &past.transpose(0, 1)?)?)?;
        }
        let q = self.0.by_lane(q, self.0.sees.len())?;
        let dk = own.transpose(2, 3)?.contiguous()?.matmul(&q)?;
        Ok((Some(Attention::by_row(&dq)?), Some(Attention::by_row(&dk)?)))
    }
}

/// Scores to the pattern.
struct Pattern(Attention);

impl CustomOp1 for Pattern {
    fn name(&self) -> &'static str {
        "attention_pattern"
    }

    fn cpu_fwd(&self, scores: &CpuStorage, layout: &Layout) -> Candle<(CpuStorage, Shape)> {
        let scores = dense(scores.as_slice()?, layout)?;
        let pattern = kernels::attention_pattern(scores, self.0.n_keys, &self.0.sees);
        Ok((CpuStorage::F32(pattern), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, pattern: &Tensor, dp: &Tensor) -> Candle<Option<Tensor>> {
        let mean = (dp * pattern)?.sum_keepdim(D::Minus1)?;
        Ok(Some((pattern * dp.broadcast_sub(&mean)?)?))
    }
}

/// Pattern and own values to `z`.
struct Mix(Attention);

impl CustomOp2 for Mix {
    fn name(&self) -> &'static str {
        "attention_mix"
    }

    fn cpu_fwd(
        &self,
        pattern: &CpuStorage,
        layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Candle<(CpuStorage, Shape)> {
        let pattern = dense(pattern.as_slice()?, layout)?;
        let (n_heads, d_head) = (v_layout.dims()[1], v_layout.dims()[2]);
        let v = rows_of_heads(v.as_slice()?, v_layout)?;
        let past = self.0.past.as_ref().map(|(_, v)| v);
        let z =
            self.0.keyed(v, past, |values| kernels::attention_mix(pattern, values, self.0.shape(n_heads)))?;
        Ok((CpuStorage::F32(z), Shape::from((self.0.n_lanes * self.0.sees.len(), n_heads, d_head))))
    }

    fn bwd(
        &self,
        pattern: &Tensor,
        v: &Tensor,
        _: &Tensor,
        dz: &Tensor,
    ) -> Candle<(Option<Tensor>, Option<Tensor>)> {
        let n_past = self.0.n_past();
        let n_own = self.0.n_keys - n_past;
        let dz = self.0.by_lane(&dz.contiguous()?, self.0.sees.len())?; // [lane, head, query, d_head]
        let v = self.0.by_lane(v, n_own)?;
        let mut dp = dz.matmul(&v.transpose(2, 3)?.contiguous()?)?;
        if let Some((_, past)) = &self.0.past {
            let from_past = with_shared(&dz, &past.permute((1, 2, 0))?)?;
            dp = Tensor::cat(&[&from_past, &dp], 3)?;
        }
        let own = pattern.narrow(3, n_past, n_own)?.transpose(2, 3)?.contiguous()?;
        Ok((Some(dp), Some(Attention::by_row(&own.matmul(&dz)?)?)))
    }
}
