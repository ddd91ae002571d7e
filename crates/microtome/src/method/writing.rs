//! A text under way: its tokens so far, and how the next one is chosen.

use microtome_model::{Edit, Stream, with_rows};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::generate::GeneratedToken;
use crate::error::{Error, Result};
use crate::experiment::TextStream;
use crate::metric::{log_sum_exp, most_probable};
use crate::record::TokenProb;
use crate::text_model::TextModel;

/// Tokens that may be drawn.
pub(crate) const TOP_K: usize = 50;
/// Tokens listed beside the one drawn.
const LISTED: usize = 5;

/// How tokens are chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    /// 0 for the most probable token each time.
    pub temperature: f64,
    pub seed: u64,
}

/// A text under way.
pub(crate) struct Writing<'m> {
    pub name: TextStream,
    model: &'m TextModel,
    stream: Stream<'m>,
    temperature: f64,
    rng: ChaCha8Rng,
    tokens: Vec<GeneratedToken>,
    /// Logits after the last token fed.
    last: Vec<f32>,
    /// The last token, where it is not fed yet.
    unfed: Option<u32>,
}

impl<'m> Writing<'m> {
    /// The prompt, read with these edits.
    pub fn begin(
        model: &'m TextModel,
        name: TextStream,
        prompt: &[u32],
        edits: &[Edit],
        draw: Draw,
        max_len: usize,
    ) -> Result<Writing<'m>> {
        let mut stream = Stream::new(model.model(), edits, max_len)?;
        let logits = stream.feed(prompt)?;
        let d_vocab = model.config().d_vocab;
        let mut tokens = vec![token(model, prompt[0], true, None)];
        let last = with_rows(&logits, |rows| {
            for (row, &id) in rows.chunks(d_vocab).zip(&prompt[1..]) {
                tokens.push(token(model, id, true, Some(row)));
            }
            rows[rows.len() - d_vocab..].to_vec()
        })?;
        let rng = ChaCha8Rng::seed_from_u64(draw.seed);
        Ok(Writing { name, model, stream, temperature: draw.temperature, rng, tokens, last, unfed: None })
    }

    /// The tokens so far, the prompt's first.
    pub fn tokens(&self) -> &[GeneratedToken] {
        &self.tokens
    }

    /// The same, when nothing more is to come.
    pub fn into_tokens(self) -> Vec<GeneratedToken> {
        self.tokens
    }

    /// Adds a token.
    ///
    /// # Errors
    /// [`Error::NotFinite`] where the model gives NaN or infinity.
    pub fn next(&mut self) -> Result<&GeneratedToken> {
        if let Some(id) = self.unfed.take() {
            self.last = with_rows(&self.stream.feed(&[id])?, <[f32]>::to_vec)?;
        }
        if !log_sum_exp(&self.last).is_finite() {
            return Err(Error::NotFinite { what: format!("token {}", self.tokens.len()) });
        }
        let id = self.draw();
        self.unfed = Some(id);
        self.tokens.push(token(self.model, id, false, Some(&self.last)));
        Ok(&self.tokens[self.tokens.len() - 1])
    }

    fn draw(&mut self) -> u32 {
        let choices = most_probable(&self.last, if self.temperature == 0.0 { 1 } else { TOP_K });
        let best = f64::from(self.last[choices[0] as usize]);
        let weight = |&id: &u32| {
            ((f64::from(self.last[id as usize]) - best) / self.temperature.max(f64::MIN_POSITIVE)).exp()
        };
        let weights: Vec<f64> = choices.iter().map(weight).collect();
        // 53 random bits: uniform in [0, 1).
        let mut left = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * weights.iter().sum::<f64>();
        for (&id, weight) in choices.iter().zip(weights) {
            left -= weight;
            if left < 0.0 {
                return id;
            }
        }
        choices[0]
    }
}

/// A token with what was probable where it was predicted, `row` its logits.
fn token(model: &TextModel, id: u32, is_prompt: bool, row: Option<&[f32]>) -> GeneratedToken {
    let listed = row.map_or(vec![], |row| most_probable(row, LISTED));
    let log_z = row.map(log_sum_exp);
    let prob = |id: u32| match (row, log_z) {
        (Some(row), Some(log_z)) => (f64::from(row[id as usize]) - log_z).exp(),
        _ => 1.0,
    };
    let token_prob = |id: u32| TokenProb { id, token: model.label(id), prob: prob(id) };
    let top = listed.into_iter().map(token_prob).collect();
    GeneratedToken { id, token: model.label(id), prob: prob(id), is_prompt, top }
}
