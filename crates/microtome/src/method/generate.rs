//! Generation, as it is and with components cut on every token.
//!
//! Both texts start from the same prompt and draw with the same seed, so they stay equal until the cut
//! changes a choice. Temperature 0 takes the most probable token; otherwise a token is drawn from the
//! 50 most probable, their logits divided by the temperature.

use std::sync::atomic::Ordering;

use microtome_model::{Edit, Stream, with_rows};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

use super::ablate::{edit_of, hook_of};
use super::change::{Per, Replacement, Sources};
use super::sweep;
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Watch};
use crate::metric::{log_sum_exp, most_probable};
use crate::record::{Results, TokenProb};
use crate::text_model::TextModel;

/// A generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// How many tokens to add at most; the context may end sooner.
    pub max_new_tokens: usize,
    /// 0 for the most probable token each time.
    #[serde(default)]
    pub temperature: f64,
    /// Components cut while the second text is generated; none for one text only.
    #[serde(default)]
    pub cut: Vec<Component>,
    /// What takes their place.
    #[serde(default = "zero")]
    pub with: Replacement,
}

fn zero() -> Replacement {
    Replacement::Zero
}

/// Text generated from the first prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Without any change.
    pub control: Vec<GeneratedToken>,
    /// With the components cut; empty where none were.
    pub ablated: Vec<GeneratedToken>,
    /// Control as running text, prompt left out.
    pub control_text: String,
    /// Ablated as running text, prompt left out.
    pub ablated_text: String,
}

/// A token of a generated text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GeneratedToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub token: String,
    /// Its probability where it was predicted, before temperature; 1 for the first token.
    pub prob: f64,
    /// Whether it belongs to the prompt.
    pub is_prompt: bool,
    /// The five most probable tokens where it was predicted.
    pub top: Vec<TokenProb>,
}

/// Tokens that may be drawn.
const TOP_K: usize = 50;
/// Tokens listed beside the one drawn.
const LISTED: usize = 5;

impl Generate {
    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            let (value, expected) = (self.temperature, "0 (greedy) or more, for example 1");
            return Err(Error::OutOfRange { name: "the temperature", value, expected });
        }
        let unused = [
            (experiment.prompts.len() > 1, "more than one prompt"),
            (!experiment.metrics.is_empty(), "metrics"),
            (experiment.read_at.is_some(), "a position to read at"),
        ];
        if let Some((_, what)) = unused.into_iter().find(|(said, _)| *said) {
            return Err(Error::Unused { method: "generation", what });
        }
        let cases = experiment.cases(model)?;
        let prompt = &cases[0].clean;
        let n_ctx = model.config().n_ctx;
        let max_len = (prompt.ids.len() + self.max_new_tokens).min(n_ctx);
        let new = max_len - prompt.ids.len();
        let edits = self.edits(experiment, model)?;
        let texts = if edits.is_empty() { 1 } else { 2 };
        let total = new * texts;
        let mut done = 0;
        let mut write = |edits: &[Edit]| -> Result<Vec<GeneratedToken>> {
            let step = &mut || {
                done += 1;
                (watch.progress)(done, total);
                !watch.cancel.load(Ordering::Relaxed)
            };
            self.text(experiment, model, &prompt.ids, edits, max_len, step)
        };
        let control = write(&[])?;
        let ablated = if edits.is_empty() { vec![] } else { write(&edits)? };
        let added = |tokens: &[GeneratedToken]| -> Vec<u32> {
            tokens.iter().filter(|token| !token.is_prompt).map(|token| token.id).collect()
        };
        let mut notes = vec![match self.temperature {
            0.0 => "greedy: the most probable token each time".to_owned(),
            t => format!(
                "drawn from the {TOP_K} most probable tokens at temperature {t}, seed {}",
                experiment.seed
            ),
        }];
        if max_len == n_ctx && new < self.max_new_tokens {
            notes.push(format!("stopped at the end of the context, {n_ctx} tokens"));
        }
        if !self.cut.is_empty() {
            let names: Vec<String> = self.cut.iter().map(Component::to_string).collect();
            let how = self.with.describe(experiment);
            notes.push(format!("cut on every token: {}; {how}", names.join(", ")));
        }
        let runs = added(&control).len() + added(&ablated).len();
        let generation = Generation {
            control_text: model.text(&added(&control)),
            ablated_text: model.text(&added(&ablated)),
            control,
            ablated,
        };
        let prompts = vec![sweep::report(model, &cases[0], None, &[], &[])];
        Ok(Results {
            prompts,
            generation: Some(generation),
            notes,
            runs,
            runs_wanted: total,
            ..Default::default()
        })
    }

    fn edits(&self, experiment: &Experiment, model: &TextModel) -> Result<Vec<Edit>> {
        // Values by position exist for the prompt only; new tokens have none.
        let by_position = matches!(self.with, Replacement::Mean { per: Per::Position, .. });
        if by_position || matches!(self.with, Replacement::Resample { .. }) {
            return Err(Error::Missing {
                what: "a value for tokens that are yet to come",
                hint: "while text is generated cut with zero, an overall mean, or a pattern",
            });
        }
        self.cut.iter().try_for_each(|part| part.check(model.config()))?;
        let hooks = self.cut.iter().map(|part| hook_of(*part, &self.with)).collect::<Result<Vec<_>>>()?;
        let sources = Sources::shared(&self.with, experiment, model, &hooks)?;
        let edit = |(part, hook)| edit_of(part, hook, &sources, &self.with, experiment.seed);
        Ok(self.cut.iter().copied().zip(hooks).map(edit).collect())
    }

    fn text(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        prompt: &[u32],
        edits: &[Edit],
        max_len: usize,
        step: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<GeneratedToken>> {
        let mut rng = ChaCha8Rng::seed_from_u64(experiment.seed);
        let mut stream = Stream::new(model.model(), edits, max_len)?;
        let token = |id: u32, is_prompt: bool, row: Option<&[f32]>| -> GeneratedToken {
            let listed = row.map_or(vec![], |row| most_probable(row, LISTED));
            let log_z = row.map(log_sum_exp);
            let prob = |id: u32| match (row, log_z) {
                (Some(row), Some(log_z)) => (f64::from(row[id as usize]) - log_z).exp(),
                _ => 1.0,
            };
            let token_prob = |id: u32| TokenProb { id, token: model.label(id), prob: prob(id) };
            let top = listed.into_iter().map(token_prob).collect();
            GeneratedToken { id, token: model.label(id), prob: prob(id), is_prompt, top }
        };
        let logits = stream.feed(prompt)?;
        let d_vocab = model.config().d_vocab;
        let mut out = vec![token(prompt[0], true, None)];
        let mut last = with_rows(&logits, |rows| {
            for (row, &id) in rows.chunks(d_vocab).zip(&prompt[1..]) {
                out.push(token(id, true, Some(row)));
            }
            rows[rows.len() - d_vocab..].to_vec()
        })?;
        while out.len() < max_len {
            if !log_sum_exp(&last).is_finite() {
                return Err(Error::NotFinite { what: format!("token {}", out.len()) });
            }
            let id = self.draw(&last, &mut rng);
            out.push(token(id, false, Some(&last)));
            if !step() || out.len() == max_len {
                break;
            }
            last = with_rows(&stream.feed(&[id])?, <[f32]>::to_vec)?;
        }
        Ok(out)
    }

    fn draw(&self, row: &[f32], rng: &mut ChaCha8Rng) -> u32 {
        let choices = most_probable(row, if self.temperature == 0.0 { 1 } else { TOP_K });
        let best = f64::from(row[choices[0] as usize]);
        let weight = |&id: &u32| {
            ((f64::from(row[id as usize]) - best) / self.temperature.max(f64::MIN_POSITIVE)).exp()
        };
        let weights: Vec<f64> = choices.iter().map(weight).collect();
        // 53 random bits: uniform in [0, 1).
        let mut left = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * weights.iter().sum::<f64>();
        for (&id, weight) in choices.iter().zip(weights) {
            left -= weight;
            if left < 0.0 {
                return id;
            }
        }
        choices[0]
    }
}
