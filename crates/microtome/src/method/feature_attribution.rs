//! What each feature is worth, estimated, and the estimates beside what changing the features gives.
//!
//! ```text
//! gradient   sum over positions of (g - f) W_dec_i . d metric / d x         first order: the change when the feature goes from f to g
//! direct     f W_dec_i . u at the position read       exact, but of what goes to the logits without passing a layer
//! ```
//!
//! `u` is the direction by which the final LayerNorm, its scale frozen, and the unembedding read the answer ([`super::attribution`]); an
//! autoencoder of `z` or of neurons is followed through `W_O` or `W_out` first. The gradient is taken in the run that is changed, with the
//! error term kept or dropped; so in sparse feature circuits (Marks et al. 2024) and attribution patching. Direct shares
//! of all features, of the decoder's bias and of what the features do not explain sum to the share of the activation. The first are
//! estimates of changes; a direct share is one of what is lost without the feature. Of a transcoder `x` is the activation it writes.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use microtome_model::{Positions, Tensor, as_f64};
use serde::{Deserialize, Serialize};

use super::attribution::answer_direction;
use super::feature_profile::output_weights;
use super::feature_sweep::{
    FeatureCell, FeatureCells, FeatureSweep, FeatureTargets, MOST_ASKED, Ready, cell_axis, relative,
};
use super::features::MOST_FEATURES;
use super::gradient::{Of, metric_gradients, one_metric};
use super::remeasure::{Check, Remeasured, remeasured};
use super::sweep::{self, Swept};
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Watch};
use crate::measure::Reading;
use crate::metric::MetricId;
use crate::record::{Basis, Quantity, Results, Table};
use crate::sae::{ErrorTerm, FeatureChange, Features, Sae, SaeChoice, SaeReport, edits_of, rows};
use crate::stats::{mean, over_prompts};
use crate::text_model::TextModel;

/// Attribution to features, asked as an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FeatureAttribution {
    /// The autoencoder.
    pub sae: SaeChoice,
    /// How a feature's worth is estimated.
    #[serde(default)]
    pub estimate: FeatureEstimate,
    /// What is estimated; direct shares are of features set to 0.
    #[serde(default)]
    pub change: FeatureChange,
    /// Whether positions are told apart; direct shares are of the position read alone.
    #[serde(default)]
    pub by: FeatureCells,
    /// Positions that count; all but a BOS in front where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Positions>,
    /// What happens to what the features do not explain, where derivatives are taken and features measured.
    #[serde(default)]
    pub error: ErrorTerm,
    /// How many features are given, those with the largest estimates; 100 where left out, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
    /// Which of them are measured too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
}

/// How a feature's worth is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FeatureEstimate {
    /// Change of activation times the derivative of the metric.
    #[default]
    Gradient,
    /// What it writes, read as the logits would.
    Direct,
}

/// What was attributed to features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FeatureAttributionReport {
    /// The autoencoder.
    pub sae: SaeReport,
    /// The features given, in the order of the table.
    pub cells: Vec<FeatureCell>,
    /// How many there were.
    pub n_found: usize,
    /// Sum of the estimates of all of them, given or not; over several prompts the mean.
    pub all_features: f64,
    /// Of direct shares: those of the decoder's bias, of a skip connection, and what undoing a normalisation adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<f64>,
    /// Of direct shares: that of what the features do not explain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unexplained: Option<f64>,
}

/// How many features are given where nobody says.
const TOP: usize = 100;
/// The metric of direct shares.
const DIRECT: &str = "direct_features";

/// What one prompt gives: by cell, and of direct shares the bias's and that of what is not explained.
struct Estimates {
    cells: Vec<f64>,
    rest: Option<(f64, f64)>,
    base: Option<Reading>,
}

impl FeatureAttribution {
    /// The metrics its tables are of.
    pub(crate) fn metrics(&self, experiment: &Experiment) -> Result<Vec<&'static str>> {
        Ok(match self.estimate {
            FeatureEstimate::Gradient => vec![one_metric(experiment, "attribution to features")?.name()],
            FeatureEstimate::Direct => vec![DIRECT],
        })
    }

    /// Runs of each prompt, at most.
    pub(crate) fn count(&self) -> usize {
        1 + self.check.map_or(0, |check| check.count(self.top.unwrap_or(TOP))) + self.sweep().skipped()
    }

    /// The sweep whose changes are estimated.
    fn sweep(&self) -> FeatureSweep {
        let Self { sae, change, by, at, error, .. } = self.clone();
        FeatureSweep { sae, features: FeatureTargets::Active, change, by, at, error, most: Some(MOST_ASKED) }
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let top = self.check(experiment)?;
        let metric = match self.estimate {
            FeatureEstimate::Gradient => one_metric(experiment, "attribution to features")?,
            FeatureEstimate::Direct => direct_metric(experiment)?,
        };
        let experiment = &Experiment { metrics: vec![metric], ..experiment.clone() };
        let mut sweep = self.sweep();
        if self.estimate == FeatureEstimate::Direct {
            sweep.at = Some(experiment.read_at.map_or(Positions::Last, |pos| Positions::At(vec![pos])));
        }
        let mut ready = sweep.ready(experiment, model, watch)?;
        let n_prompts = ready.cases.len();
        let n_measured =
            self.check.map_or(0, |check| check.count(top.min(ready.cells.len())) + sweep.skipped());
        let runs_wanted = n_prompts * (1 + n_measured);
        let mut found: Vec<Estimates> = Vec::new();
        for prompt in 0..n_prompts {
            (watch.progress)(prompt, runs_wanted);
            if watch.cancel.load(Ordering::Relaxed) {
                break;
            }
            found.push(match self.estimate {
                FeatureEstimate::Gradient => self.by_gradient(&sweep, experiment, model, &ready, prompt)?,
                FeatureEstimate::Direct => direct(&sweep, experiment, model, &ready, prompt)?,
            });
        }
        if found.is_empty() {
            return Err(Error::StoppedEarly);
        }
        let by_prompt: Vec<Vec<f64>> = found.iter().map(|of| of.cells.clone()).collect();
        let (means, _) = over_prompts(&by_prompt, experiment.seed);
        let kept = Check::Top(top).cells(&means);
        ready.cells = kept.iter().map(|&cell| ready.cells[cell].clone()).collect();
        let by_prompt: Vec<Vec<f64>> =
            by_prompt.iter().map(|cells| kept.iter().map(|&cell| cells[cell]).collect()).collect();
        let table = self.table(experiment, metric, &ready, &by_prompt, &found);
        let mut runs = found.len();
        let mut checked = None;
        if let Some(check) = self.check.filter(|_| found.len() == n_prompts) {
            let part = watch.part(runs, runs_wanted, |watch| {
                self.measure(&sweep, experiment, model, watch, (&mut ready, check, &by_prompt, &table))
            });
            match part {
                Ok((measured, done)) => {
                    (checked, runs) = (measured, runs + done);
                }
                Err(Error::StoppedEarly) => {}
                Err(error) => return Err(error),
            }
        }
        let rest = |of: fn((f64, f64)) -> f64| {
            let values: Option<Vec<f64>> = found.iter().map(|found| found.rest.map(of)).collect();
            values.map(|values| mean(&values))
        };
        let report = FeatureAttributionReport {
            sae: ready.sae.report(),
            n_found: ready.n_found,
            all_features: means.iter().sum(),
            bias: rest(|(bias, _)| bias),
            unexplained: rest(|(_, unexplained)| unexplained),
            cells: ready.cells,
        };
        let prompts = found.iter().enumerate().map(|(i, of)| {
            let runs: Vec<_> = of.base.iter().map(|base| ("clean", Some(base))).collect();
            let named = match self.change.direction() {
                Some(direction) => vec![(direction.base_and_other("clean", "corrupt").0, of.base.as_ref())],
                None => runs,
            };
            sweep::report(model, &ready.cases[i], ready.corrupts.get(i).cloned(), &[metric], &named)
        });
        Ok(Results {
            prompts: prompts.collect(),
            tables: vec![table],
            notes: self.notes(experiment, metric, found.len()),
            feature_attribution: Some(report),
            remeasured: checked,
            runs,
            runs_wanted,
            ..Default::default()
        })
    }

    /// Checks what is asked, and how many features are given.
    fn check(&self, experiment: &Experiment) -> Result<usize> {
        self.check.map_or(Ok(()), Check::check)?;
        if self.estimate == FeatureEstimate::Direct {
            let unused = [
                (self.at.is_some(), "positions: it is of the position that is read"),
                (
                    self.by != FeatureCells::Feature,
                    "positions told apart: it is of the position that is read",
                ),
                (self.change != FeatureChange::Ablate, "a change: it is of what the feature writes"),
                (
                    !experiment.metrics.is_empty(),
                    "metrics: it is of the logit of the answers, or their difference",
                ),
            ];
            Error::refuse_unused("direct attribution to features", &unused)?;
        }
        match self.top.unwrap_or(TOP) {
            top @ 1..=MOST_FEATURES => Ok(top),
            other => {
                let (name, value) = ("the number of features", other as f64);
                Err(Error::OutOfRange { name, value, expected: "1 to 1000" })
            }
        }
    }

    fn by_gradient(
        &self,
        sweep: &FeatureSweep,
        experiment: &Experiment,
        model: &TextModel,
        ready: &Ready,
        prompt: usize,
    ) -> Result<Estimates> {
        let (own, other) = sweep.features_of(ready, model, prompt)?;
        let (case, sae) = (&ready.cases[prompt], ready.sae);
        let base = match self.change.direction() {
            Some(direction) => {
                direction.base_and_other(&case.clean, ready.corrupts.get(prompt).unwrap_or(&case.clean)).0
            }
            None => &case.clean,
        };
        let edits = edits_of(sae, model, (&own, other.as_ref()), &[], sweep.dropped(ready, prompt))?;
        let metric = experiment.metrics[0];
        let of = Of { metric, read_at: experiment.read_at, answers: &case.answers, wrong: &case.wrong };
        let found = metric_gradients(model, &base.ids, &edits, &[sae.writes_at()], of)?;
        let gradient = rows(found.at.gradients.get(sae.writes_at())?)?;
        let mut features: HashMap<usize, Worth> = HashMap::new();
        let mut cells = Vec::with_capacity(ready.cells.len());
        for cell in &ready.cells {
            let worth = match features.entry(cell.feature) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(new) => {
                    new.insert(Worth::new(sae, model, cell.feature, (&own, other.as_ref()))?)
                }
            };
            let at = cell.position.map_or_else(|| ready.at[prompt].clone(), |pos| vec![pos]);
            let of =
                |&pos: &usize| worth.at(pos, self.change, &own) * dot_at(&worth.direction, &gradient[pos]);
            cells.push(at.iter().map(of).sum());
        }
        let base = Some(Reading { values: vec![found.value], top: vec![] });
        Ok(Estimates { cells, rest: None, base })
    }

    /// Measures the cells with the largest estimates, and how many runs that took.
    fn measure(
        &self,
        sweep: &FeatureSweep,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
        (ready, check, by_prompt, table): (&mut Ready, Check, &[Vec<f64>], &Table),
    ) -> Result<(Option<Remeasured>, usize)> {
        let count = check.count(ready.cells.len());
        let rest = ready.cells.split_off(count);
        let swept = sweep.swept(experiment, model, watch, ready, &|_| vec![]);
        ready.cells.extend(rest);
        let swept: Swept = swept?;
        let lost = match self.estimate {
            FeatureEstimate::Gradient => |change: f64| change,
            FeatureEstimate::Direct => |change: f64| -change,
        };
        let cells: Vec<usize> = (0..count).collect();
        let shown = relative(&swept, sweep.skipped());
        Ok((remeasured(table, &cells, by_prompt, &shown, lost, experiment.seed), swept.runs))
    }

    fn table(
        &self,
        experiment: &Experiment,
        metric: MetricId,
        ready: &Ready,
        by_prompt: &[Vec<f64>],
        found: &[Estimates],
    ) -> Table {
        let (means, spreads) = over_prompts(by_prompt, experiment.seed);
        let base: Vec<f64> =
            found.iter().flat_map(|of| of.base.as_ref().map(|base| base.values[0])).collect();
        let (name, title, baseline, basis, quantity) = match self.estimate {
            FeatureEstimate::Gradient => (
                metric.name(),
                format!(
                    "Estimated change in {} when a feature is {}",
                    metric.title(),
                    self.change.describe()
                ),
                format!("0 = no change from {:.4} {}", mean(&base), metric.unit()).trim_end().to_owned(),
                Basis::Estimate,
                Quantity::Change,
            ),
            FeatureEstimate::Direct => (
                DIRECT,
                format!("What each feature writes towards the {}", metric.title()),
                "0 = writes nothing in that direction; later layers are not seen".to_owned(),
                Basis::Exact,
                Quantity::Value,
            ),
        };
        Table {
            metric: name.to_owned(),
            quantity,
            title,
            unit: metric.unit().to_owned(),
            baseline,
            basis,
            axes: vec![cell_axis(&ready.cells)],
            values: means.into_iter().map(Some).collect(),
            spread: spreads.into_iter().map(Some).collect(),
        }
    }

    fn notes(&self, experiment: &Experiment, metric: MetricId, finished: usize) -> Vec<String> {
        let what = match self.estimate {
            FeatureEstimate::Gradient => {
                let error = match self.error {
                    ErrorTerm::Keep => "in the run as it is",
                    ErrorTerm::Drop => "in the run with the reconstruction alone",
                };
                format!("estimated: change of activation times W_dec . d {} / d activation, {error}", metric.name())
            }
            FeatureEstimate::Direct => {
                "activation times W_dec, read as the answer with the final LayerNorm's scale frozen; measured beside it: \
                 what is lost when the feature is set to 0"
                    .to_owned()
            }
        };
        let at = match (self.estimate, &self.at) {
            (FeatureEstimate::Direct, _) => "the position that is read".to_owned(),
            (_, None) => "all positions but BOS".to_owned(),
            (_, Some(at)) => at.to_string(),
        };
        let mut notes = vec![format!("features of {} at {at}; {what}", self.sae)];
        notes.push(format!("{}: {}", metric.name(), metric.describe()));
        notes.extend(sweep::prompts_note(finished, experiment));
        notes
    }
}

/// One feature in one prompt.
struct Worth {
    direction: Vec<f64>,
    own: Vec<f64>,
    other: Vec<f64>,
}

impl Worth {
    fn new(
        sae: &Sae,
        model: &TextModel,
        feature: usize,
        (own, other): (&Features, Option<&Features>),
    ) -> Result<Worth> {
        let direction = numbers(&sae.direction(feature, model)?)?;
        let other = other.map_or(vec![], |other| other.along(feature));
        Ok(Worth { direction, own: own.along(feature), other })
    }

    /// How much of the direction is added at a position.
    fn at(&self, pos: usize, change: FeatureChange, features: &Features) -> f64 {
        let scale = features.scales.get(pos).copied().unwrap_or(1.0);
        scale * change.added(self.own[pos], self.other.get(pos).copied().unwrap_or(0.0))
    }
}

/// Direct shares of one prompt at the position read.
fn direct(
    sweep: &FeatureSweep,
    experiment: &Experiment,
    model: &TextModel,
    ready: &Ready,
    prompt: usize,
) -> Result<Estimates> {
    let (case, sae) = (&ready.cases[prompt], ready.sae);
    let tokens = &case.clean.ids;
    let pos = experiment.read_at.unwrap_or(tokens.len() - 1);
    let answer = answer_direction(model, tokens, pos, (&case.answers, &case.wrong))?;
    let read_by = through_weights(sae, model, answer)?;
    let (own, _) = sweep.features_of(ready, model, prompt)?;
    let mut of_features = 0.0;
    let mut shares: HashMap<usize, f64> = HashMap::new();
    for active in &own.active[pos] {
        let worth = Worth::new(sae, model, active.feature, (&own, None))?;
        let share = -worth.at(pos, FeatureChange::Ablate, &own) * dot_at(&worth.direction, &read_by);
        of_features += share;
        shares.insert(active.feature, share);
    }
    let x = &rows(&sae.read(model, tokens)?.target)?[pos];
    let reconstruction = dot_at(&rows(&own.reconstruction)?[pos], &read_by);
    let rest = (reconstruction - of_features, dot_at(x, &read_by) - reconstruction);
    let cells = ready.cells.iter().map(|cell| shares.get(&cell.feature).copied().unwrap_or(0.0)).collect();
    Ok(Estimates { cells, rest: Some(rest), base: None })
}

/// A direction of the residual stream as what an autoencoder writes is read by it.
fn through_weights(sae: &Sae, model: &TextModel, direction: Vec<f64>) -> Result<Vec<f64>> {
    let Some(weights) = output_weights(sae, model)? else { return Ok(direction) };
    let weights = numbers(&weights)?; // [d_out, d_model]
    Ok(weights.chunks(direction.len()).map(|row| dot_at(row, &direction)).collect())
}

/// The metric that direct shares are shares of.
fn direct_metric(experiment: &Experiment) -> Result<MetricId> {
    let has = |of: fn(&crate::experiment::Prompt) -> bool| experiment.prompts.iter().all(of);
    if !has(|prompt| !prompt.answers.is_empty()) {
        let hint = "give the token whose logit is attributed, for example --target \" Paris\"";
        return Err(Error::Missing { what: "a right answer", hint });
    }
    let n_wrong = experiment.prompts.iter().filter(|prompt| !prompt.wrong_answers.is_empty()).count();
    match n_wrong {
        0 => MetricId::named("logit"),
        n if n == experiment.prompts.len() => MetricId::named("logit_diff"),
        _ => {
            let hint = "a logit and a logit difference have no mean; give every prompt one, or none";
            Err(Error::Missing { what: "a wrong answer for every prompt", hint })
        }
    }
}

fn dot_at(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    Ok(as_f64(x)?.flatten_all()?.to_vec1()?)
}
