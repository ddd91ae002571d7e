//! Active features of prompts, position by position and overall, and how well their autoencoder stands for the activations.
//!
//! L0, explained variance and the losses recovered are [`crate::sae::Quality`]'s, over the positions that count; the same three runs
//! (the reconstruction in place of the activation, 0, the mean) give tables of every metric. A position lists its strongest
//! features whether it counts or not.

use std::collections::HashMap;

use microtome_model::Positions;
use serde::{Deserialize, Serialize};

use super::sweep::{self, Captions, Cells, Swept};
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Watch};
use crate::metric::MetricId;
use crate::record::{Axis, Results};
use crate::sae::{ActiveFeature, Features, Kept, Losses, SaeChoice, SaeReport, strongest};
use crate::text_model::{TextModel, Tokens};

/// Features of prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FeatureReading {
    /// The autoencoder.
    pub sae: SaeChoice,
    /// How many features are given of a position, and overall; 20 where left out, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
    /// Positions that count; all but a BOS in front where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Positions>,
    /// Features that are given however weak they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<usize>,
    /// Whether the losses are measured.
    #[serde(default, skip_serializing_if = "LossRuns::is_measured")]
    pub losses: LossRuns,
}

/// Whether what an autoencoder costs is measured, by three runs of every prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LossRuns {
    /// It is.
    #[default]
    Measured,
    /// It is not: the activations are read and encoded, and that is all.
    LeftOut,
}

impl LossRuns {
    fn is_measured(&self) -> bool {
        *self == LossRuns::Measured
    }
}

/// Features of prompts, as they were found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FeatureReport {
    /// The autoencoder.
    pub sae: SaeReport,
    /// How well it stands for the activations at the positions that count.
    pub quality: SaeQuality,
    /// The strongest features of all prompts, at the positions that count, the strongest first.
    pub overall: Vec<FeatureTotal>,
    /// By prompt.
    pub prompts: Vec<PromptFeatures>,
}

/// How well an autoencoder stands for activations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SaeQuality {
    /// Positions that count, of all prompts.
    pub n_positions: usize,
    /// Active features per position.
    pub l0: f64,
    /// `1 - sum |x - reconstruction|^2 / sum |x - mean|^2`, of a transcoder with `x` as it writes; left out where `x` does not vary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained_variance: Option<f64>,
    /// What it costs; left out where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub losses: Option<SaeLosses>,
}

/// Losses in nats per token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SaeLosses {
    /// Of the model as it is.
    pub clean: f64,
    /// With the reconstruction in place of the activation.
    pub spliced: f64,
    /// With 0 in its place.
    pub zero: f64,
    /// With its mean in its place.
    pub mean: f64,
    /// `(zero - spliced) / (zero - clean)`; left out where they cost the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_from_zero: Option<f64>,
    /// `(mean - spliced) / (mean - clean)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_from_mean: Option<f64>,
}

/// A feature over all prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FeatureTotal {
    /// Which.
    pub feature: usize,
    /// Its largest activation.
    pub activation: f64,
    /// In which prompt that is, counted from 0.
    pub prompt: usize,
    /// At which position of it; of equal ones the first.
    pub position: usize,
    /// At how many positions it is active.
    pub n_active: usize,
    /// Its mean activation over all positions that count, active or not.
    pub mean: f64,
}

/// Features of one prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PromptFeatures {
    /// By position.
    pub positions: Vec<PositionFeatures>,
    /// The strongest features of this prompt at the positions that count, the strongest first.
    pub overall: Vec<FeatureTrace>,
    /// The features that were to be given however weak, in the order asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<FeatureTrace>,
}

/// Features of one position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PositionFeatures {
    /// Whether the position counts towards the quality and the overall lists.
    pub counts: bool,
    /// How many features are active.
    pub n_active: usize,
    /// Norm of what the reconstruction misses by that of the activation it stands for; left out where that is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_error: Option<f64>,
    /// The strongest, the strongest first.
    pub top: Vec<ActiveFeature>,
}

/// One feature along a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FeatureTrace {
    /// Which.
    pub feature: usize,
    /// Its largest activation at a position that counts; 0 where it is active at none.
    pub activation: f64,
    /// The first position that has it.
    pub position: usize,
    /// Its activation at every position, whether it counts or not.
    pub activations: Vec<f64>,
}

/// How many features are given where nobody says.
const TOP: usize = 20;
/// How many may be asked for.
pub(crate) const MOST_FEATURES: usize = 1000;

impl FeatureReading {
    /// The experiment whose metrics it measures: the loss beside those asked for, before those nobody asked for.
    fn measured(&self, experiment: &Experiment) -> Result<Experiment> {
        let loss = MetricId::named("loss")?;
        let mut metrics = experiment.metrics()?;
        if !metrics.contains(&loss) {
            let at = if experiment.metrics.is_empty() { 0 } else { metrics.len() };
            metrics.insert(at, loss);
        }
        Ok(Experiment { metrics, ..experiment.clone() })
    }

    /// The metrics its tables are of.
    pub(crate) fn metrics(&self, experiment: &Experiment) -> Result<Vec<&'static str>> {
        if self.losses == LossRuns::LeftOut {
            return Ok(vec![]);
        }
        Ok(self.measured(experiment)?.metrics.iter().map(|metric| metric.name()).collect())
    }

    /// Runs of each prompt.
    pub(crate) fn count(&self) -> usize {
        match self.losses {
            LossRuns::Measured => Kept::RUNS,
            LossRuns::LeftOut => 1,
        }
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let sae = model.sae(&self.sae)?;
        let top = features_given(self.top)?;
        self.watch.iter().try_for_each(|&feature| sae.check_feature(feature))?;
        let experiment = self.measured(experiment)?;
        let cases = experiment.cases(model)?;
        let ids: Vec<Vec<u32>> = cases.iter().map(|case| case.clean.ids.clone()).collect();
        let at: Vec<Positions> = cases.iter().map(|case| counted(&self.at, &case.clean, model)).collect();
        let counts =
            at.iter().zip(&ids).map(|(at, ids)| Ok(at.resolve(ids.len())?)).collect::<Result<Vec<_>>>()?;
        let mut found = Collected::default();
        let kept = Kept::read(sae, model, &ids, at, watch.cancel, |prompt, features| {
            found.take(prompt, features, &counts[prompt], (&self.watch, top));
        })?;
        let quality = |losses: Option<Losses>| SaeQuality {
            n_positions: kept.n_positions,
            l0: kept.l0,
            explained_variance: kept.explained_variance,
            losses: losses.map(SaeLosses::from),
        };
        let overall = found.overall(kept.n_positions, top);
        let report = |quality| FeatureReport { sae: sae.report(), quality, overall, prompts: found.prompts };
        let mut notes = vec![format!(
            "features of {} at {}; L0, explained variance, losses and the overall lists are over {}",
            self.sae,
            sae.place(),
            self.positions()
        )];
        if self.losses == LossRuns::LeftOut {
            let reports = cases.iter().map(|case| sweep::report(model, case, None, &[], &[]));
            let (prompts, runs) = (reports.collect(), cases.len());
            let features = Some(report(quality(None)));
            return Ok(Results { prompts, features, notes, runs, runs_wanted: runs, ..Default::default() });
        }
        let captions = Captions {
            axes: vec![Axis {
                name: "replacement".to_owned(),
                labels: Kept::NAMES.map(str::to_owned).to_vec(),
            }],
            done: format!("when {} is replaced", sae.writes_at()),
        };
        let tables = |swept: &Swept| sweep::change_tables(swept, &captions, experiment.seed);
        let swept = sweep::run(&experiment, model, watch, Kept::RUNS, &tables, |prompt| {
            let case = &cases[prompt];
            Ok(Cells::of(case.subject(&case.clean), kept.replacements(model, prompt, &ids[prompt])?))
        })?;
        notes.push(
            "replaced at the positions that count: by the reconstruction without its error, by 0, and by the mean of \
             the activation over them"
                .to_owned(),
        );
        let report_of = |(case, base): (&Case, _)| {
            sweep::report(model, case, None, &swept.metrics, &[("clean", Some(base))])
        };
        let prompts = cases.iter().zip(&swept.bases).map(report_of).collect();
        let features = Some(report(quality(Kept::losses(&swept, ids.iter().map(Vec::len)))));
        Ok(Results { features, ..swept.results(&experiment, prompts, tables(&swept), notes) })
    }

    fn positions(&self) -> String {
        match &self.at {
            None => "all positions but BOS".to_owned(),
            Some(at) => at.to_string(),
        }
    }
}

/// The positions of a prompt that count: those asked for, or all but a BOS in front.
pub(crate) fn counted(asked: &Option<Positions>, tokens: &Tokens, model: &TextModel) -> Positions {
    let bos = tokens.ids.len() > 1 && model.bos().is_some() && tokens.ids.first().copied() == model.bos();
    match asked {
        Some(at) => at.clone(),
        None if bos => Positions::From(1),
        None => Positions::All,
    }
}

/// How many features are given.
///
/// # Errors
/// [`Error::OutOfRange`] for none, and for more than 1000.
pub(crate) fn features_given(asked: Option<usize>) -> Result<usize> {
    match asked.unwrap_or(TOP) {
        top @ 1..=MOST_FEATURES => Ok(top),
        other => Err(Error::OutOfRange {
            name: "the number of features",
            value: other as f64,
            expected: "1 to 1000",
        }),
    }
}

impl From<Losses> for SaeLosses {
    fn from(losses: Losses) -> SaeLosses {
        let Losses { clean, spliced, zero, mean } = losses;
        SaeLosses {
            clean,
            spliced,
            zero,
            mean,
            recovered_from_zero: losses.recovered_from_zero(),
            recovered_from_mean: losses.recovered_from_mean(),
        }
    }
}

/// What is kept of all prompts.
#[derive(Default)]
struct Collected {
    prompts: Vec<PromptFeatures>,
    /// By feature, its mean still a sum.
    totals: HashMap<usize, FeatureTotal>,
}

impl Collected {
    fn take(
        &mut self,
        prompt: usize,
        features: &Features,
        counts: &[usize],
        (watched, top): (&[usize], usize),
    ) {
        let mut largest: HashMap<usize, (f64, usize)> = HashMap::new();
        for &position in counts {
            for &ActiveFeature { feature, activation } in &features.active[position] {
                let here = largest.entry(feature).or_insert((activation, position));
                if activation > here.0 {
                    *here = (activation, position);
                }
                let new = FeatureTotal { feature, activation, prompt, position, n_active: 0, mean: 0.0 };
                let total = self.totals.entry(feature).or_insert(new);
                if activation > total.activation {
                    (total.activation, total.prompt, total.position) = (activation, prompt, position);
                }
                total.n_active += 1;
                total.mean += activation;
            }
        }
        let all: Vec<ActiveFeature> = largest
            .iter()
            .map(|(&feature, &(activation, _))| ActiveFeature { feature, activation })
            .collect();
        let first = counts.first().copied().unwrap_or(0);
        let trace = |feature: usize| {
            let (activation, position) = largest.get(&feature).copied().unwrap_or((0.0, first));
            FeatureTrace { feature, activation, position, activations: features.along(feature) }
        };
        let positions = features.active.iter().zip(&features.relative_error).enumerate();
        self.prompts.push(PromptFeatures {
            positions: positions
                .map(|(position, (active, &relative_error))| PositionFeatures {
                    counts: counts.contains(&position),
                    n_active: active.len(),
                    relative_error,
                    top: strongest(active, top),
                })
                .collect(),
            overall: strongest(&all, top).iter().map(|active| trace(active.feature)).collect(),
            watched: watched.iter().map(|&feature| trace(feature)).collect(),
        });
    }

    /// The strongest of all prompts.
    fn overall(&self, n_positions: usize, top: usize) -> Vec<FeatureTotal> {
        let of =
            |total: &FeatureTotal| ActiveFeature { feature: total.feature, activation: total.activation };
        let all: Vec<ActiveFeature> = self.totals.values().map(of).collect();
        let total = |active: &ActiveFeature| {
            let total = &self.totals[&active.feature];
            FeatureTotal { mean: total.mean / n_positions as f64, ..total.clone() }
        };
        strongest(&all, top).iter().map(total).collect()
    }
}
