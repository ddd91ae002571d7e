//! Causal attention: queries, keys, values; scores; pattern; each head's mix of values; `W_O`.
//!
//! ```text
//! q, k, v   = LN(resid_pre) W_{Q,K,V} + b          [rows, head, d_head]
//! scores    = q . k / sqrt(d_head), -inf ahead     [lane, head, query, key]
//! pattern   = softmax over keys                    [lane, head, query, key]
//! z         = pattern v                            [rows, head, d_head]
//! attn_out  = sum over heads of z W_O[head] + b_O  [rows, d_model]
//! ```
//!
//! This is the only attention and the only causal mask. A group's lanes share what stands before
//! their first changed position: those keys and values (the *past*) are the base prompt's, or a
//! generation's cache, and meet the queries of all lanes in one product.

use candle_core::{Device, Tensor};

use super::norm;
use crate::error::Result;
use crate::hook::Site;
use crate::ops;
use crate::walk::{Entry, Rows, Walk};
use crate::weights::{BlockWeights, Linear};

/// The first half of a block: from the residual stream entering it to the one after attention.
/// `x` is `[rows, d_model]`, `None` while no lane has joined.
pub(crate) fn attention(
    walk: &mut Walk,
    layer: usize,
    block: &BlockWeights,
    x: Option<Tensor>,
) -> Result<Option<Tensor>> {
    let at = |site: Site| site.at(layer);

    let x = walk.join(Entry::ResidPre(layer), x.map(|x| [x]), [at(Site::ResidPre)])?;
    let projected = match x {
        Some([x]) => {
            let x = walk.fire(at(Site::ResidPre), x)?;
            if let Some(n_pos) = walk.unobserved_attention(layer)
                && ops::has_kernels(&x)
            {
                let out = fused(walk, layer, block, &x, n_pos)?;
                return Ok(Some((x + walk.fire(at(Site::AttnOut), out)?)?));
            }
            Some(project(walk, layer, block, x)?)
        }
        None => {
            walk.narrow_positions(layer)?;
            None
        }
    };
    let sources = [at(Site::ResidPre), at(Site::Q), at(Site::K), at(Site::V)];
    let mixed = match walk.join(Entry::Qkv(layer), projected, sources)? {
        Some([x, q, k, v]) => {
            let q = walk.fire(at(Site::Q), q)?;
            let k = walk.fire_own(at(Site::K), k)?;
            let v = walk.fire_own(at(Site::V), v)?;
            Some([x, attend(walk, layer, &q, &k, &v)?])
        }
        None => None,
    };
    let out = match walk.join(Entry::Z(layer), mixed, [at(Site::ResidPre), at(Site::Z)])? {
        Some([x, z]) => {
            let z = walk.fire(at(Site::Z), z)?; // [rows, head, d_head]
            Some([x, project_out(walk, layer, &block.out, z)?])
        }
        None => None,
    };
    match walk.join(Entry::AttnOut(layer), out, [at(Site::ResidPre), at(Site::AttnOut)])? {
        Some([x, out]) => {
            let out = walk.fire(at(Site::AttnOut), out)?;
            Ok(Some((x + out)?))
        }
        None => Ok(None),
    }
}

/// `attn_out` of whole sequences of `n_pos` positions, no step of which is looked at.
fn fused(walk: &mut Walk, layer: usize, block: &BlockWeights, x: &Tensor, n_pos: usize) -> Result<Tensor> {
    let normed = norm::layer_norm(walk, x, block.ln1.as_ref(), norm::hooks(Site::Ln1Normalized, layer))?;
    let qkv = walk.linear(&normed, &block.qkv)?; // [rows, 3 * n_heads * d_head]
    let z = ops::causal_attention(&qkv, n_pos, walk.config())?; // [rows, n_heads * d_head]
    walk.work.product(x.dim(0)? * walk.config().n_heads, walk.config().d_head, 2 * n_pos);
    walk.linear(&z, &block.out)
}

/// `resid_pre`, queries, keys and values. Where this layer narrows the walk to the positions that are
/// read, the residual stream and the queries are narrowed, keys and values are not.
fn project(walk: &mut Walk, layer: usize, block: &BlockWeights, mut x: Tensor) -> Result<[Tensor; 4]> {
    let at = |site: Site| site.at(layer);
    let inputs = [Site::AttnIn, Site::QInput, Site::KInput, Site::VInput];
    if inputs.iter().any(|&site| walk.changes(at(site))) {
        return project_split(walk, layer, block, x);
    }
    for site in inputs {
        if walk.wants(at(site)) {
            walk.fire(at(site), per_head(walk, &x)?)?;
        }
    }
    let normed = norm::layer_norm(walk, &x, block.ln1.as_ref(), norm::hooks(Site::Ln1Normalized, layer))?;
    let width = walk.config().d_attn();
    let [q, k, v] = match walk.narrow_positions(layer)? {
        None => {
            let qkv = walk.linear(&normed, &block.qkv)?; // [rows, 3 * n_heads * d_head]
            [0, 1, 2].map(|part| qkv.narrow(1, part * width, width))
        }
        Some(kept) => {
            let kv = walk.linear_columns(&normed, &block.qkv, width, 2 * width)?;
            let q = walk.linear_columns(&normed.index_select(&kept, 0)?, &block.qkv, 0, width)?;
            x = x.index_select(&kept, 0)?;
            [Ok(q), kv.narrow(1, 0, width), kv.narrow(1, width, width)]
        }
    };
    let [q, k, v] = heads_of(walk, [q, k, v])?;
    Ok([x, q, k, v])
}

/// Each head computes its queries, keys and values from its own edited copy of the residual stream.
fn project_split(walk: &mut Walk, layer: usize, block: &BlockWeights, x: Tensor) -> Result<[Tensor; 4]> {
    let at = |site: Site| site.at(layer);
    if walk.wants(at(Site::Ln1Scale)) || walk.wants(at(Site::Ln1Normalized)) {
        norm::layer_norm(walk, &x, block.ln1.as_ref(), norm::hooks(Site::Ln1Normalized, layer))?;
    }
    let width = walk.config().d_attn();
    let input = walk.fire(at(Site::AttnIn), per_head(walk, &x)?)?; // [rows, head, d_model]
    let mut parts = Vec::with_capacity(3);
    for (part, site) in [Site::QInput, Site::KInput, Site::VInput].into_iter().enumerate() {
        let input = walk.fire(at(site), input.clone())?;
        let normed = norm::unhooked(walk, &input, block.ln1.as_ref())?;
        let map = Linear {
            w: block.qkv.w.narrow(1, part * width, width)?,
            b: block.qkv.b.narrow(0, part * width, width)?,
        };
        parts.push(per_head_linear(walk, &normed, &map)?); // [rows, head, d_head]
    }
    let (v, k, mut q) = (parts.remove(2), parts.remove(1), parts.remove(0));
    let mut x = x;
    if let Some(kept) = walk.narrow_positions(layer)? {
        x = x.index_select(&kept, 0)?;
        q = q.index_select(&kept, 0)?;
    }
    Ok([x, q, k, v])
}

/// `[rows, d_model]` repeated for every head, `[rows, head, d_model]`.
fn per_head(walk: &Walk, x: &Tensor) -> Result<Tensor> {
    let (rows, d_model) = x.dims2()?;
    Ok(x.unsqueeze(1)?.broadcast_as((rows, walk.config().n_heads, d_model))?.contiguous()?)
}

/// Head `h` of `x` `[rows, head, in]` through columns `h` of `map` `[in, head * out]`.
fn per_head_linear(walk: &mut Walk, x: &Tensor, map: &Linear) -> Result<Tensor> {
    let (rows, n_heads, d_in) = x.dims3()?;
    let d_out = map.w.dim(1)? / n_heads;
    walk.work.product(rows * n_heads, d_in, d_out);
    let w = map.w.reshape((d_in, n_heads, d_out))?.transpose(0, 1)?.contiguous()?; // [head, in, out]
    let y = ops::matmul(&x.transpose(0, 1)?, &w)?.transpose(0, 1)?; // [rows, head, out]
    Ok(y.contiguous()?.broadcast_add(&map.b.reshape((n_heads, d_out))?)?)
}

fn heads_of(walk: &Walk, parts: [candle_core::Result<Tensor>; 3]) -> Result<[Tensor; 3]> {
    let (n_heads, d_head) = (walk.config().n_heads, walk.config().d_head);
    let [q, k, v] =
        parts.map(|part| part.and_then(|part| part.contiguous()?.reshape((part.dim(0)?, n_heads, d_head))));
    Ok([q?, k?, v?])
}

/// Scores, pattern and the mix of values, group by group. Returns `z`, `[rows, head, d_head]`.
fn attend(walk: &mut Walk, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (_, n_heads, d_head) = q.dims3()?;
    let mut mixed = Vec::new();
    for index in walk.active_groups() {
        let n_lanes = walk.group(index).joined();
        let n_queries = walk.group(index).positions().len();
        let n_own = walk.group(index).own_len();
        // [lane, head, query, d_head] and [lane, head, key, d_head]
        let of_lane = |x: &Tensor, rows: Rows, n_rows: usize| -> Result<Tensor> {
            let x = walk.slice(x, index, rows)?.reshape((n_lanes, n_rows, n_heads, d_head))?;
            Ok(x.transpose(1, 2)?.contiguous()?)
        };
        let q = of_lane(q, Rows::Current, n_queries)?;
        let k = of_lane(k, Rows::Own, n_own)?;
        let v = of_lane(v, Rows::Own, n_own)?;
        let past = walk.past(index, layer)?;

        let mut scores = ops::matmul(&q, &k.transpose(2, 3)?)?; // [lane, head, query, own key]
        if let Some((past_k, _)) = &past {
            let from_past = with_shared(&q, &past_k.permute((1, 2, 0))?)?; // [lane, head, query, past key]
            scores = Tensor::cat(&[&from_past, &scores], 3)?;
        }
        let n_keys = walk.group(index).n_keys();
        walk.work.product(n_lanes * n_queries * n_heads, d_head, 2 * n_keys);
        let scores = (scores * (1.0 / (d_head as f64).sqrt()))?;
        let scores = match causal_mask(walk.group(index).positions(), n_keys, &scores)? {
            Some(mask) => scores.broadcast_add(&mask)?,
            None => scores,
        };
        let scores = walk.fire_group(Site::AttnScores.at(layer), index, scores)?;
        let pattern = walk.fire_group(Site::Pattern.at(layer), index, ops::softmax(&scores)?)?;

        let n_past = n_keys - n_own;
        let mut z = ops::matmul(&pattern.narrow(3, n_past, n_own)?, &v)?; // [lane, head, query, d_head]
        if let Some((_, past_v)) = &past {
            let weights = pattern.narrow(3, 0, n_past)?;
            z = (z + with_shared(&weights, &past_v.transpose(0, 1)?)?)?;
        }
        mixed.push(z.transpose(1, 2)?.contiguous()?.reshape((n_lanes * n_queries, n_heads, d_head))?);
    }
    Ok(if mixed.len() == 1 { mixed.remove(0) } else { Tensor::cat(&mixed, 0)? })
}

/// `a` `[lane, head, query, inner]` times `shared` `[head, inner, out]`, the same for every lane.
fn with_shared(a: &Tensor, shared: &Tensor) -> Result<Tensor> {
    let (n_lanes, n_heads, n_queries, inner) = a.dims4()?;
    let a = a.transpose(0, 1)?.contiguous()?.reshape((n_heads, n_lanes * n_queries, inner))?;
    let product = ops::matmul(&a, &shared.contiguous()?)?; // [head, lane * query, out]
    let out = product.dim(2)?;
    Ok(product.reshape((n_heads, n_lanes, n_queries, out))?.transpose(0, 1)?.contiguous()?)
}

/// 0 where a query may see a key, `-inf` where the key is in its future; `[query, key]`, or `None`
/// where every query sees every key.
fn causal_mask(positions: &[usize], n_keys: usize, like: &Tensor) -> Result<Option<Tensor>> {
    if positions.iter().all(|&query| query + 1 >= n_keys) {
        return Ok(None);
    }
    let mask: Vec<f32> = positions
        .iter()
        .flat_map(|&query| (0..n_keys).map(move |key| if key <= query { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    let mask = Tensor::from_vec(mask, (positions.len(), n_keys), &Device::Cpu)?;
    Ok(Some(mask.to_dtype(like.dtype())?.to_device(like.device())?))
}

/// `sum over heads of z W_O[head] + b_O`, by way of each head's own result where that is changed.
fn project_out(walk: &mut Walk, layer: usize, map: &Linear, z: Tensor) -> Result<Tensor> {
    let hook = Site::Result.at(layer);
    if walk.wants(hook) {
        let (_, n_heads, d_head) = z.dims3()?;
        let (rows, d_model) = (z.dim(0)?, map.w.dim(1)?);
        walk.work.product(rows * n_heads, d_head, d_model);
        let w = map.w.reshape((n_heads, d_head, d_model))?;
        let result = ops::matmul(&z.transpose(0, 1)?, &w)?.transpose(0, 1)?.contiguous()?;
        let result = walk.fire(hook, result)?; // [rows, head, d_model]
        if walk.changes(hook) {
            return Ok(result.sum(1)?.broadcast_add(&map.b)?);
        }
    }
    let rows = z.dim(0)?;
    walk.linear(&z.reshape((rows, ()))?, map)
}
