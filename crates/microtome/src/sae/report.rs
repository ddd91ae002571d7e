//! What an autoencoder is, as data.

use microtome_model::Processing;
use serde::{Deserialize, Serialize};

use super::{Architecture, Normalization, Sae, SaeChoice};

/// A sparse autoencoder, as records and the server tell of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SaeReport {
    /// The name experiments use.
    pub name: SaeChoice,
    /// Fingerprint of its tensors.
    pub hash: String,
    /// `standard`, `topk`, `jumprelu` or `gated`; of transcoders `transcoder`, `skip_transcoder`, `jumprelu_transcoder` or
    /// `jumprelu_skip_transcoder`.
    pub architecture: String,
    /// How many features a topk one keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<usize>,
    /// Where it reads; and writes, where `hook_out` says nothing else.
    pub hook: String,
    /// Where a transcoder writes: what it reconstructs is the activation there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_out: Option<String>,
    /// Width of the activation it reads, flattened over heads.
    pub d_in: usize,
    /// Width of the activation that a transcoder writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d_out: Option<usize>,
    /// How many features.
    pub d_sae: usize,
    /// What is done to an activation before it is encoded: `none`, `layer_norm`, ..
    pub normalization: String,
    /// The model it was trained on, where its files say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_on: Option<String>,
    /// How that model's weights must be processed; left out where both ways give the same activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Processing>,
    /// Whether text had BOS in front when it was trained.
    pub prepend_bos: bool,
    /// Tokens in one piece of text when it was trained, where its files say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_size: Option<usize>,
    /// The address below which its features have pages, each under its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neuronpedia: Option<String>,
}

impl Sae {
    /// What it is.
    pub fn report(&self) -> SaeReport {
        let config = self.config();
        let k = match config.architecture {
            Architecture::TopK { k, .. } => Some(k),
            _ => None,
        };
        SaeReport {
            name: self.name().clone(),
            hash: self.hash().to_owned(),
            architecture: config.architecture_name().to_owned(),
            k,
            hook: config.hook.to_string(),
            hook_out: config.transcoder.map(|transcoder| transcoder.hook.to_string()),
            d_in: config.d_in,
            d_out: config.transcoder.map(|transcoder| transcoder.d_out),
            d_sae: config.d_sae,
            normalization: config.normalization.name().to_owned(),
            trained_on: config.trained_on.model.clone(),
            weights: config.processing().map(|(_, processing)| processing),
            prepend_bos: config.trained_on.prepend_bos,
            context_size: config.trained_on.context_size,
            neuronpedia: self.pages(),
        }
    }

    /// Where its features are, in words: the hook point, or both of a transcoder.
    pub fn place(&self) -> String {
        self.report().place()
    }

    /// The address of a feature's page on Neuronpedia, where it has one.
    pub fn page_of(&self, feature: usize) -> Option<String> {
        self.pages().map(|pages| format!("{pages}/{feature}"))
    }

    fn pages(&self) -> Option<String> {
        let id = self.config().neuronpedia_id.as_ref()?;
        Some(format!("https://www.neuronpedia.org/{id}"))
    }
}

impl SaeReport {
    /// Where its features are, in words: the hook point, or both of a transcoder.
    pub fn place(&self) -> String {
        match &self.hook_out {
            None => self.hook.clone(),
            Some(out) => format!("{}, written at {out}", self.hook),
        }
    }
}

impl Architecture {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Standard => "standard",
            Architecture::TopK { .. } => "topk",
            Architecture::JumpRelu => "jumprelu",
            Architecture::Gated => "gated",
        }
    }
}

impl Normalization {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Normalization::None => "none",
            Normalization::ExpectedAverageOnlyIn => "expected_average_only_in",
            Normalization::ConstantNormRescale => "constant_norm_rescale",
            Normalization::LayerNorm => "layer_norm",
        }
    }
}
