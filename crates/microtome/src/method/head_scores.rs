//! Head scores: how much of each head's attention goes one token back, to the same token's earlier
//! occurrence, and to the token after it.
//!
//! Measured on BOS followed by a random sequence twice, so that nothing but position and repetition can
//! be attended to. With `period` the length of the sequence, the mean over queries that have the key:
//! previous-token `pattern[q, q - 1]`; duplicate-token `pattern[q, q - period]`; induction
//! `pattern[q, q - period + 1]`. Olsson et al. 2022.

use microtome_model::{DType, RunOptions, Site};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::error::{Error, Result};
use crate::text_model::TextModel;

/// Scores of every head, `[layer][head]`, each a share of attention between 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadScores {
    /// Attention to the token before.
    pub previous: Vec<Vec<f64>>,
    /// Attention to the same token in the first half.
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
    let at_least = |name, value: usize, least: usize, expected| match value < least {
        true => Err(Error::OutOfRange { name, value: value as f64, expected }),
        false => Ok(()),
    };
    at_least("the period", period, 2, "2 tokens or more")?;
    at_least("the number of sequences", n_sequences, 1, "1 or more")?;
    let config = model.config();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let zero = vec![vec![0.0; config.n_heads]; config.n_layers];
    let mut scores = HeadScores { previous: zero.clone(), duplicate: zero.clone(), induction: zero };
    let reads: Vec<_> = (0..config.n_layers).map(|layer| Site::Pattern.at(layer)).collect();
    for _ in 0..n_sequences {
        let mut token = || ((u64::from(rng.next_u32()) * config.d_vocab as u64) >> 32) as u32;
        let sequence: Vec<u32> = (0..period).map(|_| token()).collect();
        let tokens: Vec<u32> = model.bos().into_iter().chain(sequence.repeat(2)).collect();
        let logits = microtome_model::Positions::Last;
        let options = RunOptions { reads: reads.clone(), logits, ..Default::default() };
        let run = model.model().run(&tokens, &options)?;
        for (layer, hook) in reads.iter().enumerate() {
            let pattern = run.cache.get(*hook)?.to_dtype(DType::F64)?.to_vec3::<f64>()?; // [head, query, key]
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

/// The mean weight on the key `distance` before the query, over queries that have one.
fn back(pattern: &[Vec<f64>], distance: usize) -> f64 {
    let queries = distance..pattern.len();
    queries.clone().map(|q| pattern[q][q - distance]).sum::<f64>() / queries.len() as f64
}
