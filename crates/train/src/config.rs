//! A run as data: the TOML file of `microtome train`, with its defaults and its checks.
//!
//! [`Config::EXAMPLE`] is a complete file with a comment to every key. A key that does not exist is an error
//! with its line, and so is a value of the wrong kind; what values must fit together is said by
//! [`Config::check`].

use std::path::{Path, PathBuf};

use microtome_model::{Activation, MlpConfig, NormConfig};
use serde::{Deserialize, Serialize};

use crate::corpus::Task;
use crate::error::{Error, Result};
use crate::parameters::{Init, InitPositions, InitUnembed};
use crate::settings::{at_least_1, at_most, parse_settings, write_settings};

/// Everything that determines a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seed of everything random: weights, windows, dropout.
    pub seed: u64,
    /// Folder of the run.
    pub out: PathBuf,
    /// The model.
    pub model: ModelConfig,
    /// What it reads.
    pub data: DataConfig,
    /// How it learns.
    pub training: TrainingConfig,
    /// What is measured on the way.
    pub evaluation: EvaluationConfig,
    /// What is kept.
    pub checkpoints: CheckpointConfig,
}

/// The model, new or from a checkpoint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Checkpoint, folder or model id to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_from: Option<String>,
    /// Blocks; with `init_from` at least the checkpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_layers: Option<usize>,
    /// Heads of a block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_heads: Option<usize>,
    /// Width of the residual stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_model: Option<usize>,
    /// Context, in tokens; with `init_from` at most the checkpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_ctx: Option<usize>,
    /// Neurons of a block, `4 d_model` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_mlp: Option<usize>,
    /// No MLPs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_only: Option<bool>,
    /// LayerNorms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<bool>,
    /// Non-linearity of the MLPs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// Whether the unembedding is the embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tied: Option<bool>,
    /// Whether linear maps and LayerNorms learn biases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<bool>,
    /// Standard deviation that new matrices and embeddings begin with, 0.02 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_std: Option<f64>,
    /// How its position embeddings begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_positions: Option<InitPositions>,
    /// How an unembedding of its own begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_unembed: Option<InitUnembed>,
}

/// What the model reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// A text file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<PathBuf>,
    /// The program's own corpus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corpus: Option<CorpusConfig>,
    /// Size of the vocabulary where there is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocab: Option<usize>,
    /// How text becomes tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerConfig>,
    /// Share of the text kept for validation: its end.
    pub validation: f64,
    /// Where windows begin.
    pub windows: Windows,
    /// Share of the windows that are a random sequence, repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<f64>,
}

/// Documents of the program's own generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusConfig {
    /// Seed of the generator.
    pub seed: u64,
    /// How many documents.
    pub documents: u64,
    /// The task that gets every third of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub favour: Option<Task>,
}

/// How text becomes tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"characters\", the path of a tokenizer.json, or { bpe = { vocab = 3000 } }"
)]
pub enum TokenizerConfig {
    /// `characters`, or the path of a file.
    Named(String),
    /// Byte-level byte-pair encoding, learnt from the text.
    Bpe {
        /// Its settings.
        bpe: BpeConfig,
    },
}

/// Byte-pair encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BpeConfig {
    /// Tokens at most, 256 bytes and `<|endoftext|>` included.
    pub vocab: usize,
    /// How often a pair must occur to become a token.
    #[serde(default = "default_min_frequency")]
    pub min_frequency: u64,
}

fn default_min_frequency() -> u64 {
    2
}

/// Where windows begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Windows {
    /// Anywhere, as in nanoGPT.
    Anywhere,
    /// At a document: 70 % at the `<|endoftext|>` in front of it, 15 % right after it, 15 % anywhere.
    Documents,
}

/// How the model learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Updates.
    pub steps: u64,
    /// Windows of a batch.
    pub batch: usize,
    /// Batches whose gradients make one update.
    pub accumulate: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Learning rate after the decay, a tenth of the highest unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_learning_rate: Option<f64>,
    /// Updates in which the learning rate rises.
    pub warmup: u64,
    /// Update at which it is lowest, `steps` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_steps: Option<u64>,
    /// Share of a matrix, times the learning rate, taken off it at each update.
    pub weight_decay: f64,
    /// AdamW's memory of gradients.
    pub beta1: f64,
    /// AdamW's memory of their squares.
    pub beta2: f64,
    /// Longest gradient; 0 for any.
    pub clip: f64,
    /// Share of activations set to 0.
    pub dropout: f64,
}

/// What is measured on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Updates from one evaluation to the next.
    pub every: u64,
    /// Batches of each part that are evaluated.
    pub batches: Batches,
    /// Head scores.
    pub telemetry: bool,
    /// Texts to continue.
    pub samples: Vec<SampleConfig>,
}

/// How much is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number of batches, or \"all\" for the whole validation part")]
pub enum Batches {
    /// That many, the same ones each time.
    Count(usize),
    /// The validation part from beginning to end, and as much of the training part.
    All(All),
}

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum All {
    /// All of it.
    All,
}

/// A text to continue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleConfig {
    /// Its beginning.
    pub prompt: String,
    /// Tokens to add.
    pub tokens: usize,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Updates from one checkpoint to the next.
    pub every: u64,
    /// Whether each is kept beside the last and the best.
    pub keep: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            seed: 1,
            out: "runs/demo".into(),
            model: ModelConfig::default(),
            data: DataConfig::default(),
            training: TrainingConfig::default(),
            evaluation: EvaluationConfig::default(),
            checkpoints: CheckpointConfig::default(),
        }
    }
}

impl Default for DataConfig {
    fn default() -> DataConfig {
        DataConfig {
            text: None,
            corpus: None,
            vocab: None,
            tokenizer: None,
            validation: 0.1,
            windows: Windows::Anywhere,
            repeats: None,
        }
    }
}

impl Default for TrainingConfig {
    fn default() -> TrainingConfig {
        TrainingConfig {
            steps: 2000,
            batch: 12,
            accumulate: 1,
            learning_rate: 1e-3,
            min_learning_rate: None,
            warmup: 100,
            decay_steps: None,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.99,
            clip: 1.0,
            dropout: 0.0,
        }
    }
}

impl Default for EvaluationConfig {
    fn default() -> EvaluationConfig {
        EvaluationConfig { every: 250, batches: Batches::Count(20), telemetry: true, samples: vec![] }
    }
}

impl Default for CheckpointConfig {
    fn default() -> CheckpointConfig {
        CheckpointConfig { every: 500, keep: false }
    }
}

impl Config {
    /// A complete file with a comment to every key.
    pub const EXAMPLE: &str = include_str!("example.toml");

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Syntax`] with the line of what does not fit.
    pub fn read(path: &Path) -> Result<Config> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Config::parse(&text, path)
    }

    /// Reads a text; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Syntax`].
    pub fn parse(text: &str, path: &Path) -> Result<Config> {
        parse_settings(text, path)
    }

    /// Writes a file that reads back the same.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        write_settings(self, path)
    }

    /// The same with what is left open written down, where it depends on nothing but this file.
    ///
    /// # Errors
    /// Those of [`Config::check`].
    pub fn resolved(&self) -> Result<Config> {
        self.check()?;
        let mut config = self.clone();
        let (model, data, training) = (&mut config.model, &mut config.data, &mut config.training);
        if model.init_from.is_none() {
            let d_model = *model.d_model.get_or_insert(128);
            model.n_layers.get_or_insert(4);
            model.n_heads.get_or_insert(4);
            model.n_ctx.get_or_insert(64);
            if !*model.attention_only.get_or_insert(false) {
                model.d_mlp.get_or_insert(4 * d_model);
                model.activation.get_or_insert(Activation::GeluNew);
            }
            model.norm.get_or_insert(true);
            model.tied.get_or_insert(true);
            model.bias.get_or_insert(true);
            let init = model.init();
            (model.init_std, model.init_positions) = (Some(init.std), Some(init.positions));
            model.init_unembed.get_or_insert(init.unembed);
            if data.has_text() {
                data.tokenizer.get_or_insert(TokenizerConfig::Named("characters".to_owned()));
            }
        }
        data.repeats.get_or_insert(if data.text.is_some() || data.corpus.is_some() { 0.0 } else { 1.0 });
        training.min_learning_rate.get_or_insert(training.learning_rate / 10.0);
        training.decay_steps.get_or_insert(training.steps);
        config.check()?;
        Ok(config)
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first key that does not fit.
    pub fn check(&self) -> Result<()> {
        self.model.check()?;
        self.data.check(self.model.init_from.is_some())?;
        self.training.check()?;
        at_least_1("evaluation.every", self.evaluation.every)?;
        match self.evaluation.batches {
            Batches::Count(batches) => at_least_1("evaluation.batches", batches as u64)?,
            Batches::All(_) if !self.data.has_text() => {
                let expected = "a number, since random tokens have no end";
                return Err(Error::setting("evaluation.batches", "\"all\"", expected));
            }
            Batches::All(_) => {}
        }
        for sample in &self.evaluation.samples {
            at_least_1("evaluation.samples.tokens", sample.tokens as u64)?;
        }
        if !self.evaluation.samples.is_empty() && !self.data.has_text() && self.model.init_from.is_none() {
            let expected = "none, since random tokens have no text to continue";
            return Err(Error::setting("evaluation.samples", "given", expected));
        }
        at_least_1("checkpoints.every", self.checkpoints.every)
    }
}

impl ModelConfig {
    fn check(&self) -> Result<()> {
        for (key, size) in [
            ("model.n_layers", self.n_layers),
            ("model.n_heads", self.n_heads),
            ("model.d_model", self.d_model),
            ("model.n_ctx", self.n_ctx),
            ("model.d_mlp", self.d_mlp),
        ] {
            if let Some(size) = size {
                at_least_1(key, size as u64)?;
                at_most(key, size as u64, 1 << 20)?;
            }
        }
        if let Some(std) = self.init_std.filter(|std| !(*std > 0.0 && *std <= 1.0)) {
            return Err(Error::setting("model.init_std", std, "above 0 and at most 1"));
        }
        if self.init_from.is_some() && (self.init_positions.is_some() || self.init_unembed.is_some()) {
            let expected = "none beside `model.init_from`, which says what the embeddings are";
            return Err(Error::setting("model.init_positions or init_unembed", "given", expected));
        }
        if self.init_from.is_some()
            && self.init_std.is_some()
            && self.n_layers.is_none()
            && self.attention_only != Some(false)
        {
            let expected = "none beside `model.init_from`, unless `model.n_layers` or `model.attention_only = false` adds to it";
            return Err(Error::setting("model.init_std", "given", expected));
        }
        if self.init_unembed == Some(InitUnembed::Shifted) && self.tied != Some(false) {
            let expected = "\"normal\", or `model.tied = false`: a tied unembedding is the embedding";
            return Err(Error::setting("model.init_unembed", "\"shifted\"", expected));
        }
        if let (Some(n_heads), Some(d_model)) = (self.n_heads, self.d_model)
            && !d_model.is_multiple_of(n_heads)
        {
            let expected = format!("a divisor of `model.d_model`, which is {d_model}");
            return Err(Error::setting("model.n_heads", n_heads, expected));
        }
        if self.attention_only == Some(true) {
            if let Some(d_mlp) = self.d_mlp {
                let expected = "nothing, since `model.attention_only` leaves the MLPs out";
                return Err(Error::setting("model.d_mlp", d_mlp, expected));
            }
            if let Some(activation) = self.activation {
                let expected = "nothing, since `model.attention_only` leaves the MLPs out";
                return Err(Error::setting("model.activation", activation.name(), expected));
            }
        }
        if self.n_ctx == Some(1) {
            return Err(Error::setting("model.n_ctx", 1, "2 or more"));
        }
        Ok(())
    }

    /// How a new model begins.
    pub(crate) fn init(&self) -> Init {
        let default = Init::default();
        Init {
            std: self.init_std.unwrap_or(default.std),
            positions: self.init_positions.unwrap_or(default.positions),
            unembed: self.init_unembed.unwrap_or(default.unembed),
        }
    }

    /// The MLPs of a model so wide.
    pub(crate) fn mlp(&self, d_model: usize) -> MlpConfig {
        MlpConfig {
            d_mlp: self.d_mlp.unwrap_or(4 * d_model),
            activation: self.activation.unwrap_or(Activation::GeluNew),
        }
    }

    /// The sizes of a new model, `self` being resolved.
    pub(crate) fn sizes(&self, d_vocab: usize) -> microtome_model::Config {
        let d_model = self.d_model.unwrap_or(128);
        let n_heads = self.n_heads.unwrap_or(4);
        microtome_model::Config {
            n_layers: self.n_layers.unwrap_or(4),
            n_heads,
            d_model,
            d_head: d_model / n_heads,
            d_vocab,
            n_ctx: self.n_ctx.unwrap_or(64),
            mlp: (self.attention_only != Some(true)).then(|| self.mlp(d_model)),
            norm: (self.norm != Some(false)).then_some(NormConfig { eps: 1e-5 }),
        }
    }
}

impl DataConfig {
    /// Whether there is a text, from a file or made.
    pub fn has_text(&self) -> bool {
        self.text.is_some() || self.corpus.is_some()
    }

    /// What is read, for messages.
    pub(crate) fn describe(&self) -> String {
        match (&self.text, self.corpus) {
            (Some(path), _) => format!("`{}`", path.display()),
            (None, Some(corpus)) => {
                let favour = corpus.favour.map(|task| format!(", every third of {}", task.name()));
                let (documents, seed) = (corpus.documents, corpus.seed);
                format!("the corpus of {documents} documents, seed {seed}{}", favour.unwrap_or_default())
            }
            (None, None) => "random tokens".to_owned(),
        }
    }

    fn check(&self, has_checkpoint: bool) -> Result<()> {
        if let (Some(text), Some(_)) = (&self.text, self.corpus) {
            let expected = "either a text or `data.corpus`, not both";
            return Err(Error::setting("data.text", format!("`{}`", text.display()), expected));
        }
        if !(0.0..1.0).contains(&self.validation) || (self.has_text() && self.validation == 0.0) {
            let expected = "a share above 0 and below 1, for example 0.1";
            return Err(Error::setting("data.validation", self.validation, expected));
        }
        if let Some(repeats) = self.repeats.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(Error::setting("data.repeats", repeats, "a share from 0 to 1"));
        }
        if let Some(corpus) = self.corpus.filter(|corpus| corpus.documents < 2) {
            let expected = "2 or more, one to train on and one to validate";
            return Err(Error::setting("data.corpus.documents", corpus.documents, expected));
        }
        if let Some(TokenizerConfig::Bpe { bpe }) = &self.tokenizer {
            if bpe.vocab < 257 {
                let expected = "257 or more: one for each byte and one for <|endoftext|>";
                return Err(Error::setting("data.tokenizer.bpe.vocab", bpe.vocab, expected));
            }
            at_most("data.tokenizer.bpe.vocab", bpe.vocab as u64, 1 << 20)?;
        }
        match (self.has_text(), self.vocab) {
            (true, Some(vocab)) => {
                let expected = "nothing, since the tokenizer says how many tokens there are";
                Err(Error::setting("data.vocab", vocab, expected))
            }
            (false, None) if !has_checkpoint => {
                let expected = "`data.text`, `data.corpus`, or `data.vocab` for random tokens only";
                Err(Error::setting("data", "empty", expected))
            }
            (false, Some(vocab)) if !(2..=1 << 20).contains(&vocab) => {
                Err(Error::setting("data.vocab", vocab, "2 or more"))
            }
            (false, _) if self.tokenizer.is_some() => {
                let expected = "nothing, since there is no text to read";
                Err(Error::setting("data.tokenizer", "given", expected))
            }
            (false, _) if self.repeats.is_some_and(|share| share != 1.0) => {
                let expected = "1 where there is no text";
                Err(Error::setting("data.repeats", self.repeats.unwrap_or_default(), expected))
            }
            _ => Ok(()),
        }
    }
}

impl TrainingConfig {
    fn check(&self) -> Result<()> {
        at_least_1("training.steps", self.steps)?;
        at_least_1("training.batch", self.batch as u64)?;
        at_least_1("training.accumulate", self.accumulate as u64)?;
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let not_negative = |x: f64| x >= 0.0 && x.is_finite();
        let share = |x: f64| (0.0..1.0).contains(&x);
        let min = self.min_learning_rate.unwrap_or(0.0);
        let settings = [
            ("training.learning_rate", self.learning_rate, positive(self.learning_rate), "above 0"),
            (
                "training.min_learning_rate",
                min,
                not_negative(min) && min <= self.learning_rate,
                "0 or more, and at most `training.learning_rate`",
            ),
            ("training.weight_decay", self.weight_decay, not_negative(self.weight_decay), "0 or more"),
            ("training.beta1", self.beta1, share(self.beta1), "0 or more and below 1"),
            ("training.beta2", self.beta2, share(self.beta2), "0 or more and below 1"),
            ("training.clip", self.clip, not_negative(self.clip), "above 0, or 0 for no clipping"),
            ("training.dropout", self.dropout, share(self.dropout), "0 or more and below 1"),
        ];
        match settings.into_iter().find(|(_, _, fits, _)| !fits) {
            Some((key, value, _, expected)) => Err(Error::setting(key, value, expected)),
            None => Ok(()),
        }
    }
}
