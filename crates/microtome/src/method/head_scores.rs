//! Head scores: how much of each head's attention goes one token back, to the same token's earlier
//! occurrence, and to the token after it.
//!
//! Measured on BOS followed by a random sequence twice, so that nothing but position and repetition can
//! be attended to. With `period` the length of the sequence, the mean over queries that have the key:
//! previous-token `pattern[q, q - 1]`; duplicate-token `pattern[q, q - period]`; induction
//! `pattern[q, q - period + 1]`. Olsson et al. 2022.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use microtome_model::DType;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use serde::{Deserialize, Serialize};

use super::attention::patterns;
use super::sweep;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Watch};
use crate::record::{Basis, Quantity, Results, Table};
use crate::text_model::TextModel;

/// Scores of every head, asked as an experiment. It needs no prompt; the random tokens come from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HeadScoring {
    /// Tokens of a sequence before it is said again; 50, or as many as the context holds, where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<usize>,
    /// Sequences averaged over; 10 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequences: Option<usize>,
}

/// Scores of every head, `[layer][head]`, each a share of attention between 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadScores {
    /// Attention to the token before.
    pub previous: Vec<Vec<f64>>,
    /// Attention to the same token in the first half. Every query that has the key counts, so that with BOS
    /// the last query of the first half, which has BOS there, does too.
    pub duplicate: Vec<Vec<f64>>,
    /// Attention to the token after the same token in the first half.
    pub induction: Vec<Vec<f64>>,
}

/// Scores on `n_sequences` random sequences of `period` tokens, each repeated once, averaged.
///
/// # Errors
/// [`Error::OutOfRange`] for a period below 2 or no sequence; [`Error::Model`] where twice the period
/// passes the model's context.
pub fn head_scores(model: &TextModel, period: usize, n_sequences: usize, seed: u64) -> Result<HeadScores> {
    watched(model, period, n_sequences, seed, &mut |_| ControlFlow::Continue(()))
}

/// The same; `done` is told before each sequence how many are done, and may stop it.
fn watched(
    model: &TextModel,
    period: usize,
    n_sequences: usize,
    seed: u64,
    done: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<HeadScores> {
    let at_least = |name, value: usize, least: usize, expected| match value < least {
        true => Err(Error::OutOfRange { name, value: value as f64, expected }),
        false => Ok(()),
    };
    at_least("the period", period, 2, "2 tokens or more")?;
    at_least("the number of sequences", n_sequences, 1, "1 or more")?;
    let config = model.config();
    let len = period.saturating_mul(2).saturating_add(usize::from(model.bos().is_some()));
    if len > config.n_ctx {
        return Err(microtome_model::Error::PromptTooLong { len, n_ctx: config.n_ctx }.into());
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let zero = vec![vec![0.0; config.n_heads]; config.n_layers];
    let mut scores = HeadScores { previous: zero.clone(), duplicate: zero.clone(), induction: zero };
    for sequence in 0..n_sequences {
        if done(sequence).is_break() {
            return Err(Error::StoppedEarly);
        }
        let mut token = || ((u64::from(rng.next_u32()) * config.d_vocab as u64) >> 32) as u32;
        let sequence: Vec<u32> = (0..period).map(|_| token()).collect();
        let tokens: Vec<u32> = model.bos().into_iter().chain(sequence.repeat(2)).collect();
        let patterns = patterns(model, &tokens)?;
        for layer in 0..config.n_layers {
            let pattern = patterns.get(layer)?.to_dtype(DType::F64)?.to_vec3::<f64>()?; // [head, query, key]
            for (head, pattern) in pattern.iter().enumerate() {
                let share = 1.0 / n_sequences as f64;
                scores.previous[layer][head] += share * back(pattern, 1);
                scores.duplicate[layer][head] += share * back(pattern, period);
                scores.induction[layer][head] += share * back(pattern, period - 1);
            }
        }
    }
    Ok(scores)
}

impl HeadScoring {
    /// The metrics its tables are of.
    pub const METRICS: [&'static str; 3] = ["previous_token", "duplicate_token", "induction"];

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let unused = [
            (!experiment.prompts.is_empty(), "prompts: it runs random tokens"),
            (!experiment.metrics.is_empty(), "metrics"),
            (experiment.read_at.is_some(), "a position to read at"),
        ];
        Error::refuse_unused("head scores", &unused)?;
        let config = model.config();
        let longest = (config.n_ctx - usize::from(model.bos().is_some())) / 2;
        let period = self.period.unwrap_or(longest.min(50));
        let sequences = self.sequences.unwrap_or(10);
        let mut done = |count| {
            (watch.progress)(count, sequences);
            match watch.cancel.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let scores = watched(model, period, sequences, experiment.seed, &mut done)?;
        let axes = vec![sweep::layer_axis("L", 0..config.n_layers), sweep::head_axis(config.n_heads)];
        let table = |metric: &str, title: &str, scores: &[Vec<f64>]| Table {
            metric: metric.to_owned(),
            quantity: Quantity::Value,
            title: title.to_owned(),
            unit: "share of attention".to_owned(),
            baseline: "0 = none of a head's attention, 1 = all of it".to_owned(),
            basis: Basis::Exact,
            axes: axes.clone(),
            values: scores.iter().flatten().map(|&x| Some(x)).collect(),
            spread: vec![],
        };
        let [previous, duplicate, induction] = Self::METRICS;
        let after = "Attention to what followed the same token earlier on";
        Ok(Results {
            tables: vec![
                table(previous, "Attention to the previous token", &scores.previous),
                table(duplicate, "Attention to the same token earlier on", &scores.duplicate),
                table(induction, after, &scores.induction),
            ],
            notes: vec![format!(
                "mean over queries that have the key, on {sequences} sequences of {period} random tokens, each said \
                 twice; seed {}",
                experiment.seed
            )],
            runs: sequences,
            runs_wanted: sequences,
            ..Default::default()
        })
    }
}

/// The mean weight on the key `distance` before the query, over queries that have one.
fn back(pattern: &[Vec<f64>], distance: usize) -> f64 {
    let queries = distance..pattern.len();
    queries.clone().map(|q| pattern[q][q - distance]).sum::<f64>() / queries.len() as f64
}
