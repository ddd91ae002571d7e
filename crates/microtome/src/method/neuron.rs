//! One neuron: when it is active in prompts, which tokens its output raises, and what is lost without it.
//!
//! - Activation: `mlp.hook_post` at every position.
//! - Written: `W_out[neuron] W_U`, in logits per unit of activation, before the final LayerNorm divides by its scale, less
//!   the mean over the vocabulary, on which no probability depends. Folded weights have the final LayerNorm's gain in `W_U`;
//!   with raw ones the row is centred and multiplied by the gain first, so that both give the same tokens.
//! - Ablation: the activation set to 0, and to its mean over reference prompts, at all positions; measured by running it.
//!
//! Left out: which tokens turn it on by the weights alone; a corpus says that better.

use microtome_model::{Change, Edit, Site, as_f64};
use serde::{Deserialize, Serialize};

use super::change::{Per, Replacement, Sources, activations};
use super::circuit_weights::about_weights;
use super::clamp::one_neuron;
use super::head_circuit::TokenValue;
use super::promoted_tokens::{ends, logits, neuron_output, tokens_given};
use super::sweep::{self, Captions, Cells, Swept};
use crate::component::Component;
use crate::error::Result;
use crate::experiment::{Case, Experiment, Watch};
use crate::record::{Axis, Basis, Quantity, Results, Table};
use crate::text_model::{Text, TextModel};

/// One neuron, asked about as an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NeuronProfile {
    /// Which neuron.
    pub neuron: Component,
    /// How many tokens are given that it raises, and that it lowers, most; 10 where left out, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
    /// Reference prompts of the mean it is ablated to; the experiment's own where left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reference: Vec<Text>,
}

/// What was found of a neuron.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NeuronReport {
    /// Which neuron.
    pub neuron: Component,
    /// By prompt: its activation at every position.
    pub activations: Vec<Vec<f64>>,
    /// What it was set to where it was set to its mean.
    pub mean: f64,
    /// Tokens whose logits it raises most, in logits per unit of activation.
    pub promoted: Vec<TokenValue>,
    /// Tokens whose logits it lowers most.
    pub suppressed: Vec<TokenValue>,
    /// L2 norm of its column of `W_in`.
    pub input_norm: f64,
    /// L2 norm of its row of `W_out`.
    pub output_norm: f64,
    /// Cosine of the two; left out where one is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f64>,
}

/// The table of activations.
pub(crate) const ACTIVATION: &str = "neuron_activation";
/// Runs of each prompt: set to 0, and to the mean.
pub(crate) const RUNS: usize = 2;

impl NeuronProfile {
    /// The metrics its tables are of, given those that are measured.
    pub(crate) fn metrics(n_prompts: usize, measured: Vec<&'static str>) -> Vec<&'static str> {
        (n_prompts == 1).then_some(ACTIVATION).into_iter().chain(measured).collect()
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let (layer, neuron) = one_neuron(self.neuron, model.config())?;
        let n_tokens = tokens_given(self.tokens)?;
        let hook = Site::MlpPost.at(layer);
        let cases = experiment.cases(model)?;
        let with = Replacement::Mean { reference: self.reference.clone(), per: Per::Overall };
        let means = Sources::shared(&with, experiment, model, &[hook])?;
        let labels = ["zero", "mean"].map(str::to_owned).to_vec();
        let captions = Captions {
            axes: vec![Axis { name: "replacement".to_owned(), labels }],
            done: format!("when {} is replaced at all positions", self.neuron),
        };
        let tables = |swept: &Swept| sweep::change_tables(swept, &captions, experiment.seed);
        let replaced = |change| vec![Edit::new(hook, change).units([neuron])];
        let to_mean = means.change(&with, hook, experiment.seed);
        let mut active: Vec<Vec<f64>> = Vec::new();
        let swept = sweep::run(experiment, model, watch, RUNS, &tables, |prompt| {
            let case = &cases[prompt];
            active.push(column(&activations(model.model(), &case.clean.ids, &[hook])?[&hook], neuron)?);
            let edits = vec![replaced(Change::Zero), replaced(to_mean.clone())];
            Ok(Cells::of(case.subject(&case.clean), edits))
        })?;
        let finished = swept.bases.len();
        active.truncate(finished);
        let mean = match &to_mean {
            Change::Set(microtome_model::Value::Tensor(mean)) => as_f64(&mean.get(neuron)?)?.to_scalar()?,
            _ => 0.0,
        };
        let written = logits(model, &neuron_output(model, layer, neuron)?)?;
        let (promoted, suppressed) = ends(model, &written, n_tokens);
        let (into, out) = directions(model, layer, neuron)?;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (input_norm, output_norm) = (dot(&into, &into).sqrt(), dot(&out, &out).sqrt());
        let sizes = input_norm * output_norm;
        let report = NeuronReport {
            neuron: self.neuron,
            activations: active,
            mean,
            promoted,
            suppressed,
            input_norm,
            output_norm,
            cosine: (sizes > 0.0).then(|| dot(&into, &out) / sizes),
        };
        let report_of = |(case, base): (&Case, _)| {
            sweep::report(model, case, None, &swept.metrics, &[("clean", Some(base))])
        };
        let prompts = cases.iter().zip(&swept.bases).map(report_of).collect();
        let mut all = match &cases[..] {
            [case] => vec![self.activation_table(case, &report.activations[0])],
            _ => vec![],
        };
        all.extend(tables(&swept));
        let notes = vec![
            format!("{}: its activation after the nonlinearity, mlp.hook_post", self.neuron),
            "tokens: W_out W_U, logits per unit of activation before the final LayerNorm divides by its scale, less the mean \
             over the vocabulary"
                .to_owned(),
            format!("ablated at all positions: set to 0, and {}", with.describe(experiment)),
            about_weights(model.model()).to_owned(),
        ];
        Ok(Results { neuron: Some(report), ..swept.results(experiment, prompts, all, notes) })
    }

    fn activation_table(&self, case: &Case, values: &[f64]) -> Table {
        Table {
            metric: ACTIVATION.to_owned(),
            quantity: Quantity::Value,
            title: format!("Activation of {}", self.neuron),
            unit: "activation".to_owned(),
            baseline: "after the nonlinearity; 0 = the neuron writes nothing".to_owned(),
            basis: Basis::Exact,
            axes: vec![sweep::position_axis(&case.clean)],
            values: values.iter().copied().map(Some).collect(),
            spread: vec![],
        }
    }
}

/// One unit of an activation `[pos, units]`, by position.
fn column(rows: &microtome_model::Tensor, unit: usize) -> Result<Vec<f64>> {
    Ok(as_f64(&rows.narrow(1, unit, 1)?)?.flatten_all()?.to_vec1()?)
}

/// The column of `W_in` that a neuron reads by and the row of `W_out` that it writes.
fn directions(model: &TextModel, layer: usize, neuron: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let Some(mlp) = &model.model().weights().blocks[layer].mlp else { return Ok((vec![], vec![])) };
    let into = as_f64(&mlp.input.columns(neuron..neuron + 1)?)?.flatten_all()?.to_vec1()?;
    let out = mlp.output.columns(0..mlp.output.d_out())?;
    Ok((into, as_f64(&out.get(neuron)?)?.to_vec1()?))
}
