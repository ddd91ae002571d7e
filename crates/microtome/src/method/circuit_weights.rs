//! Heads' weights as matrices, and tokens as heads read them.
//!
//! Rows are what goes in, as everywhere here: `W_Q`, `W_K`, `W_V` are `[d_model, d_head]`, `W_O` is `[d_head, d_model]`.

use std::ops::Range;

use microtome_model::{Change, Config, Edit, Model, RunOptions, Site, Tensor, as_f64};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What of a token a head is taken to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Embedding {
    /// The token's embedding, `W_E`.
    #[default]
    Embed,
    /// The residual stream after block 0 had it read this token alone, without attention and position:
    /// `W_E + MLP0(LN2(W_E))`, which is what later layers find of a token.
    AfterMlp0,
}

/// How large a token is as a head reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// As large as the embedding is: the products of weights alone.
    #[default]
    AsIs,
    /// As the head's LayerNorm makes it; with raw weights its gain and bias count, and the gain of the final
    /// LayerNorm.
    LayerNorm,
}

/// All heads of a layer.
pub(crate) struct LayerMaps {
    /// `[d_model, n_heads * d_head]`.
    pub q: Tensor,
    /// The same for keys.
    pub k: Tensor,
    /// The same for values.
    pub v: Tensor,
    /// `[n_heads * d_head, d_model]`.
    pub o: Tensor,
}

impl LayerMaps {
    /// The weights in use, after processing.
    pub fn of(model: &Model, layer: usize) -> Result<LayerMaps> {
        let config = model.config();
        let width = config.n_heads * config.d_head;
        let block = &model.weights().blocks[layer];
        let third = |i: usize| block.qkv.columns(i * width..(i + 1) * width);
        Ok(LayerMaps { q: third(0)?, k: third(1)?, v: third(2)?, o: block.out.columns(0..config.d_model)? })
    }

    /// One head's: `[d_model, d_head]` three times, and `[d_head, d_model]`.
    pub fn head(&self, config: &Config, head: usize) -> Result<LayerMaps> {
        let (start, len) = (head * config.d_head, config.d_head);
        let columns = |x: &Tensor| -> Result<Tensor> { Ok(x.narrow(1, start, len)?.contiguous()?) };
        let o = self.o.narrow(0, start, len)?.contiguous()?;
        Ok(LayerMaps { q: columns(&self.q)?, k: columns(&self.k)?, v: columns(&self.v)?, o })
    }

    /// The same in f64.
    pub fn to_f64(&self) -> Result<LayerMaps> {
        Ok(LayerMaps { q: as_f64(&self.q)?, k: as_f64(&self.k)?, v: as_f64(&self.v)?, o: as_f64(&self.o)? })
    }
}

/// Tokens as the heads of a layer read them.
pub(crate) struct TokensRead<'a> {
    pub model: &'a Model,
    pub embedding: Embedding,
    pub size: Size,
    /// The layer that reads.
    pub layer: usize,
}

/// Columns of the unembedding taken at once: packed, it is copied to be multiplied otherwise than for logits.
const PART: usize = 4096;

/// Tokens run at once to see what block 0 makes of them.
const AT_ONCE: usize = 512;

impl TokensRead<'_> {
    /// Checks that the model has what is asked for.
    pub fn check(&self) -> Result<()> {
        let config = self.model.config();
        if self.size == Size::LayerNorm && config.norm.is_none() {
            let what = "LayerNorm: this model has none; take sizes as they are";
            return Err(Error::Unused { method: "the circuits of a head", what });
        }
        if self.embedding == Embedding::Embed {
            return Ok(());
        }
        let what = match (config.mlp, self.layer) {
            (None, _) => "tokens after MLP 0: this model has no MLPs",
            (_, 0) => "tokens after MLP 0: heads of layer 0 come before it",
            _ => return Ok(()),
        };
        Err(Error::Unused { method: "the circuits of a head", what })
    }

    /// These tokens, `[tokens, d_model]`.
    pub fn rows(&self, tokens: Range<usize>) -> Result<Tensor> {
        let weights = self.model.weights();
        if (self.embedding, self.size) == (Embedding::Embed, Size::AsIs) {
            return Ok(weights.embed.narrow(0, tokens.start, tokens.len())?);
        }
        let parts: Vec<usize> = tokens.clone().step_by(AT_ONCE).collect();
        let part = |&start: &usize| self.run(start..(start + AT_ONCE).min(tokens.end));
        let rows = Tensor::cat(&parts.iter().map(part).collect::<Result<Vec<_>>>()?, 0)?;
        Ok(match (&weights.blocks[self.layer].ln1, self.size) {
            (Some(gain), Size::LayerNorm) => rows.broadcast_mul(&gain.w)?.broadcast_add(&gain.b)?,
            _ => rows,
        })
    }

    /// Each token as a prompt of its own, without position and without attention in block 0.
    fn run(&self, tokens: Range<usize>) -> Result<Tensor> {
        let prompts: Vec<[u32; 1]> = tokens.map(|token| [token as u32]).collect();
        let mut edits = vec![Edit::new(Site::PosEmbed.at(0), Change::Zero)];
        let (read, stop) = match self.embedding {
            Embedding::Embed => (Site::Ln1Normalized.at(0), 1),
            Embedding::AfterMlp0 => {
                edits.push(Edit::new(Site::AttnOut.at(0), Change::Zero));
                match self.size {
                    Size::AsIs => (Site::ResidPost.at(0), 1),
                    // Without gain and bias every layer's LayerNorm makes the same of it.
                    Size::LayerNorm => (Site::Ln1Normalized.at(1), 2),
                }
            }
        };
        let options =
            RunOptions { edits, reads: vec![read], stop_at_layer: Some(stop), ..Default::default() };
        let runs = self.model.run_batch(&prompts, &options)?;
        let rows = runs.iter().map(|run| run.cache.get(read)).collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::cat(&rows, 0)?)
    }

    /// What a head writes as logits would have it: `W_O W_U`, `[d_head, d_vocab]`.
    pub fn written(&self, o: &Tensor) -> Result<Tensor> {
        let weights = self.model.weights();
        let o = match (&weights.ln_final, self.size) {
            (Some(gain), Size::LayerNorm) => {
                let centred = o.broadcast_sub(&o.mean_keepdim(1)?)?;
                centred.broadcast_mul(&gain.w)?
            }
            _ => o.clone(),
        };
        let unembed = &weights.unembed;
        let part = |start: usize| -> Result<Tensor> {
            let columns = unembed.columns(start..(start + PART).min(unembed.d_out()))?;
            Ok(o.matmul(&columns.contiguous()?)?)
        };
        let parts = (0..unembed.d_out()).step_by(PART).map(part).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&parts, 1)?)
    }
}

/// Which weights a result is of, and what that means.
pub(crate) fn about_weights(model: &Model) -> &'static str {
    match (model.processing(), model.config().norm) {
        (_, None) => "weights as in the file; the model has no LayerNorm",
        (microtome_model::Processing::Folded, _) => {
            "folded weights: LayerNorm gains are in W_Q, W_K, W_V and W_U, and means are taken off, so that what heads \
             read and write is comparable"
        }
        (microtome_model::Processing::Raw, _) => {
            "raw weights: the gains of LayerNorms stand between these matrices and are left out of their products; folded \
             weights have them in"
        }
    }
}
