//! Attention patterns of all heads, as the run has them or weighted by what is moved.
//!
//! A pattern says where a head looks, not how much comes from there: a key with a small value vector gives
//! little however much it is looked at. Kobayashi et al. 2020 ("Attention is Not Only a Weight") therefore
//! multiply a pattern's entry by the norm of what it moves, `pattern[q, k] * |v_k W_O|`. Offered are that and
//! the norm of the value vector alone, `pattern[q, k] * |v_k|`. Both are as the weights in use have them: folded
//! weights have no `b_V` in `v`, since it has moved into `b_O`.

use std::ops::Range;

use microtome_model::{Positions, RunOptions, Site, Tensor, as_f64};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::text_model::TextModel;

/// What an entry of a pattern is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// Nothing: the pattern itself.
    #[default]
    Pattern,
    /// The norm of the key's value vector, `|v_k|`.
    Value,
    /// The norm of what the key's value becomes in the residual stream, `|v_k W_O|`.
    Output,
}

impl Weighting {
    /// Its name in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Weighting::Pattern => "pattern",
            Weighting::Value => "value",
            Weighting::Output => "output",
        }
    }

    /// What an entry is, in words.
    pub fn describe(self) -> &'static str {
        match self {
            Weighting::Pattern => "attention",
            Weighting::Value => "attention times the norm of the value vector",
            Weighting::Output => "attention times the norm of the value vector after W_O",
        }
    }
}

/// Where every head looks in a run of these tokens: the weights of each query over the keys it sees, 0 on later
/// keys.
///
/// # Shapes
/// `[layer, head, query, key]`, of the model's type.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) for a token that does not exist or a prompt past the context.
pub fn patterns(model: &TextModel, tokens: &[u32]) -> Result<Tensor> {
    weighted_patterns(model, tokens, Weighting::Pattern)
}

/// The same with every entry multiplied by the size of what it moves; rows then sum to no particular number.
///
/// # Shapes
/// `[layer, head, query, key]`, of the model's type.
///
/// # Errors
/// As [`patterns`].
pub fn weighted_patterns(model: &TextModel, tokens: &[u32], weighting: Weighting) -> Result<Tensor> {
    patterns_of_layers(model, tokens, weighting, 0..model.config().n_layers)
}

/// The same of some layers only, `[layers, head, query, key]`.
pub(crate) fn patterns_of_layers(
    model: &TextModel,
    tokens: &[u32],
    weighting: Weighting,
    layers: Range<usize>,
) -> Result<Tensor> {
    let mut reads: Vec<_> = layers.clone().map(|layer| Site::Pattern.at(layer)).collect();
    if weighting != Weighting::Pattern {
        reads.extend(layers.clone().map(|layer| Site::V.at(layer)));
    }
    let options = RunOptions { reads, logits: Positions::Last, ..Default::default() };
    let run = model.model().run(tokens, &options)?;
    let layer = |layer: usize| -> Result<Tensor> {
        let pattern = run.cache.get(Site::Pattern.at(layer))?; // [head, query, key]
        if weighting == Weighting::Pattern {
            return Ok(pattern.clone());
        }
        let values = run.cache.get(Site::V.at(layer))?.transpose(0, 1)?.contiguous()?; // [head, pos, d_head]
        let moved = match weighting {
            Weighting::Output => values.matmul(&w_o(model, layer)?)?, // [head, pos, d_model]
            _ => values,
        };
        let norms = as_f64(&moved)?.sqr()?.sum(2)?.sqrt()?.to_dtype(pattern.dtype())?; // [head, key]
        let norms = norms.to_device(pattern.device())?;
        Ok(pattern.broadcast_mul(&norms.unsqueeze(1)?)?)
    };
    let layers = layers.map(layer).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::stack(&layers, 0)?)
}

/// How many bytes the patterns of a prompt of `len` tokens take in f32.
pub fn bytes_of_patterns(model: &TextModel, len: usize) -> usize {
    let config = model.config();
    config.n_layers * config.n_heads * len.saturating_mul(len).saturating_mul(size_of::<f32>())
}

/// `W_O` of every head of a layer, `[head, d_head, d_model]`.
fn w_o(model: &TextModel, layer: usize) -> Result<Tensor> {
    let config = model.config();
    let w = model.model().weights().blocks[layer].out.columns(0..config.d_model)?;
    Ok(w.reshape((config.n_heads, config.d_head, config.d_model))?)
}
