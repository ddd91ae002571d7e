//! The training of a tuned lens as data: the TOML file of `microtome train lens`, its defaults, its checks.

use std::path::{Path, PathBuf};

use microtome::TextModel;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::reading::{ModelChoice, ReadingConfig};
use crate::schedule::Schedule;
use crate::settings::{Settings, at_least_1, parse_settings, write_settings};

/// Everything that determines the training of a tuned lens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LensTraining {
    /// Seed of the order of windows.
    pub seed: u64,
    /// Folder of the run.
    pub out: PathBuf,
    /// The model.
    pub model: ModelChoice,
    /// What it reads.
    pub data: ReadingConfig,
    /// How the lens learns.
    pub training: LensLearning,
}

/// How it learns, is measured and kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LensLearning {
    /// Updates.
    pub steps: u64,
    /// Windows of a batch.
    pub batch: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Learning rate at the end, a tenth of the highest unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_learning_rate: Option<f64>,
    /// Updates in which the learning rate rises.
    pub warmup: u64,
    /// Updates from one evaluation to the next; there is one before the first, which is the logit lens's.
    pub evaluate_every: u64,
    /// Validation windows measured on, the same every time.
    pub evaluate_windows: usize,
    /// Updates from one checkpoint to the next.
    pub checkpoint_every: u64,
}

impl Default for LensTraining {
    fn default() -> LensTraining {
        LensTraining {
            seed: 1,
            out: "runs/lens".into(),
            model: ModelChoice::default(),
            data: ReadingConfig::default(),
            training: LensLearning::default(),
        }
    }
}

impl Default for LensLearning {
    fn default() -> LensLearning {
        LensLearning {
            steps: 1000,
            batch: 16,
            learning_rate: 1e-3,
            min_learning_rate: None,
            warmup: 50,
            evaluate_every: 100,
            evaluate_windows: 64,
            checkpoint_every: 100,
        }
    }
}

impl LensTraining {
    /// A complete file with a comment to every key.
    pub const EXAMPLE: &str = include_str!("example.toml");

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Syntax`] with the line of what does not fit.
    pub fn read(path: &Path) -> Result<LensTraining> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        parse_settings(&text, path)
    }

    /// The same with everything that is left open written down.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first key that does not fit.
    pub fn resolved(&self, model: &TextModel) -> Result<LensTraining> {
        self.data.check()?;
        let mut config = self.clone();
        config.data = self.data.resolved(model)?;
        let training = &mut config.training;
        training.min_learning_rate.get_or_insert(training.learning_rate / 10.0);
        let (rate, least) = (training.learning_rate, training.min_learning_rate.unwrap_or_default());
        for (key, number) in [
            ("training.steps", training.steps),
            ("training.batch", training.batch as u64),
            ("training.evaluate_every", training.evaluate_every),
            ("training.evaluate_windows", training.evaluate_windows as u64),
            ("training.checkpoint_every", training.checkpoint_every),
        ] {
            at_least_1(key, number)?;
        }
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(Error::setting("training.learning_rate", rate, "above 0"));
        }
        if !(0.0..=rate).contains(&least) {
            let expected = "0 or more, and at most `training.learning_rate`";
            return Err(Error::setting("training.min_learning_rate", least, expected));
        }
        Ok(config)
    }

    /// The learning rate by update, `self` being resolved.
    pub(super) fn schedule(&self) -> Schedule {
        let training = &self.training;
        Schedule {
            highest: training.learning_rate,
            lowest: training.min_learning_rate.unwrap_or(training.learning_rate),
            warmup: training.warmup.min(training.steps),
            decay: training.steps,
        }
    }
}

impl Settings for LensTraining {
    fn read(path: &Path) -> Result<LensTraining> {
        LensTraining::read(path)
    }

    fn write(&self, path: &Path) -> Result<()> {
        write_settings(self, path)
    }

    fn comparable(&self, here: &LensTraining) -> LensTraining {
        let mut config = LensTraining { out: here.out.clone(), ..self.clone() };
        config.training.checkpoint_every = here.training.checkpoint_every;
        config
    }
}
