//! A check of weight processing on the model at hand.

use microtome_model::{Processing, RunOptions, with_rows};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::metric::log_sum_exp;
use crate::text_model::TextModel;

/// How far folded and raw weights are apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ProcessingCheck {
    /// The largest difference of any next-token probability.
    pub largest_difference: f64,
    /// Over how many tokens of input.
    pub n_tokens: usize,
    /// Whether it is no more than rounding.
    pub agrees: bool,
}

/// Rounding of f32 through the deepest models loaded here; a processing step done wrong is off by
/// tenths.
const ROUNDING: f64 = 2e-4;

/// Compares the next-token probabilities of one model with raw and with folded weights, on a fixed
/// pseudo-random sequence of tokens.
///
/// # Errors
/// [`Error::Missing`] where the two are not raw and folded; what a run refuses.
pub fn check_processing(raw: &TextModel, folded: &TextModel) -> Result<ProcessingCheck> {
    let kinds = (raw.model().processing(), folded.model().processing());
    if kinds != (Processing::Raw, Processing::Folded) {
        let hint = "give the same model once with each";
        return Err(Error::Missing { what: "a raw and a folded model", hint });
    }
    let config = raw.config();
    let n_tokens = config.n_ctx.min(32);
    // A multiplicative sequence: spread over the vocabulary, the same on every machine.
    let token = |i: usize| ((i as u64 * 2_654_435_761 + 12_345) % config.d_vocab as u64) as u32;
    let tokens: Vec<u32> = (0..n_tokens).map(token).collect();
    let probs = |model: &TextModel| -> Result<Vec<f64>> {
        let run = model.model().run(&tokens, &RunOptions::default())?;
        Ok(with_rows(run.logits()?, |rows| {
            rows.chunks(config.d_vocab)
                .flat_map(|row| {
                    let log_z = log_sum_exp(row);
                    row.iter().map(move |&x| (f64::from(x) - log_z).exp())
                })
                .collect()
        })?)
    };
    let (a, b) = (probs(raw)?, probs(folded)?);
    let largest_difference = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let finite = a.iter().chain(&b).all(|p| p.is_finite());
    Ok(ProcessingCheck { largest_difference, n_tokens, agrees: finite && largest_difference < ROUNDING })
}
