//! Weight processing: the four steps TransformerLens calls `fold_ln`, `center_writing_weights`,
//! `center_unembed` and `fold_value_biases`.
//!
//! 1. A LayerNorm's gain and bias move into the linear map that reads it: `W' = w W`, `b' = b + b_ln W`.
//!    The normalised input has mean 0, so the mean over inputs of every column of `W'` can be taken off.
//! 2. What is written to the residual stream loses its mean over `d_model`, which every reader's
//!    LayerNorm removes anyway. Without LayerNorm it matters, so the step is left out there.
//! 3. The unembedding loses its mean over the vocabulary, which the softmax removes.
//! 4. Attention weights sum to 1, so a value bias adds a constant `b_V W_O` to the output: it moves
//!    into `b_O`.
//!
//! Next-token probabilities stay the same; activations do not.

use candle_core::{D, Tensor};

use crate::config::Config;
use crate::error::Result;
use crate::weights::{Affine, Linear, Weights};

/// The processed weights.
pub(crate) fn fold(config: &Config, mut weights: Weights) -> Result<Weights> {
    let has_norm = config.norm.is_some();
    for block in &mut weights.blocks {
        if has_norm {
            block.qkv = fold_norm(&block.qkv, block.ln1.take().as_ref())?;
            if let Some(mlp) = &mut block.mlp {
                mlp.input = fold_norm(&mlp.input, block.ln2.take().as_ref())?;
            }
        }
    }
    if has_norm {
        weights.unembed = fold_norm(&weights.unembed, weights.ln_final.take().as_ref())?;
        weights.embed = center_last(&weights.embed)?;
        weights.pos_embed = center_last(&weights.pos_embed)?;
        for block in &mut weights.blocks {
            block.out = center_writing(&block.out)?;
            if let Some(mlp) = &mut block.mlp {
                mlp.output = center_writing(&mlp.output)?;
            }
        }
    }
    weights.unembed = center_writing(&weights.unembed)?;
    let width = config.d_attn();
    for block in &mut weights.blocks {
        let value_bias = block.qkv.b.narrow(0, 2 * width, width)?;
        let constant = value_bias.unsqueeze(0)?.matmul(&block.out.w)?.squeeze(0)?; // [d_model]
        block.out.b = (&block.out.b + constant)?;
        let zero = value_bias.zeros_like()?;
        block.qkv.b = Tensor::cat(&[&block.qkv.b.narrow(0, 0, 2 * width)?, &zero], 0)?;
    }
    Ok(weights)
}

/// Step 1 for one linear map.
fn fold_norm(map: &Linear, norm: Option<&Affine>) -> Result<Linear> {
    let (w, b) = match norm {
        Some(norm) => {
            let b = (norm.b.unsqueeze(0)?.matmul(&map.w)?.squeeze(0)? + &map.b)?;
            (map.w.broadcast_mul(&norm.w.unsqueeze(1)?)?, b)
        }
        None => (map.w.clone(), map.b.clone()),
    };
    let mean = w.mean_keepdim(0)?; // [1, out]
    Ok(Linear { w: w.broadcast_sub(&mean)?.contiguous()?, b })
}

/// Steps 2 and 3 for one linear map: every row of `W`, and `b`, loses its mean over the outputs.
fn center_writing(map: &Linear) -> Result<Linear> {
    Ok(Linear { w: center_last(&map.w)?, b: center_last(&map.b)? })
}

fn center_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?)
}
