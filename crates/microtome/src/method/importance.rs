//! Importance: one number per head, or per MLP, by any of these measures; the mean over prompts.
//!
//! - Gradient, of heads: the mean of `|d metric / d pattern|` over the pattern's entries that can be attended to
//!   (query at or after key): how much the metric hangs on where a head looks. Of MLPs: the mean over positions of
//!   `|mlp_out . d metric / d mlp_out|`, what the metric would lose with the output if it were linear in it. The
//!   metric is the mean loss of the prompt's own tokens unless one is named. First-order estimates.
//! - Gradient times pattern, of heads: the mean of `|pattern d metric / d pattern|` over the same entries.
//! - Both of these *full*: the mean over all entries, keys ahead of their query among them. There the pattern is 0, and so is
//!   the product; the derivative is not, though nothing can be attended to there. Conventions of others, for comparison.
//! - Output norm: the L2 norm of what a head (`result`) or MLP (`mlp_out`) writes to the residual stream, mean over
//!   positions. Z norm: that of a head's `z`, before `W_O`.
//! - Ablation KL: KL(whole || component set to 0), nats, mean over positions; measured by running it.

use std::sync::atomic::Ordering;

use microtome_model::{Hook, RunOptions, Site, as_f64};
use serde::{Deserialize, Serialize};

use super::ablate::{Ablate, Targets};
use super::change::Replacement;
use super::gradient::{Of, metric_gradients};
use super::sweep;
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Method, Watch};
use crate::metric::MetricId;
use crate::record::{Axis, Basis, Quantity, Results, Table};
use crate::stats::over_prompts;
use crate::text_model::TextModel;

/// A number for every head or MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Importance {
    /// Which number.
    pub by: Measure,
    /// Of what.
    #[serde(default, skip_serializing_if = "Parts::is_heads")]
    pub of: Parts,
}

/// What importance is measured of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Parts {
    /// Every attention head.
    #[default]
    Heads,
    /// Every MLP.
    Mlps,
}

impl Parts {
    fn is_heads(&self) -> bool {
        *self == Parts::Heads
    }

    /// Runs that an ablation of each by itself takes.
    pub(crate) fn targets(self) -> Targets {
        match self {
            Parts::Heads => Targets::Heads,
            Parts::Mlps => Targets::Mlps,
        }
    }
}

/// What a head's importance is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The metric's derivative in the attention pattern.
    #[default]
    Gradient,
    /// The same over all entries, those ahead of their query among them.
    GradientFull,
    /// The derivative times the pattern.
    GradientTimesPattern,
    /// The same over all entries.
    GradientTimesPatternFull,
    /// The size of what the head writes.
    OutputNorm,
    /// The size of its mix of values, before it is written.
    ZNorm,
    /// How far the prediction moves without it.
    AblationKl,
}

impl Measure {
    /// The metric its table is of.
    pub fn metric(self) -> &'static str {
        match self {
            Measure::Gradient => "importance_gradient",
            Measure::GradientFull => "importance_gradient_full",
            Measure::GradientTimesPattern => "importance_gradient_times_pattern",
            Measure::GradientTimesPatternFull => "importance_gradient_times_pattern_full",
            Measure::OutputNorm => "importance_output_norm",
            Measure::ZNorm => "importance_z_norm",
            Measure::AblationKl => "kl_mean",
        }
    }
}

impl Importance {
    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        if self.of == Parts::Mlps && model.config().mlp.is_none() {
            return Err(Error::Missing { what: "an MLP", hint: "this model has none; ask for its heads" });
        }
        let of_both = matches!(self.by, Measure::Gradient | Measure::OutputNorm | Measure::AblationKl);
        if self.of == Parts::Mlps && !of_both {
            return Err(Error::Unused {
                method: "importance of MLPs",
                what: "a measure that only heads have",
            });
        }
        match self.by {
            Measure::Gradient
            | Measure::GradientFull
            | Measure::GradientTimesPattern
            | Measure::GradientTimesPatternFull => self.gradient(experiment, model, watch),
            Measure::OutputNorm | Measure::ZNorm => self.norm(experiment, model, watch),
            Measure::AblationKl => self.ablation_kl(experiment, model, watch),
        }
    }

    fn gradient(&self, experiment: &Experiment, model: &TextModel, watch: &mut Watch) -> Result<Results> {
        let metric = match &experiment.metrics[..] {
            [] => MetricId::named("loss")?,
            [one] => *one,
            _ => {
                return Err(Error::Unused { method: "importance by gradient", what: "more than one metric" });
            }
        };
        let times = matches!(self.by, Measure::GradientTimesPattern | Measure::GradientTimesPatternFull);
        let over = match self.by {
            Measure::GradientFull | Measure::GradientTimesPatternFull => Entries::All,
            _ => Entries::Seen,
        };
        let (site, part, what) = match self.of {
            Parts::Heads => {
                let (number, part) = match times {
                    false => ("", "Derivative of the {} in each head's pattern, mean size"),
                    true => {
                        ("pattern . ", "Each head's pattern times the derivative of the {} in it, mean size")
                    }
                };
                let entries = match over {
                    Entries::Seen => "queries and the keys they see",
                    Entries::All => "all queries and keys, those not seen too",
                };
                let what = format!(
                    "mean |{number}d {} / d pattern| over {entries}; a first-order estimate",
                    metric.name()
                );
                (Site::Pattern, part, what)
            }
            Parts::Mlps => {
                let what = format!(
                    "mean over positions of |mlp_out . d {} / d mlp_out|; a first-order estimate of what its output is \
                     worth",
                    metric.name()
                );
                (Site::MlpOut, "Output of each MLP times the derivative of the {} in it, mean size", what)
            }
        };
        let unit = if metric.unit().is_empty() { "change" } else { metric.unit() };
        let numbers = Numbers {
            title: part.replace("{}", metric.title()),
            unit: match self.of {
                Parts::Heads if !times => format!("{unit} per unit of attention"),
                _ => unit.to_owned(),
            },
            basis: Basis::Estimate,
            what,
        };
        let hooks = hooks(site, model);
        self.measured(experiment, model, watch, numbers, |case| {
            let of = Of { metric, read_at: experiment.read_at, answers: &case.answers, wrong: &case.wrong };
            let found = metric_gradients(model, &case.clean.ids, &[], &hooks, of)?;
            let mut scores = Vec::new();
            for &hook in &hooks {
                let slopes = as_f64(found.at.gradients.get(hook)?)?;
                match self.of {
                    Parts::Heads => {
                        let numbers = match times {
                            false => slopes,
                            true => (slopes * as_f64(found.at.activations.get(hook)?)?)?,
                        };
                        let numbers = numbers.to_vec3::<f64>()?; // [head, query, key]
                        scores.extend(numbers.iter().map(|head| mean_size(head, over)));
                    }
                    Parts::Mlps => {
                        let out = as_f64(found.at.activations.get(hook)?)?; // [pos, d_model]
                        scores.push((out * slopes)?.sum(1)?.abs()?.mean_all()?.to_scalar::<f64>()?);
                    }
                }
            }
            Ok(scores)
        })
    }

    fn norm(&self, experiment: &Experiment, model: &TextModel, watch: &mut Watch) -> Result<Results> {
        let unused = [
            (!experiment.metrics.is_empty(), "metrics"),
            (experiment.read_at.is_some(), "a position to read at: it averages over all"),
        ];
        Error::refuse_unused("importance by norm", &unused)?;
        let (site, title, what) = match (self.of, self.by) {
            (Parts::Heads, Measure::ZNorm) => (
                Site::Z,
                "Size of each head's mix of values",
                "L2 norm of a head's z, before W_O, mean over positions",
            ),
            (Parts::Heads, _) => (
                Site::Result,
                "Size of what each head writes to the residual stream",
                "L2 norm of a head's result, mean over positions",
            ),
            (Parts::Mlps, _) => (
                Site::MlpOut,
                "Size of what each MLP writes to the residual stream",
                "L2 norm of an MLP's output, its bias included, mean over positions",
            ),
        };
        let numbers = Numbers {
            title: title.to_owned(),
            unit: "L2 norm".to_owned(),
            basis: Basis::Exact,
            what: what.to_owned(),
        };
        let reads = hooks(site, model);
        self.measured(experiment, model, watch, numbers, |case| {
            let logits = microtome_model::Positions::Last;
            let options = RunOptions { reads: reads.clone(), logits, ..Default::default() };
            let run = model.model().run(&case.clean.ids, &options)?;
            let mut scores = Vec::new();
            for &hook in &reads {
                let written = as_f64(run.cache.get(hook)?)?; // [pos, head, d_model] or [pos, d_model]
                let norms = written.sqr()?.sum(written.rank() - 1)?.sqrt()?.mean(0)?;
                scores.extend(norms.flatten_all()?.to_vec1::<f64>()?);
            }
            Ok(scores)
        })
    }

    fn ablation_kl(&self, experiment: &Experiment, model: &TextModel, watch: &mut Watch) -> Result<Results> {
        if !experiment.metrics.is_empty() {
            return Err(Error::Unused {
                method: "importance by ablation",
                what: "metrics: it measures kl_mean",
            });
        }
        let at = microtome_model::Positions::All;
        let ablate = Ablate { targets: self.of.targets(), with: Replacement::Zero, at, clamp: None };
        let metrics = vec![MetricId::named(Measure::AblationKl.metric())?];
        let sweep = Experiment { metrics, method: Method::Ablate(ablate.clone()), ..experiment.clone() };
        ablate.run(&sweep, model, watch)
    }

    /// One prompt after the other, and the mean over those that were finished.
    fn measured(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
        numbers: Numbers,
        scores_of: impl Fn(&Case) -> Result<Vec<f64>>,
    ) -> Result<Results> {
        let cases = experiment.cases(model)?;
        let mut by_prompt: Vec<Vec<f64>> = Vec::new();
        for case in &cases {
            (watch.progress)(by_prompt.len(), cases.len());
            if watch.cancel.load(Ordering::Relaxed) {
                break;
            }
            let scores = scores_of(case)?;
            if scores.iter().any(|score| !score.is_finite()) {
                return Err(Error::NotFinite { what: "the run".to_owned() });
            }
            by_prompt.push(scores);
        }
        let finished = by_prompt.len();
        if finished == 0 {
            return Err(Error::StoppedEarly);
        }
        (watch.progress)(finished, cases.len());
        let (values, spread) = over_prompts(&by_prompt, experiment.seed);
        let table = Table {
            metric: self.by.metric().to_owned(),
            quantity: Quantity::Value,
            title: numbers.title,
            unit: numbers.unit,
            baseline: numbers.what.clone(),
            basis: numbers.basis,
            axes: self.axes(model),
            values: values.into_iter().map(Some).collect(),
            spread: spread.into_iter().map(Some).collect(),
        };
        let mut notes = vec![numbers.what];
        notes.extend(sweep::prompts_note(finished, experiment));
        let report = |case| sweep::report(model, case, None, &[], &[]);
        Ok(Results {
            prompts: cases[..finished].iter().map(report).collect(),
            tables: vec![table],
            notes,
            runs: finished,
            runs_wanted: cases.len(),
            ..Default::default()
        })
    }

    fn axes(&self, model: &TextModel) -> Vec<Axis> {
        let config = model.config();
        match self.of {
            Parts::Heads => {
                vec![sweep::layer_axis("L", 0..config.n_layers), sweep::head_axis(config.n_heads)]
            }
            Parts::Mlps => vec![sweep::layer_axis("m", 0..config.n_layers)],
        }
    }
}

fn hooks(site: Site, model: &TextModel) -> Vec<Hook> {
    (0..model.config().n_layers).map(|layer| site.at(layer)).collect()
}

/// Which entries of a pattern are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entries {
    /// Where the query sees the key.
    Seen,
    All,
}

/// The mean of `|x|` over entries of `[query, key]`.
fn mean_size(rows: &[Vec<f64>], over: Entries) -> f64 {
    let counted = |(query, row): (usize, &Vec<f64>)| match over {
        Entries::Seen => query + 1,
        Entries::All => row.len(),
    };
    let count: usize = rows.iter().enumerate().map(counted).sum();
    let entries = rows.iter().enumerate().flat_map(|(query, row)| &row[..counted((query, row))]);
    entries.map(|x| x.abs()).sum::<f64>() / count as f64
}

/// What the numbers are.
struct Numbers {
    title: String,
    unit: String,
    basis: Basis,
    /// In words.
    what: String,
}
