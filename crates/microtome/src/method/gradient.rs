//! Derivatives of a metric at any hook.

use microtome_model::{Change, Device, Edit, Gradients, Hook, Tensor, Value, with_rows};

use crate::error::{Error, Result};
use crate::experiment::Experiment;
use crate::measure::{Meter, Subject};
use crate::metric::{Compares, MetricId, Needs};
use crate::text_model::TextModel;

/// A metric's value and its derivatives.
#[derive(Debug, Clone)]
pub struct MetricGradients {
    /// The metric.
    pub value: f64,
    /// Activations and derivatives at the hooks asked for.
    pub at: Gradients,
}

/// What a derivative is taken of.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a> {
    /// The metric.
    pub metric: MetricId,
    /// The position it is read at; the last where `None`.
    pub read_at: Option<usize>,
    /// Ids of the right answers.
    pub answers: &'a [u32],
    /// Ids of the wrong answers.
    pub wrong: &'a [u32],
}

/// Runs a prompt, with edits, and takes the derivatives of a metric at `hooks`. Metrics that compare
/// with the unedited run compare with this run itself.
///
/// # Errors
/// [`Error::NoDerivative`] for a metric that counts; [`Error::MissingTokens`] where it needs answers that
/// are not given; what the run refuses.
pub fn metric_gradients(
    model: &TextModel,
    tokens: &[u32],
    edits: &[Edit],
    hooks: &[Hook],
    of: Of,
) -> Result<MetricGradients> {
    let subject = Subject {
        tokens: tokens.to_vec(),
        answers: of.answers.to_vec(),
        wrong: of.wrong.to_vec(),
        clamp: None,
    };
    if let Some(pos) = of.read_at {
        microtome_model::Positions::At(vec![pos]).resolve(tokens.len())?;
    }
    for ids in [of.answers, of.wrong].into_iter().filter(|ids| !ids.is_empty()) {
        ids.iter().try_for_each(|&id| model.model().check_tokens(&[id]))?;
    }
    let (metric, example) = (of.metric.name(), "their token ids");
    match of.metric.needs() {
        Needs::Answers | Needs::Both if of.answers.is_empty() => {
            return Err(Error::MissingTokens { metric, what: "right answers", example });
        }
        Needs::Both if of.wrong.is_empty() => {
            return Err(Error::MissingTokens { metric, what: "wrong answers", example });
        }
        _ => {}
    }
    let meter = Meter { metrics: vec![of.metric], read_at: of.read_at };
    let mut value = 0.0;
    let at = model.model().gradients(tokens, edits, hooks, &meter.read(), |logits| -> Result<Tensor> {
        let shape = logits.dims2().map_err(microtome_model::Error::from)?;
        let (measured, gradient) = with_rows(logits, |rows| meter.derivative(&subject, rows))??;
        value = measured;
        Tensor::from_vec(gradient, shape, &Device::Cpu).map_err(|source| Error::Model(source.into()))
    })?;
    Ok(MetricGradients { value, at })
}

/// The one metric whose derivatives an experiment asks for: the one named, or the first that the answers allow.
///
/// # Errors
/// [`Error::FlatMetric`] for one whose derivative is 0 everywhere; as [`single_metric`].
pub(crate) fn one_metric(experiment: &Experiment, method: &'static str) -> Result<MetricId> {
    let metric = single_metric(experiment, method)?;
    match metric.compares() {
        Compares::Nothing => Ok(metric),
        Compares::Original => Err(Error::FlatMetric { metric: metric.name() }),
    }
}

/// The one metric that an experiment is about: the one named, or the first that the answers allow.
///
/// # Errors
/// [`Error::Unused`] where several are named.
pub(crate) fn single_metric(experiment: &Experiment, method: &'static str) -> Result<MetricId> {
    match experiment.metrics()?[..] {
        [first, ..] if experiment.metrics.len() <= 1 => Ok(first),
        _ => Err(Error::Unused { method, what: "more than one metric" }),
    }
}

/// Most steps of integrated gradients there may be.
pub const MOST_STEPS: usize = 1000;

pub(crate) fn check_steps(steps: usize) -> Result<()> {
    match steps {
        1..=MOST_STEPS => Ok(()),
        _ => Err(Error::OutOfRange { name: "steps", value: steps as f64, expected: "1 to 1000" }),
    }
}

/// How far the middle of a step of integrated gradients is along the way, 0 to 1.
pub(crate) fn midpoint(step: usize, steps: usize) -> f64 {
    (step as f64 + 0.5) / steps as f64
}

/// An activation moved by a share of a difference.
pub(crate) fn moved(hook: Hook, difference: &Tensor, share: f64) -> Result<Edit> {
    Ok(Edit::new(hook, Change::Add(Value::Tensor((difference * share)?))))
}
