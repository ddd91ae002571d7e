//! Attention patterns of all heads, as the run has them.

use microtome_model::{Positions, RunOptions, Site, Tensor};

use crate::error::Result;
use crate::text_model::TextModel;

/// Where every head looks in a run of these tokens: the weights of each query over the keys it sees, 0 on later
/// keys.
///
/// # Shapes
/// `[layer, head, query, key]`, of the model's type.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) for a token that does not exist or a prompt past the context.
pub fn patterns(model: &TextModel, tokens: &[u32]) -> Result<Tensor> {
    let reads: Vec<_> = (0..model.config().n_layers).map(|layer| Site::Pattern.at(layer)).collect();
    let options = RunOptions { reads: reads.clone(), logits: Positions::Last, ..Default::default() };
    let run = model.model().run(tokens, &options)?;
    let layers = reads.iter().map(|&hook| run.cache.get(hook)).collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::stack(&layers, 0)?)
}

/// How many bytes the patterns of a prompt of `len` tokens take in f32.
pub fn bytes_of_patterns(model: &TextModel, len: usize) -> usize {
    let config = model.config();
    config.n_layers * config.n_heads * len.saturating_mul(len).saturating_mul(size_of::<f32>())
}
