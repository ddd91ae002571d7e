//! Token and position embeddings: `resid_pre[0] = W_E[token] + W_pos[position]`.

use candle_core::Tensor;

use crate::error::Result;
use crate::hook::Site;
use crate::walk::Walk;

/// The residual stream entering block 0, for every lane that starts from its tokens.
pub(crate) fn embed(walk: &mut Walk) -> Result<Option<Tensor>> {
    let (tokens, positions) = walk.embedding_rows();
    if tokens.is_empty() {
        return Ok(None);
    }
    let weights = walk.weights();
    let device = weights.embed.device();
    let token = weights.embed.index_select(&Tensor::new(tokens, device)?, 0)?; // [rows, d_model]
    let pos = weights.pos_embed.index_select(&Tensor::new(positions, device)?, 0)?; // [rows, d_model]
    let token = walk.fire(Site::Embed.at(0), token)?;
    let pos = walk.fire(Site::PosEmbed.at(0), pos)?;
    Ok(Some((token + pos)?))
}
