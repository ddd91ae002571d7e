//! How well an autoencoder stands for the activations of a text.
//!
//! ```text
//! L0                 mean over positions of how many features are active
//! L1                 mean over positions of the sum of their activations
//! squared error      mean over positions of |x - reconstruction|^2
//! explained variance 1 - sum |x - reconstruction|^2 / sum |x - mean of x|^2      over positions and dimensions
//! loss recovered     (loss with x = 0, or its mean - loss spliced in) / (the same - loss of the model as it is)
//! ```
//!
//! `x` is the activation at the place it writes at: of a transcoder the one it reconstructs, not the one it reads.
//! Losses are means over all tokens of all prompts that have a token before them. A GPT-2's first position
//! has an activation many times as large as any other, so the positions asked about should leave it out:
//! there everything else stays as it is, and only the others are replaced.
//!
//! Steps: read and encode the activations of every prompt, and take their mean ([`Kept`]); then run every prompt as it is,
//! and as lanes with the reconstruction, with 0 and with the mean. Of the first pass sums stay.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use microtome_model::{Change, Device, Edit, Positions, RunOptions, Tensor, Value, on_cpu};

use super::active::rows;
use super::{Activations, Features, Sae};
use crate::error::{Error, Result};
use crate::experiment::{DEFAULT_BUDGET, Experiment, Method, Prompt, Watch};
use crate::measure::Subject;
use crate::method::sweep::{self, Cells, Swept};
use crate::metric::MetricId;
use crate::text_model::{Bos, Text, TextModel};

/// Losses in nats per token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Losses {
    /// Of the model as it is.
    pub clean: f64,
    /// With the reconstruction, its error gone.
    pub spliced: f64,
    /// With 0 in place of the activation.
    pub zero: f64,
    /// With the activation's mean over prompts and positions in its place.
    pub mean: f64,
}

impl Losses {
    /// The share of the loss that setting the activation to 0 costs and the reconstruction does not; `None`
    /// where it costs nothing.
    pub fn recovered_from_zero(&self) -> Option<f64> {
        self.recovered(self.zero)
    }

    /// The same against the mean.
    pub fn recovered_from_mean(&self) -> Option<f64> {
        self.recovered(self.mean)
    }

    fn recovered(&self, worst: f64) -> Option<f64> {
        let cost = worst - self.clean;
        (cost.abs() > 1e-10).then(|| (worst - self.spliced) / cost)
    }
}

/// What an autoencoder keeps of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// How many positions were encoded.
    pub n_positions: usize,
    /// Active features per position.
    pub l0: f64,
    /// Sum of the features' activations, mean over positions.
    pub l1: f64,
    /// Features active at none of the positions.
    pub never_active: usize,
    /// `|x - reconstruction|^2`, summed over dimensions, mean over positions.
    pub mse: f64,
    /// Explained variance; `None` where the activation does not vary.
    pub explained_variance: Option<f64>,
    /// What it costs.
    pub losses: Losses,
}

impl Sae {
    /// Measures the autoencoder on prompts of token ids, at these positions of each.
    ///
    /// # Errors
    /// [`Error::Missing`] without prompts, [`Error::MissingTokens`] for a prompt of one token, what [`Sae::check`]
    /// and the model refuse.
    pub fn quality(&self, model: &TextModel, prompts: &[Vec<u32>], at: &Positions) -> Result<Quality> {
        let never = AtomicBool::new(false);
        let mut watch =
            Watch { cancel: &never, progress: &mut |_, _| {}, partial: None, memory_budget: DEFAULT_BUDGET };
        self.quality_watched(model, prompts, at, &mut watch)
    }

    /// The same within a budget of memory; progress counts runs, three to a prompt.
    ///
    /// # Errors
    /// As [`Sae::quality`], and [`Error::StoppedEarly`] where it is cancelled.
    pub fn quality_watched(
        &self,
        model: &TextModel,
        prompts: &[Vec<u32>],
        at: &Positions,
        watch: &mut Watch,
    ) -> Result<Quality> {
        self.check(model)?;
        let experiment = Experiment {
            model: model.about().model.clone(),
            weights: model.model().processing(),
            precision: model.model().precision(),
            bos: Bos::Omit,
            prompts: prompts.iter().map(|ids| prompt(ids)).collect(),
            method: Method::Measure,
            metrics: vec![MetricId::named("loss")?],
            read_at: None,
            seed: 0,
        };
        let at = vec![at.clone(); prompts.len()];
        let kept = Kept::read(self, model, prompts, at, watch.cancel, |_, _| {})?;
        let swept = sweep::run(&experiment, model, watch, Kept::RUNS, &|_| vec![], |i| {
            let tokens = prompts[i].clone();
            let subject = Subject { tokens, answers: vec![], wrong: vec![], clamp: None };
            Ok(Cells::of(subject, kept.replacements(model, i, &prompts[i])?))
        })?;
        if swept.runs < swept.runs_wanted {
            return Err(Error::StoppedEarly);
        }
        let Kept { n_positions, l0, l1, never_active, mse, explained_variance, .. } = kept;
        let losses = Kept::losses(&swept, prompts.iter().map(Vec::len)).ok_or(Error::StoppedEarly)?;
        Ok(Quality { n_positions, l0, l1, never_active, mse, explained_variance, losses })
    }

    /// The activations at the place it reads at and the place it writes at.
    ///
    /// # Errors
    /// What the model refuses.
    pub fn read(&self, model: &TextModel, tokens: &[u32]) -> Result<Activations> {
        let (hook, last) = (self.hook(), self.writes_at());
        let stop_at_layer = last.fires_below(last.layer + 1).then_some(last.layer + 1);
        let mut reads = vec![hook, last];
        reads.dedup();
        let options = RunOptions { reads, logits: Positions::Last, stop_at_layer, ..RunOptions::default() };
        let run = model.model().run(tokens, &options)?;
        let at = |hook| -> Result<Tensor> { Ok(on_cpu(run.cache.get(hook)?)?) };
        Ok(Activations { input: at(hook)?, target: at(last)? })
    }
}

fn prompt(ids: &[u32]) -> Prompt {
    Prompt { clean: Text::Ids(ids.to_vec()), corrupt: None, answers: vec![], wrong_answers: vec![] }
}

/// Activations of prompts read and encoded: what is needed of them for the runs that follow.
pub(crate) struct Kept<'a> {
    sae: &'a Sae,
    /// By prompt.
    at: Vec<Positions>,
    /// The mean of the activation it writes over positions of all prompts, `[d_out]`.
    mean: Vec<f64>,
    pub n_positions: usize,
    pub l0: f64,
    pub l1: f64,
    pub never_active: usize,
    pub mse: f64,
    pub explained_variance: Option<f64>,
}

impl Kept<'_> {
    /// Runs of a prompt: the reconstruction, 0, and the mean.
    pub const RUNS: usize = 3;
    /// What they are called.
    pub const NAMES: [&'static str; 3] = ["reconstruction", "zero", "mean"];
}

impl<'a> Kept<'a> {
    /// Reads and encodes every prompt at its positions; `each` is shown what the autoencoder makes of each.
    ///
    /// # Errors
    /// [`Error::Missing`] without prompts, [`Error::StoppedEarly`], what the model refuses.
    pub fn read(
        sae: &'a Sae,
        model: &TextModel,
        prompts: &[Vec<u32>],
        at: Vec<Positions>,
        cancel: &AtomicBool,
        mut each: impl FnMut(usize, &Features),
    ) -> Result<Kept<'a>> {
        if prompts.is_empty() {
            return Err(Error::Missing { what: "a prompt", hint: "give one or more" });
        }
        let (mut n_positions, mut active, mut sum, mut unexplained) = (0, 0, 0.0, 0.0);
        let mut seen = HashSet::new();
        // Sums of squares about the mean, as Welford has them.
        let (mut mean, mut squares) = (vec![0.0; sae.config().d_out()], 0.0);
        for (i, (tokens, at)) in prompts.iter().zip(&at).enumerate() {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::StoppedEarly);
            }
            let x = sae.read(model, tokens)?;
            let features = sae.features(&x)?;
            let (x, reconstructed) = (rows(&x.target)?, rows(&features.reconstruction)?);
            for pos in at.resolve(tokens.len())? {
                n_positions += 1;
                active += features.active[pos].len();
                sum += features.active[pos].iter().map(|active| active.activation).sum::<f64>();
                seen.extend(features.active[pos].iter().map(|active| active.feature));
                for ((&x, &y), mean) in x[pos].iter().zip(&reconstructed[pos]).zip(&mut mean) {
                    unexplained += (x - y).powi(2);
                    let before = x - *mean;
                    *mean += before / n_positions as f64;
                    squares += before * (x - *mean);
                }
            }
            each(i, &features);
        }
        let explained_variance = (n_positions > 1 && squares > 0.0).then(|| 1.0 - unexplained / squares);
        let [l0, l1, mse] = [active as f64, sum, unexplained].map(|sum| sum / n_positions as f64);
        let never_active = sae.config().d_sae - seen.len();
        Ok(Kept { sae, at, mean, n_positions, l0, l1, never_active, mse, explained_variance })
    }

    /// The edits of a prompt's three runs.
    ///
    /// # Errors
    /// What the model refuses.
    pub fn replacements(&self, model: &TextModel, prompt: usize, tokens: &[u32]) -> Result<Vec<Vec<Edit>>> {
        let (sae, hook) = (self.sae, self.sae.writes_at());
        let shape = &hook.shape(model.config(), tokens.len())[1..];
        let mean: Vec<f32> = self.mean.iter().map(|&x| x as f32).collect();
        let mean = Tensor::from_vec(mean, shape, &Device::Cpu)?;
        let reconstruction = sae.features(&sae.read(model, tokens)?)?.reconstruction;
        let put = |change| vec![Edit::new(hook, change).positions(self.at[prompt].clone())];
        let set = |value| put(Change::Set(Value::Tensor(value)));
        Ok(vec![set(reconstruction), put(Change::Zero), set(mean)])
    }

    /// Losses of the runs, per token over the prompts that are finished; `None` where `loss` was not measured.
    pub fn losses(swept: &Swept, lengths: impl Iterator<Item = usize>) -> Option<Losses> {
        let loss = swept.metrics.iter().position(|metric| metric.name() == "loss")?;
        let predicted: Vec<f64> = lengths.take(swept.bases.len()).map(|len| len as f64 - 1.0).collect();
        let mean = |values: Vec<f64>| {
            let sum: f64 = values.iter().zip(&predicted).map(|(loss, n)| loss * n).sum();
            sum / predicted.iter().sum::<f64>()
        };
        let of = |cell| Some(mean(swept.values(loss, cell)?));
        let clean = mean(swept.base_values(loss));
        Some(Losses { clean, spliced: of(0)?, zero: of(1)?, mean: of(2)? })
    }
}
