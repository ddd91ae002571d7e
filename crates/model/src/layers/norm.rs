//! LayerNorm: `(x - mean) / sqrt(var + eps)`, then gain and bias where they are not folded away.

use candle_core::Tensor;

use crate::error::Result;
use crate::hook::{Hook, Site};
use crate::ops;
use crate::walk::Walk;
use crate::weights::Affine;

/// The hook points of one LayerNorm.
pub(crate) fn hooks(normalized: Site, layer: usize) -> (Hook, Hook) {
    let scale = match normalized {
        Site::Ln1Normalized => Site::Ln1Scale,
        Site::Ln2Normalized => Site::Ln2Scale,
        _ => Site::LnFinalScale,
    };
    (scale.at(layer), normalized.at(layer))
}

/// One LayerNorm with its hooks. `x` is `[rows, d_model]`; without a norm it passes through.
pub(crate) fn layer_norm(
    walk: &mut Walk,
    x: &Tensor,
    affine: Option<&Affine>,
    (scale_hook, normalized_hook): (Hook, Hook),
) -> Result<Tensor> {
    let Some(norm) = walk.config().norm else { return Ok(x.clone()) };
    let by = walk.arithmetic();
    if ![scale_hook, normalized_hook].iter().any(|hook| walk.wants(*hook)) {
        return ops::layer_norm(by, x, affine, norm.eps);
    }
    let scale = walk.fire(scale_hook, ops::norm_scale(by, x, norm.eps)?)?; // [rows, 1]
    let normalized = walk.fire(normalized_hook, ops::norm_divide(by, x, &scale)?)?; // [rows, d_model]
    ops::affine(normalized, affine)
}

/// The same LayerNorm away from its hooks, over the last axis of any shape: each head's own input.
pub(crate) fn unhooked(walk: &Walk, x: &Tensor, affine: Option<&Affine>) -> Result<Tensor> {
    let Some(norm) = walk.config().norm else { return Ok(x.clone()) };
    ops::layer_norm(walk.arithmetic(), x, affine, norm.eps)
}
