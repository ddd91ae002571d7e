//! Derivatives of a metric at any hook.

use microtome_model::{Device, Edit, Gradients, Hook, Tensor, with_rows};

use crate::error::{Error, Result};
use crate::measure::{Meter, Subject};
use crate::metric::{MetricId, Needs};
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
