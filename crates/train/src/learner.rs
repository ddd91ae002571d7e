//! One update: losses of the batches, gradients, clipping, AdamW.

use microtome_model::{Config, Dropout, GradientSink, Model, Tensor, Weights, cross_entropy};
use rand_chacha::rand_core::RngCore;

use crate::adamw::{AdamW, AdamWSettings, gradient_norm};
use crate::config::TrainingConfig;
use crate::error::{Error, Result};
use crate::parameters::{Parameters, Ties};
use crate::random::generator;
use crate::schedule::Schedule;

/// A model being trained.
#[derive(Debug)]
pub struct Learner {
    pub(crate) parameters: Parameters,
    pub(crate) optimiser: AdamW,
    schedule: Schedule,
    clip: f64,
    dropout: f64,
    seed: u64,
}

/// What an update was made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// Mean loss of its batches, in nats, before the update.
    pub loss: f64,
    /// Length of the gradient, before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
}

impl Learner {
    /// A model at the beginning of its training.
    ///
    /// # Errors
    /// [`Error::Model`] where the weights do not fit the configuration.
    pub fn new(
        config: &Config,
        weights: &Weights,
        ties: Ties,
        training: &TrainingConfig,
        seed: u64,
    ) -> Result<Learner> {
        let parameters = Parameters::new(config, weights, ties)?;
        let settings =
            AdamWSettings { beta1: training.beta1, beta2: training.beta2, decay: training.weight_decay };
        let optimiser = AdamW::new(parameters.list(), settings);
        let (schedule, clip, dropout) = (Schedule::new(training), training.clip, training.dropout);
        Ok(Learner { parameters, optimiser, schedule, clip, dropout, seed })
    }

    /// The model as it is now.
    pub fn model(&self) -> &Model {
        self.parameters.frozen()
    }

    /// The variables.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Makes update number `step`, counted from 0, from the mean gradient of batches of windows. All windows
    /// must have one length.
    ///
    /// # Errors
    /// [`Error::NotFinite`], the model being as it was; [`Error::Model`] for tokens it cannot take.
    pub fn update(&mut self, step: u64, batches: &[Vec<Vec<u32>>]) -> Result<Update> {
        let mut sum: Vec<Tensor> = Vec::new();
        let mut loss = 0.0;
        for (i, windows) in batches.iter().enumerate() {
            let (value, gradients) = self.gradients(step, i, windows)?;
            loss += value / batches.len() as f64;
            sum = match sum.is_empty() {
                true => gradients,
                false => sum.iter().zip(&gradients).map(|(a, b)| a + b).collect::<Result<_, _>>()?,
            };
        }
        let mean = 1.0 / batches.len() as f64;
        let gradient_norm = mean * gradient_norm(&sum)?;
        for (what, value) in [("loss", loss), ("gradient norm", gradient_norm)] {
            if !value.is_finite() {
                return Err(Error::NotFinite { what, step: step + 1, value, checkpoint: None });
            }
        }
        // PyTorch's clip_grad_norm_ also divides by slightly more than the norm.
        let clipped = if self.clip > 0.0 { (self.clip / (gradient_norm + 1e-6)).min(1.0) } else { 1.0 };
        let learning_rate = self.schedule.at(step);
        self.optimiser.update(self.parameters.list(), &sum, mean * clipped, learning_rate)?;
        Ok(Update { loss, gradient_norm, learning_rate })
    }

    /// The loss of one batch and its gradients in all parameters.
    fn gradients(&self, step: u64, batch: usize, windows: &[Vec<u32>]) -> Result<(f64, Vec<Tensor>)> {
        let (inputs, targets) = split(windows);
        let seed = generator(self.seed, &format!("dropout {batch}"), step).next_u64();
        let dropout = (self.dropout > 0.0).then_some(Dropout { rate: self.dropout, seed });
        let sink = GradientSink::default();
        let logits = self.parameters.learning().batch_logits_to_learn(&inputs, dropout, &sink)?;
        let loss = cross_entropy(&logits, &targets)?;
        let mut store = loss.backward()?;
        let gradient = |parameter: &crate::parameters::Parameter| -> Result<Tensor> {
            let variable = parameter.var.as_tensor();
            match (store.remove(variable), sink.take(variable)) {
                (Some(gradient), Some(more)) => Ok((gradient + more)?.contiguous()?),
                (Some(gradient), None) | (None, Some(gradient)) => Ok(gradient.contiguous()?),
                (None, None) => Ok(parameter.var.zeros_like()?),
            }
        };
        let gradients = self.parameters.list().iter().map(gradient).collect::<Result<_>>()?;
        Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
    }
}

/// What a model reads of windows, and what it should say.
pub(crate) fn split(windows: &[Vec<u32>]) -> (Vec<&[u32]>, Vec<u32>) {
    let inputs = windows.iter().map(|window| &window[..window.len().saturating_sub(1)]).collect();
    let targets = windows.iter().flat_map(|window| window.iter().skip(1).copied()).collect();
    (inputs, targets)
}
