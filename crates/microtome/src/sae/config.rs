//! `cfg.json` of SAELens, of today and of before version 6.
//!
//! Since version 6 what concerns the model stands in `metadata`; before, at top level, and `hook_name` was once
//! `hook_point`. An activation function `topk` with `activation_fn_kwargs.k` made a topk autoencoder then, under
//! `architecture: standard` or none: it must not be run as ReLU.

use microtome_model::{Hook, Processing, Site};
use serde_json::Value;

use super::error::SaeError;
use crate::text_model::TextModel;

/// How features are read from an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// ReLU.
    Standard,
    /// The largest of each position.
    TopK {
        /// How many.
        k: usize,
        /// Whether they are compared in units of their decoder row's norm.
        by_decoder_norm: bool,
    },
    /// A threshold for each feature; BatchTopK and Matryoshka autoencoders are saved so.
    JumpRelu,
    /// Whether a feature is active and how much are read apart.
    Gated,
}

/// What is done to an activation before it is encoded, and undone afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// Nothing.
    None,
    /// Nothing any more: the average was made part of the weights.
    ExpectedAverageOnlyIn,
    /// Every position to the norm `sqrt(d_in)`.
    ConstantNormRescale,
    /// Every position to mean 0 and standard deviation 1.
    LayerNorm,
}

/// The model an autoencoder was trained on, as far as its files say.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedOn {
    /// Its name.
    pub model: Option<String>,
    /// Whether its writing weights were centred.
    pub centred: bool,
    /// Whether its value biases were folded into `b_O`.
    pub value_biases_folded: bool,
    /// Whether text had BOS in front.
    pub prepend_bos: bool,
    /// Tokens in one piece of text.
    pub context_size: Option<usize>,
}

/// What `cfg.json` says.
#[derive(Debug, Clone, PartialEq)]
pub struct SaeConfig {
    /// How features are read.
    pub architecture: Architecture,
    /// Width of the activation, flattened over heads.
    pub d_in: usize,
    /// How many features.
    pub d_sae: usize,
    /// Where it reads and writes.
    pub hook: Hook,
    /// Whether `b_dec` is taken off before encoding.
    pub subtract_b_dec: bool,
    /// Normalisation.
    pub normalization: Normalization,
    /// The model it was trained on.
    pub trained_on: TrainedOn,
    /// Where its features have pages: `gpt2-small/8-res-jb`.
    pub neuronpedia_id: Option<String>,
}

/// A configuration with its file's name for errors.
struct Keys<'a> {
    top: &'a Value,
    path: &'a str,
}

impl<'a> Keys<'a> {
    /// A key of `metadata` or of the top level, null as if absent.
    fn get(&self, key: &str) -> Option<&'a Value> {
        let found = self.top.get("metadata").and_then(|m| m.get(key)).or_else(|| self.top.get(key));
        found.filter(|value| !value.is_null())
    }

    fn wrong<T>(&self, key: &'static str, expected: impl Into<String>) -> Result<T, SaeError> {
        let found = self.get(key).map_or("missing".to_owned(), Value::to_string);
        Err(SaeError::Config { path: self.path.to_owned(), key, found, expected: expected.into() })
    }

    fn size(&self, key: &'static str) -> Result<usize, SaeError> {
        match self.get(key).and_then(Value::as_u64) {
            Some(size @ 1..=16_777_216) => Ok(size as usize),
            _ => self.wrong(key, "a number from 1 to 16777216"),
        }
    }

    fn text(&self, key: &'static str) -> Result<Option<&'a str>, SaeError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => self.wrong(key, "text"),
        }
    }

    fn flag(&self, key: &'static str, unsaid: impl Into<Option<bool>>) -> Result<bool, SaeError> {
        match (self.get(key), unsaid.into()) {
            (Some(Value::Bool(said)), _) => Ok(*said),
            (None, Some(unsaid)) => Ok(unsaid),
            _ => self.wrong(key, "true or false"),
        }
    }
}

impl SaeConfig {
    /// Reads the text of a `cfg.json`; `path` is for errors.
    ///
    /// # Errors
    /// [`SaeError::Config`] where a key is missing, impossible, or of a kind this crate does not run.
    pub fn parse(json: &str, path: &str) -> Result<SaeConfig, SaeError> {
        let top: Value = serde_json::from_str(json)
            .map_err(|error| SaeError::File { path: path.to_owned(), reason: error.to_string() })?;
        let keys = Keys { top: &top, path };
        let (d_in, d_sae) = (keys.size("d_in")?, keys.size("d_sae")?);
        let hook_key = if keys.get("hook_name").is_some() { "hook_name" } else { "hook_point" };
        let Some(name) = keys.text(hook_key)? else {
            return keys.wrong("hook_name", "the name of a hook point");
        };
        let Ok(hook) = Hook::parse(name) else {
            return keys.wrong(hook_key, "a hook point, for example blocks.8.hook_resid_pre");
        };
        if hook.site.is_attention() {
            return keys.wrong(hook_key, "a hook point whose activations have positions first");
        }
        for key in ["hook_head_index", "hook_point_head_index"] {
            if keys.get(key).is_some() {
                return keys.wrong(key, "null; autoencoders of one head are not supported");
            }
        }
        let unsaid = if hook.site == Site::Z { "hook_z" } else { "none" };
        match (keys.text("reshape_activations")?.unwrap_or(unsaid), hook.site.has_heads()) {
            ("hook_z", true) | ("none", false) => {}
            (_, true) => {
                return keys.wrong("reshape_activations", format!("hook_z, since `{name}` has heads"));
            }
            (_, false) => {
                return keys.wrong("reshape_activations", format!("none, since `{name}` has no heads"));
            }
        }
        if keys.flag("finetuning_scaling_factor", false)? {
            return keys.wrong("finetuning_scaling_factor", "false; such autoencoders are not supported");
        }
        Ok(SaeConfig {
            architecture: architecture(&keys, d_sae)?,
            d_in,
            d_sae,
            hook,
            subtract_b_dec: keys.flag("apply_b_dec_to_input", true)?,
            normalization: normalization(&keys)?,
            trained_on: trained_on(&keys, hook, d_sae)?,
            neuronpedia_id: keys.text("neuronpedia_id")?.map(str::to_owned),
        })
    }

    /// Checks width, name and processing of a model.
    pub(super) fn check(&self, model: &TextModel) -> Result<(), SaeError> {
        let hook = self.hook;
        let found = hook.shape(model.config(), 1).iter().product();
        if found != self.d_in {
            return Err(SaeError::Width { hook: hook.to_string(), d_in: self.d_in, found });
        }
        let given = &model.about().model;
        if let Some(trained) = &self.trained_on.model
            && let (Some(a), Some(b)) = (known_name(trained), known_name(given))
            && a != b
        {
            return Err(SaeError::WrongModel { trained: trained.clone(), given: given.clone() });
        }
        match self.trained_on.processing(hook.site) {
            Some(trained) if trained != model.model().processing() => Err(SaeError::Processing {
                trained: trained.name(),
                given: model.model().processing().name(),
                hook: hook.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

impl TrainedOn {
    /// The processing whose activations at a site are those it was trained on; `None` where both are.
    ///
    /// Centring changes what is written to the residual stream and nothing that is read through LayerNorm;
    /// folding value biases changes values and their mixtures; folding LayerNorm changes its output.
    pub fn processing(&self, site: Site) -> Option<Processing> {
        let folded = match site {
            Site::V | Site::Z | Site::Result => self.value_biases_folded,
            Site::Q | Site::K | Site::MlpPre | Site::MlpPost => return None,
            _ => self.centred,
        };
        Some(if folded { Processing::Folded } else { Processing::Raw })
    }
}

fn architecture(keys: &Keys, d_sae: usize) -> Result<Architecture, SaeError> {
    let function_key =
        if keys.get("activation_fn_str").is_some() { "activation_fn_str" } else { "activation_fn" };
    let function = keys.text(function_key)?.unwrap_or("relu");
    let named = keys.text("architecture")?.unwrap_or("standard");
    let topk = |k: Option<&Value>| match k.and_then(Value::as_u64).map(|k| k as usize) {
        Some(k) if (1..=d_sae).contains(&k) => {
            Ok(Architecture::TopK { k, by_decoder_norm: keys.flag("rescale_acts_by_decoder_norm", false)? })
        }
        _ => keys.wrong("k", format!("for topk, a number from 1 to {d_sae}")),
    };
    match (named, function) {
        ("standard", "relu") => Ok(Architecture::Standard),
        ("topk" | "standard", "topk") | ("topk", "relu") => {
            topk(keys.get("k").or_else(|| keys.get("activation_fn_kwargs").and_then(|kwargs| kwargs.get("k"))))
        }
        ("jumprelu" | "batchtopk" | "matryoshka_batchtopk", "relu") => Ok(Architecture::JumpRelu),
        ("gated", "relu") => Ok(Architecture::Gated),
        ("standard" | "topk" | "jumprelu" | "batchtopk" | "matryoshka_batchtopk" | "gated", _) => {
            keys.wrong(function_key, "relu, or topk with architecture topk or standard")
        }
        _ => keys.wrong(
            "architecture",
            "standard, topk, batchtopk, jumprelu, gated or matryoshka_batchtopk; transcoders are not supported",
        ),
    }
}

fn normalization(keys: &Keys) -> Result<Normalization, SaeError> {
    match keys.get("normalize_activations") {
        None | Some(Value::Bool(false)) => Ok(Normalization::None),
        Some(Value::Bool(true)) => Ok(Normalization::ExpectedAverageOnlyIn),
        Some(Value::String(name)) => match &name[..] {
            "none" => Ok(Normalization::None),
            "expected_average_only_in" => Ok(Normalization::ExpectedAverageOnlyIn),
            "constant_norm_rescale" => Ok(Normalization::ConstantNormRescale),
            "layer_norm" => Ok(Normalization::LayerNorm),
            _ => keys.wrong(
                "normalize_activations",
                "none, expected_average_only_in, constant_norm_rescale or layer_norm",
            ),
        },
        Some(_) => keys.wrong("normalize_activations", "the name of a normalisation"),
    }
}

fn trained_on(keys: &Keys, hook: Hook, d_sae: usize) -> Result<TrainedOn, SaeError> {
    let model = keys.text("model_name")?;
    let kwargs = keys.get("model_from_pretrained_kwargs");
    let said = |step: &str| kwargs.and_then(|kwargs| kwargs.get(step)).and_then(Value::as_bool);
    // The files of gpt2-small-res-jb do not say that their model's writing weights were centred.
    let residual = matches!(hook.site, Site::ResidPre | Site::ResidPost);
    let is_res_jb = keys.text("neuronpedia_id")?.is_some_and(|id| id.contains("res-jb"))
        || (d_sae == 24576 && residual && kwargs.is_none() && model.and_then(known_name) == Some("gpt2"));
    Ok(TrainedOn {
        model: model.map(str::to_owned),
        centred: said("center_writing_weights").unwrap_or(is_res_jb),
        value_biases_folded: said("fold_value_biases").unwrap_or(false),
        prepend_bos: keys.flag("prepend_bos", true)?,
        context_size: keys.get("context_size").and_then(Value::as_u64).map(|size| size as usize),
    })
}

/// One name for a model that is known by several, `None` for a path or a model whose other names are not known.
pub(crate) fn known_name(name: &str) -> Option<&'static str> {
    match name.trim_start_matches("openai-community/").trim_start_matches("distilbert/") {
        "gpt2" | "gpt2-small" => Some("gpt2"),
        "gpt2-medium" => Some("gpt2-medium"),
        "gpt2-large" => Some("gpt2-large"),
        "gpt2-xl" => Some("gpt2-xl"),
        "distilgpt2" => Some("distilgpt2"),
        "demo" => Some("demo"),
        _ => None,
    }
}
