//! A loaded model: configuration, processed weights, and what can be said about where they came from.

use std::collections::BTreeSet;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::fold;
use crate::linear_map::LinearMap;
use crate::ops::Arithmetic;
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

/// How the numbers of the matrices are kept; every result says which.
///
/// Embeddings, biases and LayerNorm's gains are f32 in any case, and so are all sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Each number of a processed matrix rounded to bf16, eight significant bits: half the memory, and other
    /// numbers in every result.
    Bf16,
}

impl Precision {
    /// `f32` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }

    /// Whether it is the one that rounds nothing, and so goes without saying.
    pub fn is_f32(&self) -> bool {
        *self == Precision::F32
    }
}

/// How weights are prepared for use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Preparation {
    /// What is done to them first.
    pub processing: Processing,
    /// How the result is kept.
    pub precision: Precision,
}

impl From<Processing> for Preparation {
    /// Processed so, and kept as f32.
    fn from(processing: Processing) -> Preparation {
        Preparation { processing, precision: Precision::F32 }
    }
}

/// A transformer ready to run.
#[derive(Debug, Clone)]
pub struct Model {
    config: Config,
    weights: Weights<LinearMap>,
    processing: Processing,
    precision: Precision,
    arithmetic: Arithmetic,
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
        Ok(Model { config, weights, processing, precision: Precision::F32, arithmetic: Arithmetic::Kernels })
    }

    /// A model of weights processed and packed already.
    pub(crate) fn of_packed(config: Config, weights: Weights<LinearMap>, prepared: Preparation) -> Model {
        let Preparation { processing, precision } = prepared;
        Model { config, weights, processing, precision, arithmetic: Arithmetic::Kernels }
    }

    /// The same model with its weights packed for this processor, where they lie on the CPU as f32; any other
    /// stays where it is, rounded if asked. Passes are faster and give the same bits, unless the weights are
    /// rounded to bf16, which cannot be undone; the weights can no longer change.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the weights cannot be read.
    pub fn packed(self, precision: Precision) -> Result<Model> {
        if self.arithmetic == Arithmetic::Composed {
            return Ok(self);
        }
        let precision = self.rounded(precision);
        let pack = |map: LinearMap| match map {
            LinearMap::Plain(map) => LinearMap::pack(map, precision),
            LinearMap::Packed(_) if self.precision == precision => Ok(map),
            LinearMap::Packed(_) => LinearMap::pack(map.unpacked()?, precision),
        };
        Ok(Model { weights: self.weights.with_maps(pack)?, precision, ..self })
    }

    /// The same model on another device. On a GPU passes are composed of the tensor library's operations. Matrices
    /// of bf16 are multiplied in bf16 there, what enters and leaves a product rounded too, and summed up in f32; the
    /// unembedding is multiplied in f32, and so is everything between the products.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the device fails, or has not enough memory.
    pub fn on(self, device: &Device, precision: Precision) -> Result<Model> {
        if device.is_cpu() && self.device().is_cpu() {
            return Ok(self);
        }
        let precision = self.rounded(precision);
        let model = Model { weights: self.weights.on(device, precision)?, precision, ..self };
        if device.is_cpu() { model.packed(precision) } else { Ok(model) }
    }

    /// The same model in the way a GPU computes it, wherever it lies: composed of the tensor library's operations,
    /// matrices of bf16 multiplied in bf16. It is how that way is tested where there is no GPU.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the weights cannot be unpacked.
    pub fn composed(self, precision: Precision) -> Result<Model> {
        let precision = self.rounded(precision);
        let weights = self.weights.on(&self.device().clone(), precision)?;
        Ok(Model { weights, precision, arithmetic: Arithmetic::Composed, ..self })
    }

    /// The precision it has when this one is asked for: what was rounded stays so.
    fn rounded(&self, asked: Precision) -> Precision {
        if self.precision == Precision::Bf16 { Precision::Bf16 } else { asked }
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        self.weights.embed.device()
    }

    /// What its passes are made of.
    pub(crate) fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
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

    /// How the numbers of its matrices are kept.
    pub fn precision(&self) -> Precision {
        self.precision
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
