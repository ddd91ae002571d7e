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
use crate::evaluate::RepeatLoss;

/// Sequences that head scores are the mean over.
const SEQUENCES: usize = 8;

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
        let HeadScores { previous, duplicate, induction } = scores(&text_model, SEQUENCES, seed)?;
        let RepeatLoss { first, second } = RepeatLoss::measure(model, data)?;
        Ok(Telemetry {
            step,
            in_context_score,
            first_loss: first,
            second_loss: second,
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

/// The scores of every head on random sequences that fill half a context and come twice, mean over so many.
///
/// # Errors
/// [`Error::Setting`] for a context too short for them; [`Error::Model`], [`Error::Measure`].
pub(crate) fn scores(model: &TextModel, sequences: usize, seed: u64) -> Result<HeadScores> {
    let n_ctx = model.config().n_ctx;
    check(n_ctx)?;
    let period = (n_ctx - usize::from(model.bos().is_some())) / 2;
    Ok(head_scores(model, period, sequences, seed)?)
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
