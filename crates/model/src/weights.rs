//! The weights of a model in the one layout the forward pass uses.
//!
//! Whatever a file calls its tensors and however it turns them, a family (`family/`) delivers this:
//! every linear map as `[in, out]`, the three attention projections fused side by side (all heads'
//! queries, then keys, then values), every bias present (zeros where the file has none).

use candle_core::{D, Tensor};

use crate::config::Config;
use crate::error::Result;

/// All tensors of a model. The names in comments are TransformerLens's.
#[derive(Debug, Clone)]
pub struct Weights {
    /// `W_E`, `[d_vocab, d_model]`.
    pub embed: Tensor,
    /// `W_pos`, `[n_ctx, d_model]`.
    pub pos_embed: Tensor,
    /// One entry per layer.
    pub blocks: Vec<BlockWeights>,
    /// Gain and bias of the final LayerNorm; `None` where it has none (folded, or no LayerNorm).
    pub ln_final: Option<Affine>,
    /// `W_U` `[d_model, d_vocab]` and `b_U`.
    pub unembed: Linear,
}

/// The tensors of one block.
#[derive(Debug, Clone)]
pub struct BlockWeights {
    /// Gain and bias of the LayerNorm before attention.
    pub ln1: Option<Affine>,
    /// `W_Q | W_K | W_V`, `[d_model, 3 * n_heads * d_head]`, heads in order inside each third.
    pub qkv: Linear,
    /// `W_O`, `[n_heads * d_head, d_model]`, and `b_O`.
    pub out: Linear,
    /// Gain and bias of the LayerNorm before the MLP.
    pub ln2: Option<Affine>,
    /// `None` in attention-only models.
    pub mlp: Option<MlpWeights>,
}

/// The two linear maps of an MLP.
#[derive(Debug, Clone)]
pub struct MlpWeights {
    /// `W_in`, `[d_model, d_mlp]`, and `b_in`.
    pub input: Linear,
    /// `W_out`, `[d_mlp, d_model]`, and `b_out`.
    pub output: Linear,
}

/// A linear map `x W + b` with its weight stored `[in, out]`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[in, out]`.
    pub w: Tensor,
    /// `[out]`.
    pub b: Tensor,
}

/// A LayerNorm's gain and bias, both `[d_model]`.
#[derive(Debug, Clone)]
pub struct Affine {
    /// Gain.
    pub w: Tensor,
    /// Bias.
    pub b: Tensor,
}
