//! A loaded model: configuration, processed weights, and what can be said about where they came from.

use std::collections::BTreeSet;

use microtome_kernels::Precision;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::fold;
use crate::linear_map::LinearMap;
use crate::weights::Weights;

/// How weights are processed before use; every result says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Processing {
    /// TransformerLens's four steps: LayerNorm folded into the next linear map, writing weights
    /// centred, unembedding centred, value biases folded into `b_O`. Next-token probabilities are
    /// unchanged, activations are not. Published GPT-2 results use this.
    #[default]
    Folded,
    /// As in the file.
    Raw,
}

impl Processing {
    /// `folded` or `raw`.
    pub fn name(self) -> &'static str {
        match self {
            Processing::Folded => "folded",
            Processing::Raw => "raw",
        }
    }
}

/// A transformer ready to run.
#[derive(Debug, Clone)]
pub struct Model {
    config: Config,
    weights: Weights<LinearMap>,
    processing: Processing,
}

impl Model {
    /// A model of these weights, processed as asked.
    ///
    /// # Errors
    /// [`Error::WeightShape`] where a tensor does not fit the configuration.
    pub fn new(config: Config, weights: Weights, processing: Processing) -> Result<Model> {
        weights.check(&config)?;
        let weights = match processing {
            Processing::Folded => fold::fold(&config, weights)?,
            Processing::Raw => weights,
        };
        let weights = weights.with_maps(|map| Ok(LinearMap::Plain(map)))?;
        Ok(Model { config, weights, processing })
    }

    /// The same model with its weights packed for this processor, where they lie on the CPU as f32; any other
    /// stays as it is. Passes are faster and give the same bits, unless the weights are rounded to bf16; the
    /// weights can no longer change.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the weights cannot be read.
    pub fn packed(self, precision: Precision) -> Result<Model> {
        let pack = |map| match map {
            LinearMap::Plain(map) => LinearMap::pack(map, precision),
            packed => Ok(packed),
        };
        Ok(Model { weights: self.weights.with_maps(pack)?, ..self })
    }

    /// Sizes and choices.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The weights in use, after processing.
    pub fn weights(&self) -> &Weights<LinearMap> {
        &self.weights
    }

    /// How the weights were processed.
    pub fn processing(&self) -> Processing {
        self.processing
    }

    /// Checks that a prompt can be run.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`], [`Error::PromptTooLong`] or [`Error::UnknownToken`].
    pub fn check_tokens(&self, tokens: &[u32]) -> Result<()> {
        let Config { n_ctx, d_vocab, .. } = self.config;
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if tokens.len() > n_ctx {
            return Err(Error::PromptTooLong { len: tokens.len(), n_ctx });
        }
        match tokens.iter().copied().collect::<BTreeSet<u32>>().last() {
            Some(&id) if id as usize >= d_vocab => Err(Error::UnknownToken { id, d_vocab }),
            _ => Ok(()),
        }
    }
}
