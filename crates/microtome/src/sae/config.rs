//! `cfg.json` of SAELens, of today and of before version 6.
//!
//! Since version 6 what concerns the model stands in `metadata`; before, at top level, and `hook_name` was once
//! `hook_point`. An activation function `topk` with `activation_fn_kwargs.k` made a topk autoencoder then, under
//! `architecture: standard` or none: it must not be run as ReLU.

use microtome_model::{Hook, Processing, Site};
use serde_json::Value;

use super::error::SaeError;
use super::transcoder::{self, Transcoder};
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
    /// Whether LayerNorm's gain and bias were folded into the weights that read its output.
    pub norm_folded: bool,
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
    /// Where it reads, and writes unless it is a transcoder.
    pub hook: Hook,
    /// Where and how a transcoder writes.
    pub transcoder: Option<Transcoder>,
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
pub(super) struct Keys<'a> {
    top: &'a Value,
    path: &'a str,
}

impl<'a> Keys<'a> {
    /// A key of `metadata` or of the top level, null as if absent.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        let found = self.top.get("metadata").and_then(|m| m.get(key)).or_else(|| self.top.get(key));
        found.filter(|value| !value.is_null())
    }

    pub fn wrong<T>(&self, key: &'static str, expected: impl Into<String>) -> Result<T, SaeError> {
        let found = self.get(key).map_or("missing".to_owned(), Value::to_string);
        Err(SaeError::Config { path: self.path.to_owned(), key, found, expected: expected.into() })
    }

    pub fn size(&self, key: &'static str) -> Result<usize, SaeError> {
        match self.get(key).and_then(Value::as_u64) {
            Some(size @ 1..=16_777_216) => Ok(size as usize),
            _ => self.wrong(key, "a number from 1 to 16777216"),
        }
    }

    pub fn text(&self, key: &'static str) -> Result<Option<&'a str>, SaeError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => self.wrong(key, "text"),
        }
    }

    pub fn flag(&self, key: &'static str, unsaid: impl Into<Option<bool>>) -> Result<bool, SaeError> {
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
        let (architecture, transcoder) = match architecture(&keys, d_sae)? {
            Named::Autoencoder(architecture) => {
                transcoder::not_a_transcoder(&keys, hook)?;
                (architecture, None)
            }
            Named::Transcoder(architecture, skip) => {
                (architecture, Some(transcoder::transcoder(&keys, hook, skip)?))
            }
        };
        let hooks: Vec<Hook> =
            [Some(hook), transcoder.map(|transcoder| transcoder.hook)].into_iter().flatten().collect();
        Ok(SaeConfig {
            architecture,
            d_in,
            d_sae,
            hook,
            transcoder,
            subtract_b_dec: transcoder.is_none() && keys.flag("apply_b_dec_to_input", true)?,
            normalization: normalization(&keys)?,
            trained_on: trained_on(&keys, &hooks, d_sae)?,
            neuronpedia_id: keys.text("neuronpedia_id")?.map(str::to_owned),
        })
    }

    /// Where it writes.
    pub fn writes_at(&self) -> Hook {
        self.transcoder.map_or(self.hook, |transcoder| transcoder.hook)
    }

    /// Width of what it writes, flattened over heads.
    pub fn d_out(&self) -> usize {
        self.transcoder.map_or(self.d_in, |transcoder| transcoder.d_out)
    }

    /// Its architecture's name in files.
    pub fn architecture_name(&self) -> &'static str {
        match self.transcoder {
            Some(Transcoder { skip, .. }) => transcoder::name_of(self.architecture, skip),
            None => self.architecture.name(),
        }
    }

    /// The processing of the model's weights that gives the activations it was trained on, and where it matters: the place
    /// it reads at, else the one it writes at; `None` where both processings give the same at either.
    ///
    /// Two places never want two processings: of sites without heads, which alone a transcoder has, all want the same.
    pub fn processing(&self) -> Option<(Hook, Processing)> {
        let of = |hook: Hook| self.trained_on.processing(hook.site).map(|processing| (hook, processing));
        of(self.hook).or_else(|| of(self.writes_at()))
    }

    /// Checks widths, name and processing of a model.
    pub(super) fn check(&self, model: &TextModel) -> Result<(), SaeError> {
        for (hook, width, does) in
            [(self.hook, self.d_in, "reads"), (self.writes_at(), self.d_out(), "writes")]
        {
            let found = hook.shape(model.config(), 1).iter().product();
            if found != width {
                return Err(SaeError::Width { hook: hook.to_string(), does, width, found });
            }
        }
        let given = &model.about().model;
        if let Some(trained) = &self.trained_on.model
            && let (Some(a), Some(b)) = (known_name(trained), known_name(given))
            && a != b
        {
            return Err(SaeError::WrongModel { trained: trained.clone(), given: given.clone() });
        }
        match self.processing() {
            Some((hook, trained)) if trained != model.model().processing() => Err(SaeError::Processing {
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
    /// Centring changes what is written to the residual stream and nothing that is read through LayerNorm, whose output
    /// here is that before gain and bias; folding value biases changes values and their mixtures.
    pub fn processing(&self, site: Site) -> Option<Processing> {
        let folded = match site {
            Site::V | Site::Z | Site::Result => self.value_biases_folded,
            Site::Q | Site::K | Site::MlpPre | Site::MlpPost => return None,
            Site::Ln1Scale | Site::Ln2Scale | Site::LnFinalScale => return None,
            site if site.is_normalized() => return None,
            _ => self.centred,
        };
        Some(if folded { Processing::Folded } else { Processing::Raw })
    }
}

/// What an architecture's name stands for.
enum Named {
    Autoencoder(Architecture),
    /// And whether there is a skip connection.
    Transcoder(Architecture, bool),
}

fn architecture(keys: &Keys, d_sae: usize) -> Result<Named, SaeError> {
    let function_key =
        if keys.get("activation_fn_str").is_some() { "activation_fn_str" } else { "activation_fn" };
    let function = keys.text(function_key)?.unwrap_or("relu");
    let named = keys.text("architecture")?.unwrap_or("standard");
    let topk = |k: Option<&Value>| match k.and_then(Value::as_u64).map(|k| k as usize) {
        Some(k) if (1..=d_sae).contains(&k) => {
            let by_decoder_norm = keys.flag("rescale_acts_by_decoder_norm", false)?;
            Ok(Named::Autoencoder(Architecture::TopK { k, by_decoder_norm }))
        }
        _ => keys.wrong("k", format!("for topk, a number from 1 to {d_sae}")),
    };
    if let Some((architecture, skip)) = transcoder::kind_named(named) {
        return match function {
            "relu" => Ok(Named::Transcoder(architecture, skip)),
            _ => keys.wrong(function_key, "relu, since it is a transcoder"),
        };
    }
    match (named, function) {
        ("standard", "relu") => Ok(Named::Autoencoder(Architecture::Standard)),
        ("topk" | "standard", "topk") | ("topk", "relu") => topk(
            keys.get("k").or_else(|| keys.get("activation_fn_kwargs").and_then(|kwargs| kwargs.get("k"))),
        ),
        ("jumprelu" | "batchtopk" | "matryoshka_batchtopk", "relu") => {
            Ok(Named::Autoencoder(Architecture::JumpRelu))
        }
        ("gated", "relu") => Ok(Named::Autoencoder(Architecture::Gated)),
        ("standard" | "topk" | "jumprelu" | "batchtopk" | "matryoshka_batchtopk" | "gated", _) => {
            keys.wrong(function_key, "relu, or topk with architecture topk or standard")
        }
        _ => keys.wrong(
            "architecture",
            "standard, topk, batchtopk, jumprelu, gated, matryoshka_batchtopk, transcoder, skip_transcoder, \
             jumprelu_transcoder or jumprelu_skip_transcoder",
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

/// `hooks` are where it reads and, of a transcoder, writes.
fn trained_on(keys: &Keys, hooks: &[Hook], d_sae: usize) -> Result<TrainedOn, SaeError> {
    let model = keys.text("model_name")?;
    let kwargs = keys.get("model_from_pretrained_kwargs");
    let said = |step: &str| kwargs.and_then(|kwargs| kwargs.get(step)).and_then(Value::as_bool);
    // The files of gpt2-small-res-jb do not say that their model's writing weights were centred.
    let residual = matches!(hooks, [Hook { site: Site::ResidPre | Site::ResidPost, .. }]);
    // What was trained here read what comes before gain and bias, whatever the weights.
    let norm_folded = said("fold_ln").unwrap_or(keys.get("microtome_version").is_some());
    if let Some(hook) = hooks.iter().find(|hook| hook.site.is_normalized() && !norm_folded) {
        return keys.wrong(
            "model_from_pretrained_kwargs",
            format!(
                "`\"fold_ln\": true` in it, since `{hook}` is LayerNorm's output before gain and bias here, and in \
                 TransformerLens before version 3 the output after them where they are not folded; add it if the \
                 activations trained on were those before gain and bias"
            ),
        );
    }
    let is_res_jb = keys.text("neuronpedia_id")?.is_some_and(|id| id.contains("res-jb"))
        || (d_sae == 24576 && residual && kwargs.is_none() && model.and_then(known_name) == Some("gpt2"));
    Ok(TrainedOn {
        model: model.map(str::to_owned),
        centred: said("center_writing_weights").unwrap_or(is_res_jb),
        value_biases_folded: said("fold_value_biases").unwrap_or(false),
        norm_folded,
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
