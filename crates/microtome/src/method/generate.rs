//! Generation, as it is and with components cut, or neurons held at a value, on every token.
//!
//! Both texts start from the same prompt and draw with the same seed, so they stay equal until that changes
//! a choice. Temperature 0 takes the most probable token; otherwise a token is drawn from the
//! 50 most probable, their logits divided by the temperature.

use std::sync::atomic::Ordering;

use microtome_model::{Edit, Lane, LaneOptions, RunOptions, Site};
use serde::{Deserialize, Serialize};

use super::ablate::cut_together;
use super::change::{Per, Replacement};
use super::clamp::{self, Clamp};
use super::feature_edit::FeatureEdits;
use super::sweep;
use super::writing::{Draw, TOP_K, Writing};
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Partial, TextStream, Watch};
use crate::measure::{KeepTop, Meter, Subject};
use crate::metric::MetricId;
use crate::record::{Results, TokenProb};
use crate::text_model::TextModel;

/// A generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    #[serde(default)]
    pub with: Replacement,
    /// Neurons held at a value while the second text is generated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clamp: Vec<Clamp>,
    /// Features changed while the second text is generated, each time as they are then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<FeatureEdits>,
}

/// Text generated from the first prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Generation {
    /// Without any change.
    pub control: Vec<GeneratedToken>,
    /// With components cut or neurons held; empty where none were.
    pub ablated: Vec<GeneratedToken>,
    /// Control as running text, prompt left out.
    pub control_text: String,
    /// Ablated as running text, prompt left out.
    pub ablated_text: String,
    /// How far the changed model is from the whole one; left out where nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// The changed model against the whole one, both run on the control text, prompt included, so
/// that they are compared token by token on the same input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Comparison {
    /// Tokens of that text.
    pub tokens: usize,
    /// KL(whole || changed) of the next-token distributions, nats, mean over all positions.
    pub kl_mean: f64,
    /// Perplexity of the text to the whole model.
    pub perplexity_control: f64,
    /// Perplexity of the same text to the changed model.
    pub perplexity_ablated: f64,
    /// `perplexity_ablated - perplexity_control`.
    pub perplexity_change: f64,
    /// Share of positions whose most probable next token differs.
    pub top1_changed: f64,
    /// L2 norm of the difference of the last residual stream (`resid_post` of the last layer), mean over all
    /// positions.
    pub l2_resid: f64,
}

/// A token of a generated text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
        Error::refuse_unused("generation", &unused)?;
        let cases = experiment.cases(model)?;
        let prompt = &cases[0].clean;
        let n_ctx = model.config().n_ctx;
        let max_len = prompt.ids.len().saturating_add(self.max_new_tokens).min(n_ctx);
        let new = max_len - prompt.ids.len();
        self.check_cut()?;
        let mut edits = cut_together(&self.cut, &self.with, experiment, model, &cases[0])?;
        edits.extend(clamp::edits_of(&self.clamp, &self.cut, model.config())?);
        if let Some(features) = &self.features {
            edits.push(features.in_generation(model, prompt)?);
        }
        let begin = |name, edits: &[Edit]| {
            let draw = Draw { temperature: self.temperature, seed: experiment.seed };
            Writing::begin(model, name, &prompt.ids, edits, draw, max_len)
        };
        let mut texts = vec![begin(TextStream::Control, &[])?];
        if !edits.is_empty() {
            texts.push(begin(TextStream::Ablated, &edits)?);
        }
        let total = new * texts.len();
        let mut tell = |stream, index, token: &GeneratedToken| {
            if let Some(partial) = &mut watch.partial {
                partial(Partial::Token { stream, index, token: token.clone() });
            }
        };
        for text in &texts {
            text.tokens().iter().enumerate().for_each(|(index, token)| tell(text.name, index, token));
        }
        // Turn by turn, so that both can be read as they grow.
        let mut done = 0;
        'all: for index in prompt.ids.len()..max_len {
            for text in &mut texts {
                tell(text.name, index, text.next()?);
                done += 1;
                (watch.progress)(done, total);
                if watch.cancel.load(Ordering::Relaxed) {
                    break 'all;
                }
            }
        }
        let mut texts = texts.into_iter().map(Writing::into_tokens);
        let control = texts.next().unwrap_or_default();
        let ablated = texts.next().unwrap_or_default();
        let comparison = match edits.is_empty() {
            true => None,
            false => {
                let options = LaneOptions { memory_budget: watch.memory_budget, cancel: None };
                let ids = control.iter().map(|token| token.id).collect();
                Some(compare(model, ids, &edits, &options)?)
            }
        };
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
        if !self.clamp.is_empty() {
            let held: Vec<String> = self.clamp.iter().map(Clamp::to_string).collect();
            notes.push(format!("held on every token: {}", held.join(", ")));
        }
        if let Some(features) = &self.features {
            notes.extend(features.notes(model.sae(&features.sae)?));
        }
        let runs = added(&control).len() + added(&ablated).len();
        let generation = Generation {
            control_text: model.text(&added(&control)),
            ablated_text: model.text(&added(&ablated)),
            control,
            ablated,
            comparison,
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

    /// Values by position exist for the prompt only; new tokens have none.
    fn check_cut(&self) -> Result<()> {
        let by_position = matches!(self.with, Replacement::Mean { per: Per::Position, .. });
        match by_position || matches!(self.with, Replacement::Resample { .. }) {
            false => Ok(()),
            true => Err(Error::Missing {
                what: "a value for tokens that are yet to come",
                hint: "while text is generated cut with zero, an overall mean, or a pattern",
            }),
        }
    }
}

/// Both models on one text.
///
/// # Errors
/// [`Error::MissingTokens`] for a text of one token, which predicts nothing.
fn compare(model: &TextModel, ids: Vec<u32>, edits: &[Edit], options: &LaneOptions) -> Result<Comparison> {
    if ids.len() < 2 {
        let (what, example) =
            ("a text of two tokens or more to compare on", "a longer prompt, or tokens to add");
        return Err(Error::MissingTokens { metric: "perplexity", what, example });
    }
    let metrics =
        ["kl_mean", "perplexity", "top1_changed"].map(MetricId::named).into_iter().collect::<Result<_>>()?;
    let meter = Meter { metrics, read_at: None };
    let last = Site::ResidPost.at(model.config().n_layers - 1);
    let resid = |edits: Vec<Edit>| -> Result<microtome_model::Tensor> {
        let logits = microtome_model::Positions::Last;
        let run = model
            .model()
            .run(&ids, &RunOptions { edits, reads: vec![last], logits, ..Default::default() })?;
        Ok(microtome_model::as_f64(run.cache.get(last)?)?) // [pos, d_model]
    };
    let apart = (resid(vec![])? - resid(edits.to_vec())?)?;
    let l2_resid = apart.sqr()?.sum(1)?.sqrt()?.mean_all()?.to_scalar::<f64>()?;
    let tokens = ids.len();
    let subject = Subject { tokens: ids, answers: vec![], wrong: vec![], clamp: None };
    let lane = Lane { prompt: 0, edits: edits.to_vec() };
    let run = meter.run(model.model(), &[subject], &[lane], KeepTop::OfBases, options, &mut |_, _| {})?;
    let (Some(Some(whole)), Some(Some(cut))) = (run.0.bases.first(), run.0.lanes.first()) else {
        return Err(Error::StoppedEarly);
    };
    Ok(Comparison {
        tokens,
        kl_mean: cut.values[0],
        perplexity_control: whole.values[1],
        perplexity_ablated: cut.values[1],
        perplexity_change: cut.values[1] - whole.values[1],
        top1_changed: cut.values[2],
        l2_resid,
    })
}
