//! A model together with its vocabulary: text in, tokens with readable labels out. Sparse autoencoders may be open beside it.

use std::sync::Arc;

use microtome_model::{
    Config, Device, DownloadProgress, LoadOptions, Loaded, LoadedModel, Model, Precision, Preparation,
    Tokenizer, load_model, weight_hash,
};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sae::{Sae, SaeChoice, SaeError};
use crate::tuned_lens::{TunedLens, TunedLensError};

/// A prompt as a person gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged, expecting = "expected text, or a list of token ids")]
pub enum Text {
    /// Text, to be tokenized, with BOS in front unless the experiment says otherwise.
    Text(String),
    /// Token ids, used as they are.
    Ids(Vec<u32>),
}

/// An answer as a person gives it: one token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged, expecting = "expected the text of a token, or its id")]
pub enum Answer {
    /// Text that must be exactly one token, leading space included.
    Text(String),
    /// A token id.
    Id(u32),
}

/// Whether the beginning-of-sequence token stands in front of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Bos {
    /// It is prepended to text, where the tokenizer has one.
    #[default]
    Prepend,
    /// It is not.
    Omit,
}

/// Tokens with the labels they are shown by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tokens {
    /// Ids.
    pub ids: Vec<u32>,
    /// What each stands for, as text; ids in words where the model has no tokenizer.
    pub labels: Vec<String>,
    /// Whether the first is a BOS that was prepended.
    pub bos_prepended: bool,
}

/// Where a model came from and how it was prepared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct About {
    /// The path or id it was asked for by.
    pub model: String,
    /// Kind of checkpoint: `gpt2`, `nanogpt`, `transformerlens`.
    pub family: String,
    /// Type of the weights in the file.
    pub dtype: String,
    /// Fingerprint of the weights before processing.
    pub weight_hash: String,
    /// The vocabulary.
    pub tokenizer: String,
    /// What the files leave open and was decided for them.
    pub assumptions: Vec<String>,
    /// The files read.
    pub files: Vec<String>,
}

impl About {
    /// The last part of a path, with its folder where the file name says nothing.
    pub fn short_name(&self) -> &str {
        let parts: Vec<&str> = self.model.trim_end_matches('/').rsplitn(3, '/').collect();
        match parts[..] {
            ["ckpt.pt" | "model.safetensors", folder, ..] => folder,
            _ => parts[0],
        }
    }

    /// The fingerprint, where it is that of a checkpoint: a model in memory keeps none from before its weights were processed.
    pub fn checkpoint_hash(&self) -> Option<&str> {
        (self.family != IN_MEMORY).then_some(&self.weight_hash)
    }
}

/// The family of models that come from no file.
const IN_MEMORY: &str = "memory";

/// A model that reads text.
#[derive(Debug, Clone)]
pub struct TextModel {
    model: Model,
    tokenizer: Option<Tokenizer>,
    bos: Option<u32>,
    about: About,
    n_parameters: usize,
    /// Sparse autoencoders opened beside it.
    saes: Vec<Arc<Sae>>,
    /// Tuned lenses opened beside it, by name.
    tuned_lenses: Vec<(String, Arc<TunedLens>)>,
}

impl TextModel {
    /// Loads a model from a path or a Hugging Face id.
    ///
    /// # Errors
    /// [`Error::Model`]: what [`load_model`] says.
    pub fn load(
        spec: &str,
        prepared: impl Into<Preparation>,
        options: &LoadOptions,
        progress: &mut dyn DownloadProgress,
    ) -> Result<TextModel> {
        TextModel::from_ready(load_model(spec, prepared.into(), options, progress)?).on(&options.device)
    }

    /// The same, from what was loaded already.
    ///
    /// # Errors
    /// [`Error::Model`] where a tensor does not fit the configuration.
    pub fn from_loaded(loaded: Loaded, prepared: impl Into<Preparation>) -> Result<TextModel> {
        let Preparation { processing, precision } = prepared.into();
        let Loaded { config, weights, tokenizer, bos, source, assumptions, weight_hash } = loaded;
        let n_parameters = weights.n_parameters()?;
        let model = Model::new(config, weights, processing)?.packed(precision)?;
        let ready = LoadedModel { model, n_parameters, tokenizer, bos, source, assumptions, weight_hash };
        Ok(TextModel::from_ready(ready))
    }

    fn from_ready(loaded: LoadedModel) -> TextModel {
        let LoadedModel { model, n_parameters, tokenizer, bos, source, assumptions, weight_hash } = loaded;
        let about = About {
            model: source.spec,
            family: source.family.to_owned(),
            dtype: source.dtype,
            weight_hash,
            tokenizer: tokenizer.as_ref().map_or("none: takes token ids".to_owned(), Tokenizer::describe),
            assumptions,
            files: source.files.iter().map(|file| file.display().to_string()).collect(),
        };
        TextModel { model, tokenizer, bos, about, n_parameters, saes: vec![], tuned_lenses: vec![] }
    }

    /// A model made in memory, which takes token ids. It keeps the weights it has now. Its fingerprint is that of its weights as they are,
    /// processed or not.
    ///
    /// # Errors
    /// [`Error::Model`] where the weights cannot be hashed.
    pub fn from_model(name: &str, model: Model) -> Result<TextModel> {
        let weights = model.weights().unpacked()?;
        let about = About {
            model: name.to_owned(),
            family: IN_MEMORY.to_owned(),
            dtype: format!("{:?}", model.weights().embed.dtype()),
            weight_hash: weight_hash(model.config(), &weights)?,
            tokenizer: "none: takes token ids".to_owned(),
            assumptions: vec![],
            files: vec![],
        };
        let (n_parameters, precision) = (weights.n_parameters()?, model.precision());
        drop(weights);
        let model = model.packed(precision)?;
        Ok(TextModel {
            model,
            tokenizer: None,
            bos: None,
            about,
            n_parameters,
            saes: vec![],
            tuned_lenses: vec![],
        })
    }

    /// The same with a tuned lens open beside it, under a name.
    ///
    /// # Errors
    /// What [`TunedLens::check`] refuses.
    pub fn with_tuned_lens(mut self, name: &str, lens: impl Into<Arc<TunedLens>>) -> Result<TextModel> {
        let lens = lens.into();
        lens.check(&self)?;
        self.tuned_lenses.retain(|(open, _)| open != name);
        self.tuned_lenses.push((name.to_owned(), lens));
        Ok(self)
    }

    /// Tuned lenses open beside it, by name.
    pub fn tuned_lenses(&self) -> impl Iterator<Item = (&str, &TunedLens)> {
        self.tuned_lenses.iter().map(|(name, lens)| (&name[..], lens.as_ref()))
    }

    /// The tuned lens of a name.
    ///
    /// # Errors
    /// [`TunedLensError::NotOpen`], as [`Error::TunedLens`].
    pub fn tuned_lens(&self, name: &str) -> Result<&TunedLens> {
        let found = self.tuned_lenses.iter().find(|(open, _)| open == name);
        let open = || match &self.tuned_lenses[..] {
            [] => "none".to_owned(),
            some => some.iter().map(|(name, _)| &name[..]).collect::<Vec<_>>().join(", "),
        };
        let missing = || TunedLensError::NotOpen { name: name.to_owned(), open: open() };
        Ok(found.map(|(_, lens)| lens.as_ref()).ok_or_else(missing)?)
    }

    /// The same model computing on another device.
    ///
    /// # Errors
    /// [`Error::Model`] where the device fails, or has not enough memory.
    pub fn on(self, device: &Device) -> Result<TextModel> {
        let precision = self.model.precision();
        Ok(TextModel { model: self.model.on(device, precision)?, ..self })
    }

    /// The same model in the way a GPU computes it: [`Model::composed`].
    ///
    /// # Errors
    /// [`Error::Model`] where the weights cannot be unpacked.
    pub fn composed(self) -> Result<TextModel> {
        Ok(TextModel { model: self.model.composed(Precision::F32)?, ..self })
    }

    /// How many numbers its weights hold as they came, before processing:
    /// [`Weights::n_parameters`](microtome_model::Weights::n_parameters).
    pub fn n_parameters(&self) -> usize {
        self.n_parameters
    }

    /// The same model reading text through a vocabulary.
    #[must_use]
    pub fn with_tokenizer(self, tokenizer: Tokenizer) -> TextModel {
        let about = About { tokenizer: tokenizer.describe(), ..self.about };
        TextModel { bos: tokenizer.bos(), tokenizer: Some(tokenizer), about, ..self }
    }

    /// The same model with a sparse autoencoder beside it, which experiments may then name.
    ///
    /// # Errors
    /// [`Error::Sae`] where it was trained on another model, or on weights prepared in another way: [`Sae::check`].
    pub fn with_sae(mut self, sae: impl Into<Arc<Sae>>) -> Result<TextModel> {
        let sae = sae.into();
        sae.check(&self)?;
        self.saes.retain(|open| open.name() != sae.name());
        self.saes.push(sae);
        Ok(self)
    }

    /// The autoencoders opened beside it.
    pub fn saes(&self) -> impl Iterator<Item = &Sae> {
        self.saes.iter().map(Arc::as_ref)
    }

    /// The autoencoder of this name.
    ///
    /// # Errors
    /// [`SaeError::NotOpen`], as [`Error::Sae`].
    pub fn sae(&self, name: &SaeChoice) -> Result<&Sae> {
        let open = || match self.saes.is_empty() {
            true => "none".to_owned(),
            false => self.saes().map(|sae| sae.name().to_string()).collect::<Vec<_>>().join(", "),
        };
        let found = self.saes().find(|sae| sae.name() == name);
        Ok(found.ok_or_else(|| SaeError::NotOpen { name: name.0.clone(), open: open() })?)
    }

    /// The model itself.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its sizes.
    pub fn config(&self) -> &Config {
        self.model.config()
    }

    /// Its vocabulary, where it has one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// Where it came from.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The token put in front of text, where there is one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The tokens of a prompt, checked against the model's vocabulary and context.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`] for text without a tokenizer, [`Error::PromptTooLong`] past the context,
    /// [`Error::Model`] for unknown characters or ids and for an empty prompt.
    pub fn tokens(&self, text: &Text, bos: Bos) -> Result<Tokens> {
        let (ids, bos_prepended) = self.encode(text, bos)?;
        let labels: Vec<String> = ids.iter().map(|&id| self.label(id)).collect();
        let n_ctx = self.config().n_ctx;
        if ids.len() > n_ctx {
            return Err(Error::PromptTooLong { tokens: labels, n_ctx });
        }
        self.model.check_tokens(&ids)?;
        Ok(Tokens { ids, labels, bos_prepended })
    }

    /// The token ids of a text and whether BOS was prepended; unlike [`TextModel::tokens`], however many
    /// there are.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`] for text without a tokenizer, [`Error::Model`] for unknown characters.
    pub fn encode(&self, text: &Text, bos: Bos) -> Result<(Vec<u32>, bool)> {
        let text = match text {
            Text::Ids(ids) => return Ok((ids.clone(), false)),
            Text::Text(text) => text,
        };
        let tokenizer = self.tokenizer.as_ref().ok_or_else(|| Error::NoTokenizer { text: text.clone() })?;
        let first = self.bos.filter(|_| bos == Bos::Prepend);
        let ids = tokenizer.encode(text)?;
        Ok((first.into_iter().chain(ids).collect(), first.is_some()))
    }

    /// The one token of an answer. `role` names it in errors: `target`, `wrong answer`.
    ///
    /// # Errors
    /// [`Error::Model`] where it is not exactly one token, with its pieces and a suggestion.
    pub fn answer(&self, answer: &Answer, role: &'static str) -> Result<u32> {
        let id = match (answer, &self.tokenizer) {
            (Answer::Id(id), _) => *id,
            (Answer::Text(text), Some(tokenizer)) => tokenizer.single_token_for(role, text)?,
            (Answer::Text(text), None) => return Err(Error::NoTokenizer { text: text.clone() }),
        };
        self.model.check_tokens(&[id])?;
        Ok(id)
    }

    /// What a token is shown as.
    pub fn label(&self, id: u32) -> String {
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.display(id),
            None => format!("#{id}"),
        }
    }

    /// Tokens as running text.
    pub fn text(&self, ids: &[u32]) -> String {
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.decode(ids),
            None => ids.iter().map(|id| format!("#{id} ")).collect::<String>().trim_end().to_owned(),
        }
    }
}
