//! Steering: a direction is added to the residual stream on every token, and what follows is measured and written.
//!
//! The direction is the difference of mean activations of two sets of texts at the layer's `resid_pre` (Turner et al. 2023,
//! "Activation Addition"; Rimsky et al. 2023, contrastive activation addition), what a neuron or a feature of a
//! sparse autoencoder writes, or numbers of one's own. For every strength `s` the stream becomes `x + s v` at every position, of the prompt and of the text that follows.
//! Metrics are read on the prompts, all strengths as lanes; texts go on from the first prompt. Beside each text stands its
//! perplexity to the model as it is: steered too far, text falls apart.

use std::sync::atomic::Ordering;

use microtome_model::{
    Change, Config, Device, Edit, Hook, LaneOptions, Positions, RunOptions, Site, Tensor, Value, as_f64,
};
use serde::{Deserialize, Serialize};

use super::feature_profile;
use super::generate::GeneratedToken;
use super::promoted_tokens::neuron_output;
use super::sweep::{self, Captions, Cells, Swept};
use super::writing::{Draw, Writing};
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Partial, TextStream, Watch};
use crate::measure::{KeepTop, Meter, Subject};
use crate::metric::MetricId;
use crate::record::{Axis, Results};
use crate::sae::SaeChoice;
use crate::text_model::{Text, TextModel};

/// A direction added while prompts are read and text is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Steering {
    /// Where the direction comes from.
    pub along: SteeringDirection,
    /// The layer whose `resid_pre` it is added to.
    pub layer: usize,
    /// How much of it is added, one text for each number.
    pub strengths: Vec<f64>,
    /// Whether the direction is first brought to length 1.
    #[serde(default)]
    pub length: DirectionLength,
    /// How many tokens to add at most; 0 for the numbers alone.
    #[serde(default)]
    pub max_new_tokens: usize,
    /// 0 for the most probable token each time.
    #[serde(default)]
    pub temperature: f64,
}

/// Where a direction comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SteeringDirection {
    /// The mean activation of some texts less that of others.
    Difference {
        /// The texts it leads to.
        towards: Vec<Text>,
        /// The texts it leads away from.
        away: Vec<Text>,
        /// Which positions of each text count.
        #[serde(default)]
        over: Over,
    },
    /// What a neuron writes when it is 1.
    Neuron(Component),
    /// What a feature of a sparse autoencoder adds to the stream when it is 1.
    Feature {
        /// The autoencoder.
        sae: SaeChoice,
        /// Which feature.
        feature: usize,
    },
    /// Numbers, as many as the model is wide.
    Vector(Vec<f64>),
}

/// Which positions of a text count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// The last.
    #[default]
    Last,
    /// All, BOS left out; every position of every text counts the same.
    All,
}

/// How long a direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DirectionLength {
    /// As it is.
    #[default]
    AsIs,
    /// 1.
    One,
}

/// A text written with a direction added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SteeredText {
    /// How much of the direction was added; 0 = the model as it is.
    pub strength: f64,
    /// The text, prompt left out.
    pub text: String,
    /// Its tokens, the prompt's first.
    pub tokens: Vec<GeneratedToken>,
    /// Perplexity of prompt and text to the model as it is.
    pub perplexity: f64,
}

/// Most strengths.
const MOST: usize = 64;

impl Steering {
    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        self.check(model.config())?;
        let (direction, length) = self.direction(experiment, model)?;
        let cases = experiment.cases(model)?;
        let edits = |strength: f64| -> Result<Vec<Edit>> {
            if strength == 0.0 {
                return Ok(vec![]);
            }
            let added: Vec<f32> = direction.iter().map(|x| (x * strength) as f32).collect();
            let value = Tensor::from_vec(added, direction.len(), &Device::Cpu)?;
            Ok(vec![Edit::new(self.hook(), Change::Add(Value::Tensor(value)))])
        };
        let axis =
            Axis { name: "strength".to_owned(), labels: self.strengths.iter().map(f64::to_string).collect() };
        let captions =
            Captions { axes: vec![axis], done: "by how much of the direction is added".to_owned() };
        let tables = |swept: &Swept| sweep::change_tables(swept, &captions, experiment.seed);
        let swept = sweep::run(experiment, model, watch, self.strengths.len(), &tables, |prompt| {
            let case = &cases[prompt];
            let edits = self.strengths.iter().map(|&strength| edits(strength)).collect::<Result<_>>()?;
            Ok(Cells::of(case.subject(&case.clean), edits))
        })?;
        let prompts = swept
            .bases
            .iter()
            .zip(&cases)
            .map(|(base, case)| sweep::report(model, case, None, &swept.metrics, &[("clean", Some(base))]))
            .collect();
        let mut steered = Vec::new();
        if self.max_new_tokens > 0 && swept.runs == swept.runs_wanted {
            let draw = Draw { temperature: self.temperature, seed: experiment.seed };
            let mut strengths = self.strengths.clone();
            if !strengths.contains(&0.0) {
                strengths.insert(0, 0.0);
            }
            for strength in strengths {
                let prompt = &cases[0].clean.ids;
                let Some(text) = self.text(model, prompt, strength, &edits(strength)?, draw, watch)? else {
                    break;
                };
                steered.push(text);
            }
        }
        let mut notes = vec![self.done(length)];
        if self.max_new_tokens > 0 {
            let how = match self.temperature {
                0.0 => "the most probable token each time".to_owned(),
                t => format!("drawn at temperature {t}, seed {}", experiment.seed),
            };
            notes.push(format!(
                "texts go on from the first prompt, {how}; perplexity is to the model as it is"
            ));
        }
        let runs_wanted = swept.runs_wanted;
        let unfinished = self.max_new_tokens > 0 && watch.cancel.load(Ordering::Relaxed);
        let results = swept.results(experiment, prompts, tables(&swept), notes);
        let runs = if unfinished { results.runs.min(runs_wanted.saturating_sub(1)) } else { results.runs };
        Ok(Results { steered, runs, ..results })
    }

    /// The autoencoder it needs.
    pub(crate) fn sae(&self) -> Option<&SaeChoice> {
        match &self.along {
            SteeringDirection::Feature { sae, .. } => Some(sae),
            _ => None,
        }
    }

    fn check(&self, config: &Config) -> Result<()> {
        self.hook().check(config)?;
        let out_of = |name, value, expected| Err(Error::OutOfRange { name, value, expected });
        if self.strengths.is_empty() {
            return Err(Error::Missing {
                what: "a strength",
                hint: "give at least one number, for example 4",
            });
        }
        if self.strengths.len() > MOST {
            return out_of("the number of strengths", self.strengths.len() as f64, "at most 64");
        }
        if let Some(&strength) = self.strengths.iter().find(|strength| !strength.is_finite()) {
            return out_of("a strength", strength, "a finite number");
        }
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return out_of("the temperature", self.temperature, "0 (greedy) or more, for example 1");
        }
        Ok(())
    }

    fn hook(&self) -> Hook {
        Site::ResidPre.at(self.layer)
    }

    /// The direction, and its length before it was brought to 1.
    fn direction(&self, experiment: &Experiment, model: &TextModel) -> Result<(Vec<f64>, f64)> {
        let d_model = model.config().d_model;
        let mut direction = match &self.along {
            SteeringDirection::Difference { towards, away, over } => {
                let (to, from) = (
                    self.mean(towards, *over, "a text the direction leads to", experiment, model)?,
                    self.mean(away, *over, "a text the direction leads away from", experiment, model)?,
                );
                to.iter().zip(from).map(|(to, from)| to - from).collect()
            }
            SteeringDirection::Neuron(component) => written(*component, model)?,
            SteeringDirection::Feature { sae, feature } => {
                as_f64(&feature_profile::written(model.sae(sae)?, model, *feature)?)?
                    .flatten_all()?
                    .to_vec1()?
            }
            SteeringDirection::Vector(numbers) if numbers.len() != d_model => {
                let value = numbers.len() as f64;
                return Err(Error::OutOfRange {
                    name: "the direction's length",
                    value,
                    expected: "d_model numbers",
                });
            }
            SteeringDirection::Vector(numbers) => numbers.clone(),
        };
        let length = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
        if !(length > 0.0 && length.is_finite()) {
            let hint = "it has length 0 or is no number; take texts that differ at this layer";
            return Err(Error::Missing { what: "a direction", hint });
        }
        if self.length == DirectionLength::One {
            direction.iter_mut().for_each(|x| *x /= length);
        }
        Ok((direction, length))
    }

    /// The mean activation of texts at the hook.
    fn mean(
        &self,
        texts: &[Text],
        over: Over,
        what: &'static str,
        experiment: &Experiment,
        model: &TextModel,
    ) -> Result<Vec<f64>> {
        let mut sum = vec![0.0; model.config().d_model];
        let mut count = 0;
        for text in texts {
            let tokens = model.tokens(text, experiment.bos)?;
            let options =
                RunOptions { reads: vec![self.hook()], logits: Positions::Last, ..Default::default() };
            let run = model.model().run(&tokens.ids, &options)?;
            let rows: Vec<Vec<f64>> = as_f64(run.cache.get(self.hook())?)?.to_vec2()?; // [pos, d_model]
            let first = match over {
                Over::Last => rows.len() - 1,
                Over::All => usize::from(rows.len() > 1 && tokens.ids.first().copied() == model.bos()),
            };
            for row in &rows[first..] {
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                count += 1;
            }
        }
        sum.iter_mut().for_each(|sum| *sum /= f64::from(count));
        match texts.is_empty() {
            true => Err(Error::Missing { what, hint: "give at least one on either side" }),
            false => Ok(sum),
        }
    }

    /// A text to its end; `None` where stopped before.
    fn text(
        &self,
        model: &TextModel,
        prompt: &[u32],
        strength: f64,
        edits: &[Edit],
        draw: Draw,
        watch: &mut Watch,
    ) -> Result<Option<SteeredText>> {
        let max_len = prompt.len().saturating_add(self.max_new_tokens).min(model.config().n_ctx);
        let name = if strength == 0.0 { TextStream::Control } else { TextStream::Ablated };
        let mut writing = Writing::begin(model, name, prompt, edits, draw, max_len)?;
        // Events know two texts: those of several strengths could not be told apart.
        let two = self.strengths.iter().filter(|&&strength| strength != 0.0).count() <= 1;
        let mut tell = |index, token: &GeneratedToken| {
            if let Some(partial) = watch.partial.as_mut().filter(|_| two) {
                partial(Partial::Token { stream: name, index, token: token.clone() });
            }
        };
        writing.tokens().iter().enumerate().for_each(|(index, token)| tell(index, token));
        for index in prompt.len()..max_len {
            if watch.cancel.load(Ordering::Relaxed) {
                return Ok(None);
            }
            tell(index, writing.next()?);
        }
        let tokens = writing.into_tokens();
        let new: Vec<u32> = tokens.iter().filter(|token| !token.is_prompt).map(|token| token.id).collect();
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        let perplexity = perplexity(model, ids, watch)?;
        Ok(Some(SteeredText { strength, text: model.text(&new), tokens, perplexity }))
    }

    /// What was done, in words.
    fn done(&self, length: f64) -> String {
        let quoted = |texts: &[Text]| {
            let of = |text: &Text| match text {
                Text::Text(text) => format!("{text:?}"),
                Text::Ids(ids) => format!("{ids:?}"),
            };
            texts.iter().map(of).collect::<Vec<_>>().join(", ")
        };
        let direction = match &self.along {
            SteeringDirection::Difference { towards, away, over } => {
                let over = match over {
                    Over::Last => "at their last positions",
                    Over::All => "over their positions",
                };
                format!("the mean of {} less that of {} {over}", quoted(towards), quoted(away))
            }
            SteeringDirection::Neuron(neuron) => format!("what {neuron} writes"),
            SteeringDirection::Feature { sae, feature } => format!("what feature {feature} of {sae} writes"),
            SteeringDirection::Vector(_) => "numbers given".to_owned(),
        };
        let brought = match self.length {
            DirectionLength::AsIs => String::new(),
            DirectionLength::One => ", brought to 1".to_owned(),
        };
        format!(
            "strength times {direction} (length {length:.4}{brought}) is added to {} at every position",
            self.hook()
        )
    }
}

/// What a neuron adds to the stream when it is 1.
fn written(component: Component, model: &TextModel) -> Result<Vec<f64>> {
    component.check(model.config())?;
    let Component::Neuron { layer, neuron } = component else {
        return Err(Error::NotANeuron { text: component.to_string() });
    };
    let row = as_f64(&neuron_output(model, layer, neuron)?)?.squeeze(0)?;
    Ok(row.to_vec1()?)
}

/// Perplexity of a text to the model as it is.
fn perplexity(model: &TextModel, ids: Vec<u32>, watch: &Watch) -> Result<f64> {
    let meter = Meter { metrics: vec![MetricId::named("perplexity")?], read_at: None };
    let subject = Subject { tokens: ids, answers: vec![], wrong: vec![], clamp: None };
    let options = LaneOptions { memory_budget: watch.memory_budget, cancel: None };
    let (measured, _) =
        meter.run(model.model(), &[subject], &[], KeepTop::OfBases, &options, &mut |_, _| {})?;
    let base = measured.bases.into_iter().flatten().next();
    base.map(|reading| reading.values[0]).ok_or(Error::StoppedEarly)
}
