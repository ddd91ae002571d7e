//! What a component does at a prompt, in tokens: those whose logits its output raises and lowers most, at one position.
//!
//! Its output there, through the final LayerNorm with its scale as it is in the run, times `W_U`, less the mean over the vocabulary, on
//! which no probability depends: direct logit attribution for every token at once. What later layers make of the output is
//! left out.

use std::sync::atomic::Ordering;

use microtome_model::{Hook, Positions, RunOptions, Site, Tensor, as_f64};
use serde::{Deserialize, Serialize};

use super::circuit_weights::{Embedding, Size, TokensRead, about_weights};
use super::head_circuit::TokenValue;
use super::sweep;
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Watch};
use crate::record::{Results, TokenLabel};
use crate::text_model::TextModel;

/// Components asked what tokens they promote at a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PromotedTokens {
    /// Heads, attention layers, MLPs or neurons.
    pub components: Vec<Component>,
    /// How many tokens are given that each raises, and that it lowers, most; 10 where left out, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
}

/// What one component promotes at one prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Promotion {
    /// The component.
    pub component: Component,
    /// Which prompt, counted from 0.
    pub prompt: usize,
    /// The position it is read at.
    pub position: usize,
    /// L2 norm of its output there.
    pub norm: f64,
    /// Tokens whose logits it raises most.
    pub promoted: Vec<TokenValue>,
    /// Tokens whose logits it lowers most.
    pub suppressed: Vec<TokenValue>,
}

/// Tokens given where nobody says how many.
pub(crate) const TOKENS: usize = 10;
/// Most tokens.
const MOST_TOKENS: usize = 1000;

/// How many tokens are given at either end.
///
/// # Errors
/// [`Error::OutOfRange`] for none, or more than 1000.
pub(crate) fn tokens_given(asked: Option<usize>) -> Result<usize> {
    let tokens = asked.unwrap_or(TOKENS);
    match (1..=MOST_TOKENS).contains(&tokens) {
        true => Ok(tokens),
        false => {
            let (name, value) = ("the number of tokens", tokens as f64);
            Err(Error::OutOfRange { name, value, expected: "1 to 1000" })
        }
    }
}

impl PromotedTokens {
    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let what = "metrics: it gives tokens with their logits";
        Error::refuse_unused("promoted tokens", &[(!experiment.metrics.is_empty(), what)])?;
        let count = tokens_given(self.tokens)?;
        if self.components.is_empty() {
            return Err(Error::Missing {
                what: "a component",
                hint: "name at least one, for example 2.1 or m3",
            });
        }
        self.components.iter().try_for_each(|component| component.check(model.config()))?;
        let cases = experiment.cases(model)?;
        let (mut promotions, mut prompts) = (Vec::new(), Vec::new());
        (watch.progress)(0, cases.len());
        for (prompt, case) in cases.iter().enumerate() {
            if watch.cancel.load(Ordering::Relaxed) {
                break;
            }
            let position = experiment.read_at.unwrap_or(case.clean.ids.len() - 1);
            promotions.extend(self.of_prompt(model, prompt, &case.clean.ids, position, count)?);
            prompts.push(sweep::report(model, case, None, &[], &[]));
            (watch.progress)(prompts.len(), cases.len());
        }
        if promotions.is_empty() {
            return Err(Error::StoppedEarly);
        }
        let (runs, runs_wanted) = (prompts.len(), cases.len());
        let at = match experiment.read_at {
            Some(position) => format!("position {position}"),
            None => "the last position".to_owned(),
        };
        let notes = vec![
            format!(
                "output at {at} through the final LayerNorm, its scale as in the run, times W_U, less the mean over the vocabulary; \
                 in logits"
            ),
            about_weights(model.model()).to_owned(),
        ];
        Ok(Results { promotions, prompts, notes, runs, runs_wanted, ..Default::default() })
    }

    fn of_prompt(
        &self,
        model: &TextModel,
        prompt: usize,
        ids: &[u32],
        position: usize,
        count: usize,
    ) -> Result<Vec<Promotion>> {
        let keep = Positions::At(vec![position]);
        keep.resolve(ids.len())?;
        let has_norm = model.config().norm.is_some();
        let mut reads: Vec<Hook> = self.components.iter().map(|&component| hook_of(component)).collect();
        if has_norm {
            reads.push(Site::LnFinalScale.at(0));
        }
        reads.sort_by_key(|hook| (hook.layer, hook.to_string()));
        reads.dedup();
        let options = RunOptions { reads, logits: keep.clone(), keep, ..Default::default() };
        let run = model.model().run(ids, &options)?;
        let scale = match has_norm {
            true => as_f64(run.cache.get(Site::LnFinalScale.at(0))?)?.flatten_all()?.to_vec1::<f64>()?[0],
            false => 1.0,
        };
        let of = |&component: &Component| -> Result<Promotion> {
            let row = output(component, run.cache.get(hook_of(component))?, model)?; // [1, d_model]
            let norm = as_f64(&row)?.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
            let logits: Vec<f64> = logits(model, &row)?.into_iter().map(|logit| logit / scale).collect();
            let (promoted, suppressed) = ends(model, &logits, count);
            Ok(Promotion { component, prompt, position, norm, promoted, suppressed })
        };
        self.components.iter().map(of).collect()
    }
}

fn hook_of(component: Component) -> Hook {
    match component {
        Component::Head { layer, .. } => Site::Result.at(layer),
        Component::Attention { layer } => Site::AttnOut.at(layer),
        Component::Mlp { layer } => Site::MlpOut.at(layer),
        Component::Neuron { layer, .. } => Site::MlpPost.at(layer),
    }
}

/// What a component writes, `[1, d_model]`, from its hook's value at one position.
fn output(component: Component, value: &Tensor, model: &TextModel) -> Result<Tensor> {
    match component {
        Component::Head { head, .. } => Ok(value.narrow(1, head, 1)?.squeeze(1)?.contiguous()?),
        Component::Attention { .. } | Component::Mlp { .. } => Ok(value.clone()),
        Component::Neuron { layer, neuron } => {
            let active = value.narrow(1, neuron, 1)?; // [1, 1]
            let row = neuron_output(model, layer, neuron)?;
            Ok(row.broadcast_mul(&active)?)
        }
    }
}

/// The row of `W_out` that a neuron writes, `[1, d_model]`.
pub(crate) fn neuron_output(model: &TextModel, layer: usize, neuron: usize) -> Result<Tensor> {
    let missing = || Error::NotANeuron { text: Component::Neuron { layer, neuron }.to_string() };
    let mlp = model.model().weights().blocks[layer].mlp.as_ref().ok_or_else(missing)?;
    Ok(mlp.output.columns(0..mlp.output.d_out())?.narrow(0, neuron, 1)?.contiguous()?)
}

/// A row of the stream, `[1, d_model]`, as logits before the final LayerNorm divides by its scale.
pub(crate) fn logits(model: &TextModel, row: &Tensor) -> Result<Vec<f64>> {
    let read =
        TokensRead { model: model.model(), embedding: Embedding::Embed, size: Size::LayerNorm, layer: 0 };
    Ok(as_f64(&read.written(row)?)?.flatten_all()?.to_vec1()?)
}

/// The tokens with the largest logits and those with the smallest, `count` of each, less the mean over the vocabulary.
pub(crate) fn ends(model: &TextModel, logits: &[f64], count: usize) -> (Vec<TokenValue>, Vec<TokenValue>) {
    let mean = logits.iter().sum::<f64>() / logits.len() as f64;
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let first = |order: &[u32]| -> Vec<TokenValue> {
        let value = |&id: &u32| TokenValue {
            token: TokenLabel { id, token: model.label(id) },
            value: logits[id as usize] - mean,
        };
        order.iter().take(count).map(value).collect()
    };
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
    let promoted = first(&order);
    order.sort_by(|&a, &b| logits[a as usize].total_cmp(&logits[b as usize]).then(a.cmp(&b)));
    (promoted, first(&order))
}
