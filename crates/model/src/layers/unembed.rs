//! The final LayerNorm and the unembedding: `logits = LN(resid_post) W_U + b_U`.

use candle_core::Tensor;

use super::norm;
use crate::error::Result;
use crate::hook::Site;
use crate::ops::Then;
use crate::walk::Walk;

/// What the unembedding multiplies, `[rows, d_model]`.
pub(crate) fn final_norm(walk: &mut Walk, x: &Tensor) -> Result<Tensor> {
    let weights = walk.weights();
    let x = norm::layer_norm(walk, x, weights.ln_final.as_ref(), norm::hooks(Site::LnFinalNormalized, 0))?;
    walk.fire(Site::UnembedIn.at(0), x)
}

/// The logits of all rows, `[rows, d_vocab]`, with their hook.
pub(crate) fn logits(walk: &mut Walk, x: &Tensor) -> Result<Tensor> {
    let logits = logits_unhooked(walk, x)?;
    walk.fire(Site::UnembedOut.at(0), logits)
}

/// The logits of some rows, where nothing reads or edits them.
pub(crate) fn logits_unhooked(walk: &mut Walk, x: &Tensor) -> Result<Tensor> {
    let weights = walk.weights();
    walk.linear(x, &weights.unembed, Then::Keep)
}
