//! Head importance: one number per head for one prompt, by any of three measures.
//!
//! - Gradient: the mean of `|d metric / d pattern|` over the pattern's entries that can be attended to (query at
//!   or after key). The metric is the mean loss of the prompt's own tokens unless one is named. A first-order
//!   estimate of how much the metric hangs on where a head looks.
//! - Output norm: the L2 norm of what a head writes to the residual stream (`result`), mean over positions.
//! - Ablation KL: KL(whole || head set to 0), nats, mean over positions; measured by running it.

use microtome_model::{DType, RunOptions, Site};
use serde::{Deserialize, Serialize};

use super::ablate::{Ablate, Targets};
use super::change::Replacement;
use super::gradient::{Of, metric_gradients};
use super::sweep;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Method, Watch};
use crate::metric::MetricId;
use crate::record::{Basis, Quantity, Results, Table};
use crate::text_model::TextModel;

/// A number for every head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Importance {
    /// Which number.
    pub by: Measure,
}

/// What a head's importance is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The metric's derivative in the attention pattern.
    #[default]
    Gradient,
    /// The size of what the head writes.
    OutputNorm,
    /// How far the prediction moves without it.
    AblationKl,
}

impl Measure {
    /// The metric its table is of.
    pub fn metric(self) -> &'static str {
        match self {
            Measure::Gradient => "importance_gradient",
            Measure::OutputNorm => "importance_output_norm",
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
        if experiment.prompts.len() > 1 {
            return Err(Error::Unused { method: "importance", what: "more than one prompt" });
        }
        match self.by {
            Measure::Gradient => gradient(experiment, model),
            Measure::OutputNorm => output_norm(experiment, model),
            Measure::AblationKl => ablation_kl(experiment, model, watch),
        }
    }
}

fn gradient(experiment: &Experiment, model: &TextModel) -> Result<Results> {
    let metric = match &experiment.metrics[..] {
        [] => MetricId::named("loss")?,
        [one] => *one,
        _ => return Err(Error::Unused { method: "importance by gradient", what: "more than one metric" }),
    };
    let case = &experiment.cases(model)?[0];
    let hooks: Vec<_> = (0..model.config().n_layers).map(|layer| Site::Pattern.at(layer)).collect();
    let of = Of { metric, read_at: experiment.read_at, answers: &case.answers, wrong: &case.wrong };
    let found = metric_gradients(model, &case.clean.ids, &[], &hooks, of)?;
    let mut scores = Vec::new();
    for &hook in &hooks {
        let slopes = found.at.gradients.get(hook)?.to_dtype(DType::F64)?.to_vec3::<f64>()?; // [head, query, key]
        scores.extend(slopes.iter().map(|head| mean_over_seen(head)));
    }
    let title = format!("Derivative of the {} in each head's pattern, mean size", metric.title());
    let unit =
        format!("{} per unit of attention", if metric.unit().is_empty() { "change" } else { metric.unit() });
    let what = format!(
        "mean |d {} / d pattern| over queries and the keys they see; a first-order estimate",
        metric.name()
    );
    let numbers = Numbers { by: Measure::Gradient, title, unit, basis: Basis::Estimate, scores, runs: 1 };
    results(experiment, model, numbers, what)
}

/// The mean of `|x|` where the query sees the key.
fn mean_over_seen(slopes: &[Vec<f64>]) -> f64 {
    let seen = slopes.iter().enumerate().flat_map(|(query, row)| &row[..=query]);
    let count = slopes.len() * (slopes.len() + 1) / 2;
    seen.map(|x| x.abs()).sum::<f64>() / count as f64
}

fn output_norm(experiment: &Experiment, model: &TextModel) -> Result<Results> {
    let unused = [
        (!experiment.metrics.is_empty(), "metrics"),
        (experiment.read_at.is_some(), "a position to read at: it averages over all"),
    ];
    Error::refuse_unused("importance by output norm", &unused)?;
    let case = &experiment.cases(model)?[0];
    let reads: Vec<_> = (0..model.config().n_layers).map(|layer| Site::Result.at(layer)).collect();
    let logits = microtome_model::Positions::Last;
    let options = RunOptions { reads: reads.clone(), logits, ..Default::default() };
    let run = model.model().run(&case.clean.ids, &options)?;
    let mut scores = Vec::new();
    for &hook in &reads {
        let written = run.cache.get(hook)?.to_dtype(DType::F64)?; // [pos, head, d_model]
        scores.extend(written.sqr()?.sum(2)?.sqrt()?.mean(0)?.to_vec1::<f64>()?);
    }
    let numbers = Numbers {
        by: Measure::OutputNorm,
        title: "Size of what each head writes to the residual stream".to_owned(),
        unit: "L2 norm".to_owned(),
        basis: Basis::Exact,
        scores,
        runs: 1,
    };
    results(experiment, model, numbers, "L2 norm of a head's result, mean over positions".to_owned())
}

fn ablation_kl(experiment: &Experiment, model: &TextModel, watch: &mut Watch) -> Result<Results> {
    if !experiment.metrics.is_empty() {
        return Err(Error::Unused { method: "importance by ablation", what: "metrics: it measures kl_mean" });
    }
    let at = microtome_model::Positions::All;
    let ablate = Ablate { targets: Targets::Heads, with: Replacement::Zero, at, clamp: None };
    let metrics = vec![MetricId::named(Measure::AblationKl.metric())?];
    let sweep = Experiment { metrics, method: Method::Ablate(ablate.clone()), ..experiment.clone() };
    ablate.run(&sweep, model, watch)
}

/// One number per head.
struct Numbers {
    by: Measure,
    title: String,
    unit: String,
    basis: Basis,
    /// Layer after layer.
    scores: Vec<f64>,
    runs: usize,
}

fn results(experiment: &Experiment, model: &TextModel, numbers: Numbers, what: String) -> Result<Results> {
    if numbers.scores.iter().any(|score| !score.is_finite()) {
        return Err(Error::NotFinite { what: "the run".to_owned() });
    }
    let config = model.config();
    let table = Table {
        metric: numbers.by.metric().to_owned(),
        quantity: Quantity::Value,
        title: numbers.title,
        unit: numbers.unit,
        baseline: what.clone(),
        basis: numbers.basis,
        axes: vec![sweep::layer_axis("L", 0..config.n_layers), sweep::head_axis(config.n_heads)],
        values: numbers.scores.into_iter().map(Some).collect(),
        spread: vec![],
    };
    let case = &experiment.cases(model)?[0];
    Ok(Results {
        prompts: vec![sweep::report(model, case, None, &[], &[])],
        tables: vec![table],
        notes: vec![what],
        runs: numbers.runs,
        runs_wanted: numbers.runs,
        ..Default::default()
    })
}
