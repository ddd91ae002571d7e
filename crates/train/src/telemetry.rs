//! What forms while a model learns: scores of every head, and what it makes of its context.
//!
//! Head scores are those of [`microtome::method::head_scores`], on random sequences of half a context, said
//! twice. On windows of such sequences the loss is also taken over the first and over the second saying: a
//! model with induction heads knows the second. In-context score: [`in_context_score`].
//!
//! [`in_context_score`]: crate::in_context_score

use microtome::TextModel;
use microtome::method::head_scores::{HeadScores, head_scores};
use microtome_model::{Model, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::data::Data;
use crate::error::{Error, Result};
use crate::evaluate::{losses_by_position, mean};

/// Sequences that head scores are the mean over.
const SEQUENCES: usize = 8;

/// Windows that the losses on repeated sequences are the mean over.
pub(crate) const WINDOWS: usize = 32;

/// Smallest context in which two tokens can be repeated behind a BOS.
const LEAST_CONTEXT: usize = 5;

/// A line of `telemetry.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Updates made.
    pub step: u64,
    /// Loss early less loss late in the validation windows, in nats.
    pub in_context_score: f64,
    /// Mean loss on a random sequence said for the first time, in nats.
    pub first_loss: f64,
    /// Mean loss on it said again, in nats.
    pub second_loss: f64,
    /// Attention of every head to the token before, `[layer][head]`.
    pub previous: Vec<Vec<f64>>,
    /// Attention to the same token's earlier occurrence.
    pub duplicate: Vec<Vec<f64>>,
    /// Attention to the token after that.
    pub induction: Vec<Vec<f64>>,
}

impl Telemetry {
    /// Measures a model after `step` updates.
    ///
    /// # Errors
    /// [`Error::Model`], [`Error::Measure`].
    pub fn measure(
        model: &Model,
        tokenizer: Option<&Tokenizer>,
        data: &Data,
        seed: u64,
        step: u64,
        in_context_score: f64,
    ) -> Result<Telemetry> {
        let text_model = TextModel::from_model("training", model.clone())?;
        let text_model = match tokenizer {
            Some(tokenizer) => text_model.with_tokenizer(tokenizer.clone()),
            None => text_model,
        };
        let period = (model.config().n_ctx - usize::from(text_model.bos().is_some())) / 2;
        let HeadScores { previous, duplicate, induction } =
            head_scores(&text_model, period, SEQUENCES, seed)?;
        let losses = losses_by_position(model, &data.fixed_repeats(WINDOWS))?;
        let second = second_saying(data);
        Ok(Telemetry {
            step,
            in_context_score,
            first_loss: mean(&losses[..second]),
            second_loss: mean(&losses[second..]),
            previous,
            duplicate,
            induction,
        })
    }

    /// The head with the highest induction score, and that score.
    pub fn best_induction(&self) -> Option<(usize, usize, f64)> {
        let heads = self.induction.iter().enumerate();
        let scores = heads.flat_map(|(layer, row)| row.iter().enumerate().map(move |(h, &s)| (layer, h, s)));
        scores.max_by(|a, b| a.2.total_cmp(&b.2))
    }
}

/// Where the losses of the second saying begin in [`Data::fixed_repeats`].
pub(crate) fn second_saying(data: &Data) -> usize {
    // Behind a BOS the loss at position 0 is that of the sequence's first token.
    data.period() - usize::from(data.bos().is_none())
}

/// Whether a context is long enough for head scores.
///
/// # Errors
/// [`Error::Setting`].
pub(crate) fn check(n_ctx: usize) -> Result<()> {
    if n_ctx >= LEAST_CONTEXT {
        return Ok(());
    }
    let expected = format!("{LEAST_CONTEXT} or more, or `evaluation.telemetry = false`");
    Err(Error::setting("model.n_ctx", n_ctx, expected))
}
