//! The training of a sparse autoencoder as data: the TOML file of `microtome sae train`, its defaults, its checks.

use std::path::{Path, PathBuf};

use microtome::TextModel;
use microtome::sae::{Architecture, Normalization, SaeConfig, TrainedOn};
use microtome_model::{DType, Hook, Processing};
use serde::{Deserialize, Serialize};

use crate::config::CheckpointConfig;
use crate::error::{Error, Result};
use crate::reading::{ModelChoice, ReadingConfig};
use crate::schedule::Schedule;
use crate::settings::{Settings, at_least_1, at_most, parse_settings, write_settings};

/// Everything that determines the training of an autoencoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SaeTraining {
    /// Seed of everything random: the first decoder, the order of windows and of activations, resampling.
    pub seed: u64,
    /// Folder of the run.
    pub out: PathBuf,
    /// The model whose activations are learnt.
    pub model: ModelChoice,
    /// The autoencoder.
    pub sae: Shape,
    /// What the model reads.
    pub data: ReadingConfig,
    /// How it learns.
    pub training: Learning,
    /// What is measured on the way.
    pub evaluation: Measuring,
    /// What is kept.
    pub checkpoints: Keeping,
}

/// The autoencoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shape {
    /// The hook it reads and writes.
    pub hook: String,
    /// How features are read.
    pub architecture: Kind,
    /// How many features; eight times the width of the activation unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<usize>,
    /// Topk only: how many of them are active at a position, 32 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<usize>,
}

/// The architectures that can be trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// ReLU, made sparse by a price on activations.
    Standard,
    /// The k largest, no price on activations.
    Topk,
}

/// How it learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Learning {
    /// Tokens to learn from, some more than once where the text has fewer.
    pub tokens: u64,
    /// Tokens of a batch.
    pub batch: usize,
    /// Tokens whose activations are held and shuffled together.
    pub buffer: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Learning rate at the end, a tenth of the highest unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_learning_rate: Option<f64>,
    /// Updates in which the learning rate rises.
    pub warmup: u64,
    /// Standard only: the price of a unit of activation, 5 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l1: Option<f64>,
    /// Standard only: updates in which the price rises, a twentieth of all unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l1_warmup: Option<u64>,
    /// A feature is dead that was not active on so many tokens; a twentieth of `tokens` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_after: Option<u64>,
    /// Standard only: updates from one resampling of dead features to the next, a tenth of all unless given; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resample_every: Option<u64>,
    /// Topk only: weight of the auxiliary loss of dead features, 1/32 unless given; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<f64>,
}

/// What is measured on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Measuring {
    /// Updates from one evaluation to the next; there is one after the last.
    pub every: u64,
    /// Validation windows measured on, the same every time.
    pub windows: usize,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keeping {
    /// Updates from one checkpoint to the next.
    pub every: u64,
    /// What the numbers of the autoencoder are stored as: `float32`, `float16` or `bfloat16`.
    pub dtype: String,
}

impl Default for SaeTraining {
    fn default() -> SaeTraining {
        SaeTraining {
            seed: 1,
            out: "runs/sae".into(),
            model: ModelChoice::default(),
            sae: Shape::default(),
            data: ReadingConfig::default(),
            training: Learning::default(),
            evaluation: Measuring::default(),
            checkpoints: Keeping::default(),
        }
    }
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { hook: String::new(), architecture: Kind::Topk, features: None, k: None }
    }
}

impl Default for Learning {
    fn default() -> Learning {
        Learning {
            tokens: 4_000_000,
            batch: 1024,
            buffer: 1 << 16,
            learning_rate: 1e-3,
            min_learning_rate: None,
            warmup: 100,
            l1: None,
            l1_warmup: None,
            dead_after: None,
            resample_every: None,
            aux: None,
        }
    }
}

impl Default for Measuring {
    fn default() -> Measuring {
        Measuring { every: 500, windows: 64 }
    }
}

impl Default for Keeping {
    fn default() -> Keeping {
        Keeping { every: CheckpointConfig::default().every, dtype: "float32".to_owned() }
    }
}

/// What follows from the settings, nothing of it left open.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// What the autoencoder's file will say.
    pub sae: SaeConfig,
    /// Updates.
    pub steps: u64,
    /// The learning rate by update.
    pub schedule: Schedule,
    /// What keeps features few.
    pub sparsity: Sparsity,
    /// A feature is dead that was not active on so many tokens.
    pub dead_after: u64,
    /// What the autoencoder is stored as.
    pub dtype: DType,
}

/// What keeps active features few, and brings dead ones back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sparsity {
    /// A price on activations; dead features are resampled.
    Price {
        /// Of a unit of activation, at last.
        l1: f64,
        /// Updates in which it rises.
        warmup: u64,
        /// Updates from one resampling to the next; 0 for none.
        resample_every: u64,
    },
    /// The largest; dead features have a loss of their own.
    Largest {
        /// How many.
        k: usize,
        /// Weight of that loss.
        aux: f64,
    },
}

impl SaeTraining {
    /// A complete file with a comment to every key.
    pub const EXAMPLE: &str = include_str!("example.toml");

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Syntax`] with the line of what does not fit.
    pub fn read(path: &Path) -> Result<SaeTraining> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        parse_settings(&text, path)
    }

    /// The same with everything that is left open written down.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first key that does not fit; [`Error::Model`] where the model has no such hook.
    pub fn resolved(&self, model: &TextModel) -> Result<SaeTraining> {
        self.data.check()?;
        let hook = self.hook()?;
        hook.check(model.config())?;
        let d_in: usize = hook.shape(model.config(), 1).iter().product();
        let mut config = self.clone();
        config.sae.features.get_or_insert(8 * d_in);
        config.data = self.data.resolved(model)?;
        let learning = &mut config.training;
        learning.min_learning_rate.get_or_insert(learning.learning_rate / 10.0);
        let steps = (learning.tokens / learning.batch.max(1) as u64).max(1);
        learning.dead_after.get_or_insert((learning.tokens / 20).max(1));
        match self.sae.architecture {
            Kind::Standard => {
                learning.l1.get_or_insert(5.0);
                learning.l1_warmup.get_or_insert(steps / 20);
                learning.resample_every.get_or_insert(steps / 10);
            }
            Kind::Topk => {
                config.sae.k.get_or_insert(32);
                learning.aux.get_or_insert(1.0 / 32.0);
            }
        }
        config.check()?;
        Ok(config)
    }

    fn hook(&self) -> Result<Hook> {
        let expected = "the name of a hook point, for example blocks.3.hook_resid_pre";
        if self.sae.hook.is_empty() {
            return Err(Error::setting("sae.hook", "not given", expected));
        }
        let hook = Hook::parse(&self.sae.hook)?;
        if hook.site.is_attention() {
            let expected = "a hook point whose activations have positions first";
            return Err(Error::setting("sae.hook", format!("`{hook}`"), expected));
        }
        Ok(hook)
    }

    fn check(&self) -> Result<()> {
        let (sae, learning) = (&self.sae, &self.training);
        let features = sae.features.unwrap_or_default();
        at_least_1("sae.features", features as u64)?;
        at_most("sae.features", features as u64, 1 << 20)?;
        at_least_1("training.batch", learning.batch as u64)?;
        at_least_1("training.tokens", learning.tokens)?;
        at_least_1("training.dead_after", learning.dead_after.unwrap_or(1))?;
        at_least_1("evaluation.every", self.evaluation.every)?;
        at_least_1("evaluation.windows", self.evaluation.windows as u64)?;
        at_least_1("checkpoints.every", self.checkpoints.every)?;
        if learning.tokens < learning.batch as u64 {
            let expected = format!("at least `training.batch`, which is {}", learning.batch);
            return Err(Error::setting("training.tokens", learning.tokens, expected));
        }
        if learning.buffer < learning.batch {
            let expected = format!("at least `training.batch`, which is {}", learning.batch);
            return Err(Error::setting("training.buffer", learning.buffer, expected));
        }
        if let Some(k) = sae.k.filter(|k| !(1..=features).contains(k)) {
            let expected = format!("from 1 to `sae.features`, which is {features}");
            return Err(Error::setting("sae.k", k, expected));
        }
        let (rate, least) = (learning.learning_rate, learning.min_learning_rate.unwrap_or_default());
        let not_negative = |x: f64| x >= 0.0 && x.is_finite();
        let numbers = [
            ("training.learning_rate", rate, rate > 0.0 && rate.is_finite(), "above 0"),
            (
                "training.min_learning_rate",
                least,
                not_negative(least) && least <= rate,
                "0 or more, and at most `training.learning_rate`",
            ),
            (
                "training.l1",
                learning.l1.unwrap_or_default(),
                not_negative(learning.l1.unwrap_or_default()),
                "0 or more",
            ),
            (
                "training.aux",
                learning.aux.unwrap_or_default(),
                not_negative(learning.aux.unwrap_or_default()),
                "0 or more",
            ),
        ];
        if let Some((key, value, _, expected)) = numbers.into_iter().find(|(_, _, fits, _)| !fits) {
            return Err(Error::setting(key, value, expected));
        }
        let of_standard = [
            ("training.l1", learning.l1.is_some()),
            ("training.l1_warmup", learning.l1_warmup.is_some()),
            ("training.resample_every", learning.resample_every.is_some()),
        ];
        let of_topk = [("sae.k", sae.k.is_some()), ("training.aux", learning.aux.is_some())];
        let (foreign, here): (&[_], _) = match sae.architecture {
            Kind::Standard => (&of_topk[..], "standard"),
            Kind::Topk => (&of_standard[..], "topk"),
        };
        if let Some((key, _)) = foreign.iter().find(|(_, given)| *given) {
            let expected = format!("nothing, since `sae.architecture` is {here}");
            return Err(Error::setting(key, "given", expected));
        }
        self.dtype().map(drop)
    }

    fn dtype(&self) -> Result<DType> {
        match self.checkpoints.dtype.as_str() {
            "float32" => Ok(DType::F32),
            "float16" => Ok(DType::F16),
            "bfloat16" => Ok(DType::BF16),
            other => {
                let expected = "\"float32\", \"float16\" or \"bfloat16\"";
                Err(Error::setting("checkpoints.dtype", format!("\"{other}\""), expected))
            }
        }
    }

    /// What follows for a model, `self` being resolved.
    pub(super) fn plan(&self, model: &TextModel) -> Result<Plan> {
        let (hook, learning) = (self.hook()?, &self.training);
        let steps = learning.tokens / learning.batch as u64;
        let (architecture, sparsity) = match self.sae.architecture {
            Kind::Standard => {
                let sparsity = Sparsity::Price {
                    l1: learning.l1.unwrap_or_default(),
                    warmup: learning.l1_warmup.unwrap_or_default(),
                    resample_every: learning.resample_every.unwrap_or_default(),
                };
                (Architecture::Standard, sparsity)
            }
            Kind::Topk => {
                let k = self.sae.k.unwrap_or(1);
                let sparsity = Sparsity::Largest { k, aux: learning.aux.unwrap_or_default() };
                (Architecture::TopK { k, by_decoder_norm: false }, sparsity)
            }
        };
        let folded = model.model().processing() == Processing::Folded;
        let sae = SaeConfig {
            architecture,
            d_in: hook.shape(model.config(), 1).iter().product(),
            d_sae: self.sae.features.unwrap_or_default(),
            hook,
            transcoder: None,
            subtract_b_dec: true,
            normalization: Normalization::None,
            trained_on: TrainedOn {
                model: Some(model.about().model.clone()),
                centred: folded,
                value_biases_folded: folded,
                // Here a normalised activation is that before gain and bias, with either weights.
                norm_folded: folded || hook.site.is_normalized(),
                prepend_bos: self.data.bos && model.bos().is_some(),
                context_size: self.data.context,
            },
            neuronpedia_id: None,
        };
        let schedule = Schedule {
            highest: learning.learning_rate,
            lowest: learning.min_learning_rate.unwrap_or(learning.learning_rate),
            warmup: learning.warmup.min(steps),
            decay: steps,
        };
        let dead_after = learning.dead_after.unwrap_or(u64::MAX);
        Ok(Plan { sae, steps, schedule, sparsity, dead_after, dtype: self.dtype()? })
    }
}

impl Settings for SaeTraining {
    fn read(path: &Path) -> Result<SaeTraining> {
        SaeTraining::read(path)
    }

    fn write(&self, path: &Path) -> Result<()> {
        write_settings(self, path)
    }

    fn comparable(&self, here: &SaeTraining) -> SaeTraining {
        SaeTraining { out: here.out.clone(), checkpoints: here.checkpoints.clone(), ..self.clone() }
    }
}
