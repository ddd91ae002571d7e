//! The neurons of one layer or several that are most active at a position, or that write most towards the answer.
//!
//! Both numbers are given of each: its activation (`mlp.hook_post`) and, where prompts have answers, its share in direct
//! logit attribution. Ranked by absolute value; over several prompts, by that of the mean.

use std::sync::atomic::Ordering;

use microtome_model::{Hook, Positions, RunOptions, Site, as_f64};
use serde::{Deserialize, Serialize};

use super::attribution::Attribution;
use super::neuron::ACTIVATION;
use super::sweep;
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Watch};
use crate::record::{Axis, Basis, Quantity, Results, Table};
use crate::stats::{Spread, over_prompts};
use crate::text_model::TextModel;

/// The strongest neurons, asked for as an experiment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StrongestNeurons {
    /// Layers looked through; all where left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<usize>,
    /// What they are ranked by.
    #[serde(default)]
    pub by: RankedBy,
    /// How many are given; 20 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
}

/// What neurons are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RankedBy {
    /// Their activation.
    #[default]
    Activation,
    /// What they write, by themselves, towards the logit of the answer, or the logit difference.
    DirectAttribution,
}

/// Neurons given where nobody says how many.
const TOP: usize = 20;
/// The table of shares, as direct attribution calls it.
const SHARE: &str = "direct_neurons";

/// One number of every neuron, its mean over prompts.
struct Ranked {
    values: Vec<f64>,
    spread: Vec<Spread>,
}

impl StrongestNeurons {
    /// The metrics its tables are of, the one they are ranked by first.
    pub(crate) fn metrics(&self, experiment: &Experiment) -> Vec<&'static str> {
        match self.by {
            RankedBy::DirectAttribution => vec![SHARE, ACTIVATION],
            RankedBy::Activation if answered(experiment) => vec![ACTIVATION, SHARE],
            RankedBy::Activation => vec![ACTIVATION],
        }
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        Error::refuse_unused("the strongest neurons", &[(!experiment.metrics.is_empty(), "metrics")])?;
        let config = model.config();
        let layers: Vec<usize> = match self.layers.is_empty() {
            true => (0..config.n_layers).collect(),
            false => self.layers.clone(),
        };
        for (i, &layer) in layers.iter().enumerate() {
            Component::Neuron { layer, neuron: 0 }.check(config)?;
            if layers[..i].contains(&layer) {
                let component = Component::Mlp { layer }.to_string();
                return Err(Error::NamedTwice { component, place: i + 1 });
            }
        }
        let top = self.top.unwrap_or(TOP);
        if top == 0 {
            let (name, value) = ("the number of neurons", 0.0);
            return Err(Error::OutOfRange { name, value, expected: "1 or more" });
        }
        let hooks: Vec<Hook> = layers.iter().map(|&layer| Site::MlpPost.at(layer)).collect();
        let cases = experiment.cases(model)?;
        let mut active: Vec<Vec<f64>> = Vec::new();
        for case in &cases {
            (watch.progress)(active.len(), cases.len());
            if watch.cancel.load(Ordering::Relaxed) {
                break;
            }
            let keep = experiment.read_at.map_or(Positions::Last, |pos| Positions::At(vec![pos]));
            let stop_at_layer = layers.iter().max().map(|layer| layer + 1);
            let options = RunOptions { reads: hooks.clone(), keep, stop_at_layer, ..Default::default() };
            let run = model.model().run(&case.clean.ids, &options)?;
            let row = |hook: &Hook| -> Result<Vec<f64>> {
                Ok(as_f64(run.cache.get(*hook)?)?.flatten_all()?.to_vec1()?)
            };
            active.push(hooks.iter().map(row).collect::<Result<Vec<_>>>()?.concat());
        }
        let finished = active.len();
        if finished == 0 {
            return Err(Error::StoppedEarly);
        }
        let (values, spread) = over_prompts(&active, experiment.seed);
        let activation = Ranked { values, spread };
        let share = match self.by == RankedBy::DirectAttribution || answered(experiment) {
            true => Some(shares(experiment, finished, &layers, model, watch)?),
            false => None,
        };
        let ranking = match (self.by, &share) {
            (RankedBy::DirectAttribution, Some(share)) => &share.values,
            _ => &activation.values,
        };
        let mut order: Vec<usize> = (0..ranking.len()).collect();
        order.sort_by(|&a, &b| ranking[b].abs().total_cmp(&ranking[a].abs()).then(a.cmp(&b)));
        order.truncate(top);
        let position = match experiment.read_at {
            Some(pos) => format!("position {pos}"),
            None => "the last position".to_owned(),
        };
        let d_mlp = config.d_mlp();
        let name = |&i: &usize| Component::Neuron { layer: layers[i / d_mlp], neuron: i % d_mlp }.to_string();
        let axis = Axis { name: "neuron".to_owned(), labels: order.iter().map(name).collect() };
        let table = |metric: &str, quantity, [title, unit, baseline]: [&str; 3], of: &Ranked| Table {
            metric: metric.to_owned(),
            quantity,
            title: format!("{title} at {position}"),
            unit: unit.to_owned(),
            baseline: baseline.to_owned(),
            basis: Basis::Exact,
            axes: vec![axis.clone()],
            values: order.iter().map(|&i| Some(of.values[i])).collect(),
            spread: order.iter().filter_map(|&i| of.spread.get(i).copied().map(Some)).collect(),
        };
        let active = ["Activation", "activation", "after the nonlinearity; 0 = the neuron writes nothing"];
        let mut tables = vec![table(ACTIVATION, Quantity::Value, active, &activation)];
        if let Some(share) = &share {
            let shares = ["Share of the answer's logit", "logits", "0 = writes nothing towards the answer"];
            tables.push(table(SHARE, Quantity::Change, shares, share));
        }
        let by = match self.by {
            RankedBy::Activation => "activation",
            RankedBy::DirectAttribution => {
                tables.reverse();
                "direct attribution"
            }
        };
        let names: Vec<String> = layers.iter().map(usize::to_string).collect();
        let mut notes = vec![format!(
            "the {} strongest of {} neurons by |{by}| at {position}, layers {}",
            order.len(),
            ranking.len(),
            names.join(", ")
        )];
        notes.extend(sweep::prompts_note(finished, experiment));
        (watch.progress)(finished, cases.len());
        Ok(Results {
            prompts: cases[..finished]
                .iter()
                .map(|case| sweep::report(model, case, None, &[], &[]))
                .collect(),
            tables,
            notes,
            runs: finished,
            runs_wanted: cases.len(),
            ..Default::default()
        })
    }
}

/// Whether every prompt has a right answer.
fn answered(experiment: &Experiment) -> bool {
    experiment.prompts.iter().all(|prompt| !prompt.answers.is_empty())
}

/// Every neuron's share in direct attribution, over the first prompts.
fn shares(
    experiment: &Experiment,
    n_prompts: usize,
    layers: &[usize],
    model: &TextModel,
    watch: &Watch,
) -> Result<Ranked> {
    let attribution = Attribution { neurons: layers.to_vec(), ..Default::default() };
    let prompts = experiment.prompts[..n_prompts].to_vec();
    let asked = Experiment { prompts, ..experiment.clone() };
    let mut quiet = Watch {
        cancel: watch.cancel,
        progress: &mut |_, _| {},
        partial: None,
        memory_budget: watch.memory_budget,
    };
    let found = attribution.run(&asked, model, &mut quiet)?;
    let table = found.tables.iter().find(|table| table.metric == SHARE);
    if found.runs < n_prompts {
        return Err(Error::StoppedEarly);
    }
    let Some(table) = table else { return Err(Error::StoppedEarly) };
    // The last of each layer is the bias, which no neuron writes.
    let d_mlp = model.config().d_mlp();
    let is_neuron = |i: &usize| i % (d_mlp + 1) < d_mlp;
    let kept = (0..table.values.len()).filter(is_neuron);
    let values = kept.clone().map(|i| table.values[i].unwrap_or(f64::NAN)).collect();
    let spread = kept.filter_map(|i| table.spread.get(i).copied().flatten()).collect();
    Ok(Ranked { values, spread })
}
