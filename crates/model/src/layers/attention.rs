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

use candle_core::Tensor;

use super::norm;
use crate::config::Config;
use crate::error::Result;
use crate::hook::Site;
use crate::linear_map::LinearMap;
use crate::ops::attention::Attention;
use crate::ops::{self, Then};
use crate::walk::{Entry, Rows, Walk};
use crate::weights::{BlockWeights, Linear};

/// The first half of a block: from the residual stream entering it to the one after attention.
/// `x` is `[rows, d_model]`, `None` while no lane has joined.
pub(crate) fn attention(
    walk: &mut Walk,
    layer: usize,
    block: &BlockWeights<LinearMap>,
    x: Option<Tensor>,
) -> Result<Option<Tensor>> {
    let at = |site: Site| site.at(layer);

    let x = walk.join(Entry::ResidPre(layer), x.map(|x| [x]), [at(Site::ResidPre)])?;
    let projected = match x {
        Some([x]) => {
            let x = walk.fire(at(Site::ResidPre), x)?;
            if let Some(n_pos) = walk.unobserved_attention(layer)
                && walk.arithmetic().has_kernels(&x)
            {
                let z = sequences(walk, layer, block, &x, n_pos)?;
                return Ok(Some(write(walk, layer, block, x, &z)?));
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
            if !walk.joins(Entry::AttnOut(layer)) && !walk.changes(at(Site::Result)) {
                read_result(walk, layer, &block.out, &z)?;
                let z = z.reshape((z.dim(0)?, ()))?;
                return Ok(Some(write(walk, layer, block, x, &z)?));
            }
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

/// `z`, `[rows, heads * d_head]`, of whole sequences of `n_pos` positions, no step of which is looked at.
fn sequences(
    walk: &mut Walk,
    layer: usize,
    block: &BlockWeights<LinearMap>,
    x: &Tensor,
    n_pos: usize,
) -> Result<Tensor> {
    let normed = norm::layer_norm(walk, x, block.ln1.as_ref(), norm::hooks(Site::Ln1Normalized, layer))?;
    let qkv = walk.linear(&normed, &block.qkv, Then::Keep)?; // [rows, 3 * n_heads * d_head]
    let Config { n_heads, d_head, .. } = *walk.config();
    walk.work.product(x.dim(0)? * n_heads, d_head, 2 * n_pos);
    ops::attention::sequence(&qkv, n_pos, n_heads)
}

/// `resid_mid`, from `z` `[rows, heads * d_head]` that all lanes have.
fn write(
    walk: &mut Walk,
    layer: usize,
    block: &BlockWeights<LinearMap>,
    x: Tensor,
    z: &Tensor,
) -> Result<Tensor> {
    let hook = Site::AttnOut.at(layer);
    if !walk.wants(hook) {
        return walk.linear(z, &block.out, Then::AddTo(&x));
    }
    let out = walk.linear(z, &block.out, Then::Keep)?;
    Ok((x + walk.fire(hook, out)?)?)
}

/// `resid_pre`, queries, keys and values. Where this layer narrows the walk to the positions that are
/// read, the residual stream and the queries are narrowed, keys and values are not.
fn project(
    walk: &mut Walk,
    layer: usize,
    block: &BlockWeights<LinearMap>,
    mut x: Tensor,
) -> Result<[Tensor; 4]> {
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
            let qkv = walk.linear(&normed, &block.qkv, Then::Keep)?; // [rows, 3 * n_heads * d_head]
            heads_of(walk, &qkv)?
        }
        Some(kept) => {
            let kv = walk.linear_columns(&normed, &block.qkv, width..3 * width)?;
            let q = walk.linear_columns(&normed.index_select(&kept, 0)?, &block.qkv, 0..width)?;
            x = x.index_select(&kept, 0)?;
            let ([q], [k, v]) = (heads_of(walk, &q)?, heads_of(walk, &kv)?);
            [q, k, v]
        }
    };
    Ok([x, q, k, v])
}

/// Each head computes its queries, keys and values from its own edited copy of the residual stream.
fn project_split(
    walk: &mut Walk,
    layer: usize,
    block: &BlockWeights<LinearMap>,
    x: Tensor,
) -> Result<[Tensor; 4]> {
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
        let columns = part * width..(part + 1) * width;
        let b = block.qkv.bias().narrow(0, columns.start, width)?;
        let map = Linear { w: block.qkv.columns(columns)?, b };
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

/// The `N` parts of `[rows, N * n_heads * d_head]` that stand side by side, each `[rows, head, d_head]`, in place.
fn heads_of<const N: usize>(walk: &Walk, x: &Tensor) -> Result<[Tensor; N]> {
    let (n_heads, d_head) = (walk.config().n_heads, walk.config().d_head);
    let x = x.reshape((x.dim(0)?, N, n_heads, d_head))?;
    let mut parts = Vec::with_capacity(N);
    for part in 0..N {
        parts.push(x.narrow(1, part, 1)?.squeeze(1)?);
    }
    let mut parts = parts.into_iter();
    Ok(std::array::from_fn(|_| parts.next().expect("N parts were pushed")))
}

/// Scores, pattern and the mix of values, group by group. Returns `z`, `[rows, head, d_head]`.
fn attend(walk: &mut Walk, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (_, n_heads, d_head) = q.dims3()?;
    let (scores_hook, pattern_hook) = (Site::AttnScores.at(layer), Site::Pattern.at(layer));
    let observed = walk.wants(scores_hook) || walk.wants(pattern_hook);
    let mut mixed = Vec::new();
    for index in walk.active_groups() {
        let group = walk.group(index);
        let mut attention = Attention {
            by: walk.arithmetic(),
            n_lanes: group.joined(),
            sees: group.positions().iter().map(|pos| pos + 1).collect(),
            n_keys: group.n_keys(),
            past: walk.past(index, layer)?,
            mask: None,
        };
        let n_rows = attention.n_lanes * attention.sees.len();
        walk.work.product(n_rows * n_heads, d_head, 2 * attention.n_keys);
        let q = walk.slice(q, index, Rows::Current)?;
        let k = walk.slice(k, index, Rows::Own)?;
        let v = walk.slice(v, index, Rows::Own)?;
        if !observed && let Some(z) = attention.attend(&q, &k, &v)? {
            mixed.push(z);
            continue;
        }
        if !attention.by.has_kernels(&q) {
            attention.mask = walk.mask(index, &attention, &q)?;
        }
        let scores = walk.fire_group(scores_hook, index, attention.scores(&q, &k)?)?;
        let pattern = walk.fire_group(pattern_hook, index, attention.pattern(&scores)?)?;
        mixed.push(attention.mix(&pattern, &v)?);
    }
    Ok(if mixed.len() == 1 { mixed.remove(0) } else { Tensor::cat(&mixed, 0)? })
}

/// Lets each head's own result be read, where it is wanted.
fn read_result(walk: &mut Walk, layer: usize, map: &LinearMap, z: &Tensor) -> Result<Option<Tensor>> {
    let hook = Site::Result.at(layer);
    if !walk.wants(hook) {
        return Ok(None);
    }
    let (rows, n_heads, d_head) = z.dims3()?;
    let d_model = map.d_out();
    walk.work.product(rows * n_heads, d_head, d_model);
    let w = map.columns(0..d_model)?.reshape((n_heads, d_head, d_model))?;
    let result = ops::matmul(&z.transpose(0, 1)?, &w)?.transpose(0, 1)?.contiguous()?;
    Ok(Some(walk.fire(hook, result)?)) // [rows, head, d_model]
}

/// `sum over heads of z W_O[head] + b_O`, by way of each head's own result where that is changed.
fn project_out(walk: &mut Walk, layer: usize, map: &LinearMap, z: Tensor) -> Result<Tensor> {
    match read_result(walk, layer, map, &z)? {
        Some(result) if walk.changes(Site::Result.at(layer)) => {
            Ok(result.sum(1)?.broadcast_add(map.bias())?)
        }
        _ => walk.linear(&z.reshape((z.dim(0)?, ()))?, map, Then::Keep),
    }
}
