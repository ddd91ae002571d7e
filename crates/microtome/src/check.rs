//! Checks of how weights were prepared, on the model at hand.

use microtome_model::{Precision, Processing, RunOptions, with_rows};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::metric::{MetricId, Row, log_sum_exp, most_probable};
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
    let tokens = tokens(raw);
    let (a, b) = (Distributions::of(raw, &tokens)?, Distributions::of(folded, &tokens)?);
    let largest_difference = a.largest_difference(&b);
    let finite = a.logits.iter().chain(&b.logits).all(|x| x.is_finite());
    let agrees = finite && largest_difference < ROUNDING;
    Ok(ProcessingCheck { largest_difference, n_tokens: tokens.len(), agrees })
}

/// What rounding the weights to bf16 does to a model's predictions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PrecisionCheck {
    /// The largest difference of any logit.
    pub largest_logit_difference: f64,
    /// The largest difference of any next-token probability.
    pub largest_difference: f64,
    /// `KL(f32 || bf16)` of the next token in nats: the mean over positions.
    pub mean_kl_nats: f64,
    /// The same, the largest of any position.
    pub largest_kl_nats: f64,
    /// Positions at which another token is the most probable.
    pub top1_changed: usize,
    /// Over how many tokens of input.
    pub n_tokens: usize,
}

/// Compares the predictions of one model with f32 and with bf16 weights, on the same tokens as
/// [`check_processing`] does.
///
/// # Errors
/// [`Error::Missing`] where the two are not f32 and bf16 of one processing; what a run refuses.
pub fn check_precision(f32: &TextModel, bf16: &TextModel) -> Result<PrecisionCheck> {
    let kinds = (f32.model().precision(), bf16.model().precision());
    let same_processing = f32.model().processing() == bf16.model().processing();
    if kinds != (Precision::F32, Precision::Bf16) || !same_processing {
        let hint = "give the same model once with each, both folded or both raw";
        return Err(Error::Missing { what: "an f32 and a bf16 model", hint });
    }
    let tokens = tokens(f32);
    let (a, b) = (Distributions::of(f32, &tokens)?, Distributions::of(bf16, &tokens)?);
    let apart = a.logits.iter().zip(&b.logits).map(|(a, b)| f64::from((a - b).abs()));
    let metric = MetricId::named("kl")?;
    let of_row = |(original, logits): (&[f32], &[f32])| {
        let (log_z, original_log_z) = (log_sum_exp(logits), log_sum_exp(original));
        metric.row(&Row { logits, log_z, original, original_log_z, answers: &[], wrong: &[], next: None })
    };
    let kl: Vec<f64> = a.rows().zip(b.rows()).map(of_row).collect();
    let top1_changed = a.rows().zip(b.rows()).filter(|(a, b)| most_probable(a, 1) != most_probable(b, 1));
    Ok(PrecisionCheck {
        largest_logit_difference: apart.fold(0.0, f64::max),
        largest_difference: a.largest_difference(&b),
        mean_kl_nats: kl.iter().sum::<f64>() / kl.len() as f64,
        largest_kl_nats: kl.iter().copied().fold(0.0, f64::max),
        top1_changed: top1_changed.count(),
        n_tokens: tokens.len(),
    })
}

/// A multiplicative sequence: spread over the vocabulary, the same on every machine.
fn tokens(model: &TextModel) -> Vec<u32> {
    let config = model.config();
    let token = |i: usize| ((i as u64 * 2_654_435_761 + 12_345) % config.d_vocab as u64) as u32;
    (0..config.n_ctx.min(32)).map(token).collect()
}

/// The logits of a run at every position.
struct Distributions {
    /// `[pos, d_vocab]`
    logits: Vec<f32>,
    d_vocab: usize,
}

impl Distributions {
    fn of(model: &TextModel, tokens: &[u32]) -> Result<Distributions> {
        let run = model.model().run(tokens, &RunOptions::default())?;
        let logits = with_rows(run.logits()?, <[f32]>::to_vec)?;
        Ok(Distributions { logits, d_vocab: model.config().d_vocab })
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.logits.chunks_exact(self.d_vocab)
    }

    /// The largest difference of any probability.
    fn largest_difference(&self, other: &Distributions) -> f64 {
        let of_row = |(a, b): (&[f32], &[f32])| {
            let (z_a, z_b) = (log_sum_exp(a), log_sum_exp(b));
            let probs =
                a.iter().zip(b).map(|(a, b)| ((f64::from(*a) - z_a).exp(), (f64::from(*b) - z_b).exp()));
            probs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        self.rows().zip(other.rows()).map(of_row).fold(0.0, f64::max)
    }
}
