//! What a model's losses are: by window and by position.
//!
//! The in-context score follows Olsson et al. 2022, who take the loss at the 500th token of a context of
//! 512 less that at the 50th. Here it is the mean loss early less the mean loss late, so that it is above 0 where
//! the model learns from its context: early is from a twentieth to three twentieths of the context, late its
//! last tenth.

use microtome::metric::log_sum_exp;
use microtome_model::{Edit, Model, RunOptions, Tensor, with_rows};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::Data;
use crate::error::Result;
use crate::learner::split;

/// Windows run at a time.
const WINDOWS: usize = 16;

/// Mean loss at every position of windows of one length, in nats.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) where the model cannot take a window.
pub fn losses_by_position(model: &Model, windows: &[Vec<u32>]) -> Result<Vec<f64>> {
    mean_losses(windows, |inputs| Ok(model.batch_logits(inputs, None)?))
}

/// The same with edits in every window.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) where the model cannot take a window, or has nothing to edit there.
pub fn edited_losses_by_position(model: &Model, windows: &[Vec<u32>], edits: &[Edit]) -> Result<Vec<f64>> {
    let options = RunOptions { edits: edits.to_vec(), ..RunOptions::default() };
    mean_losses(windows, |inputs| {
        let runs = model.run_batch(inputs, &options)?;
        let logits = runs.iter().map(|run| run.logits()).collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::cat(&logits, 0)?)
    })
}

/// Mean losses at every position, `logits` giving the rows of a batch, `[window pos, d_vocab]`.
fn mean_losses(windows: &[Vec<u32>], logits: impl Fn(&[&[u32]]) -> Result<Tensor>) -> Result<Vec<f64>> {
    let length = windows.first().map_or(0, |window| window.len().saturating_sub(1));
    let mut sums = vec![0.0; length];
    for batch in windows.chunks(WINDOWS) {
        let (inputs, targets) = split(batch);
        let logits = logits(&inputs)?;
        let losses: Vec<f64> = with_rows(&logits, |rows| {
            let width = rows.len() / targets.len().max(1);
            let loss = |(row, &target): (&[f32], &u32)| log_sum_exp(row) - f64::from(row[target as usize]);
            rows.par_chunks(width.max(1)).zip(&targets).map(loss).collect()
        })?;
        for (i, loss) in losses.into_iter().enumerate() {
            sums[i % length] += loss;
        }
    }
    Ok(sums.into_iter().map(|sum| sum / windows.len() as f64).collect())
}

/// The mean of losses.
pub fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / losses.len() as f64
}

/// Mean losses on random sequences that fill half a context and come twice, in nats: a model with induction
/// heads knows the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RepeatLoss {
    /// Said for the first time; without a BOS in front, all but the first token.
    pub first: f64,
    /// Said again.
    pub second: f64,
}

/// Windows that the losses on repeated sequences are the mean over.
pub(crate) const REPEATS: usize = 32;

impl RepeatLoss {
    /// Measures a model on the data's random sequences.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) where the model cannot take a window.
    pub fn measure(model: &Model, data: &Data) -> Result<RepeatLoss> {
        let losses = losses_by_position(model, &data.fixed_repeats(REPEATS))?;
        let second = second_saying(data);
        Ok(RepeatLoss { first: mean(&losses[..second]), second: mean(&losses[second..]) })
    }
}

/// Where the losses of the second saying begin in [`Data::fixed_repeats`].
pub(crate) fn second_saying(data: &Data) -> usize {
    // Behind a BOS the loss at position 0 is that of the sequence's first token.
    data.period() - usize::from(data.bos().is_none())
}

/// How much lower the loss is late in the context than early, in nats.
pub fn in_context_score(losses: &[f64]) -> f64 {
    let n_ctx = losses.len();
    let early = n_ctx / 20..(3 * n_ctx / 20).max(n_ctx / 20 + 1);
    let late = n_ctx - (n_ctx / 10).max(1)..n_ctx;
    mean(&losses[early]) - mean(&losses[late])
}

/// An evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Updates made.
    pub step: u64,
    /// Mean loss on windows of the training part, in nats.
    pub train_loss: f64,
    /// Mean loss on windows of the validation part, in nats.
    pub validation_loss: f64,
    /// Loss early less loss late in the validation windows, in nats.
    pub in_context_score: f64,
}
