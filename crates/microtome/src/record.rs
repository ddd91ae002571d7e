//! What an experiment found: tables with their units and baselines, and enough to run it again.

use std::time::Duration;

use microtome_model::{Config, Device, Precision, Processing, device_name};
use serde::{Deserialize, Serialize};

use crate::circuit::factual_recall::Extraction;
use crate::circuit::induction::Feeding;
use crate::circuit::search::FoundCircuit;
use crate::experiment::{Experiment, Method};
use crate::method::feature_attribution::FeatureAttributionReport;
use crate::method::feature_profile::FeatureProfileReport;
use crate::method::feature_sweep::FeatureSweepReport;
use crate::method::features::FeatureReport;
use crate::method::generate::Generation;
use crate::method::head_circuit::HeadReport;
use crate::method::head_roles::RoleTable;
use crate::method::logit_lens::LensReadings;
use crate::method::neuron::NeuronReport;
use crate::method::pairs::Backup;
use crate::method::promoted_tokens::Promotion;
use crate::method::remeasure::Remeasured;
use crate::method::steering::SteeredText;
use crate::method::text_scan::TextScanReport;
use crate::stats::{Spread, mean};
use crate::text_model::{About, TextModel, Tokens};

/// An experiment with its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Record {
    /// The question.
    pub experiment: Experiment,
    /// The answer.
    pub results: Results,
    /// The model it was asked of.
    pub model: ModelReport,
    /// Version of microtome.
    pub version: String,
    /// Seconds the runs took, loading left out.
    pub elapsed_secs: f64,
}

/// The model an answer is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelReport {
    /// Where it came from.
    pub about: About,
    /// How its weights were processed.
    pub weights: Processing,
    /// How the numbers of its matrices were kept; f32 where left out.
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// Where it computed: `cpu`, `cuda:0`, `metal`.
    #[serde(default = "cpu")]
    pub device: String,
    /// Its sizes.
    pub config: Config,
    /// What stands in front of text.
    pub bos: String,
}

/// Where records computed that do not say so.
fn cpu() -> String {
    device_name(&Device::Cpu)
}

/// Everything a method found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Results {
    /// The prompts in tokens, with the numbers of their unedited runs.
    pub prompts: Vec<PromptReport>,
    /// One table per metric and quantity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Table>,
    /// Generated text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Texts written with a direction added, one for each strength.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steered: Vec<SteeredText>,
    /// What every layer would say at every position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lens: Option<LensReadings>,
    /// The same of the corrupt prompt, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt_lens: Option<LensReadings>,
    /// Which heads play which role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<RoleTable>,
    /// The circuits of a head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_circuit: Option<HeadReport>,
    /// What a neuron does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neuron: Option<NeuronReport>,
    /// Neurons over a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_scan: Option<TextScanReport>,
    /// Components that stand in for others, the one that helps most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backups: Vec<Backup>,
    /// Heads that feed the keys of induction heads, the one that matters most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feedings: Vec<Feeding>,
    /// Estimates that were measured too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remeasured: Option<Remeasured>,
    /// Tokens that components promote, by prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promotions: Vec<Promotion>,
    /// Features of a sparse autoencoder, and how well it stands for the activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<FeatureReport>,
    /// A feature by the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<FeatureProfileReport>,
    /// What a sweep over features changed, in the order of its tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_sweep: Option<FeatureSweepReport>,
    /// What was attributed to features, in the order of its table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_attribution: Option<FeatureAttributionReport>,
    /// Heads that bring a fact to the last position, the one with which most is lost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extractions: Vec<Extraction>,
    /// Circuits that were found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub circuits: Vec<FoundCircuit>,
    /// What was done, where, and against which baseline, in words; and what a reader must know.
    pub notes: Vec<String>,
    /// Edited runs finished.
    pub runs: usize,
    /// Edited runs asked for; more than `runs` where the experiment was stopped.
    pub runs_wanted: usize,
}

/// One prompt and its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PromptReport {
    /// The prompt.
    pub clean: Tokens,
    /// The other prompt of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<Tokens>,
    /// Right answers.
    pub answers: Vec<TokenLabel>,
    /// Wrong answers.
    pub wrong_answers: Vec<TokenLabel>,
    /// Whole runs: `clean`, `corrupt`, `ablated`, `patched`, `edited`.
    pub runs: Vec<RunReport>,
}

/// A token with what it is shown as.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenLabel {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub token: String,
}

/// The numbers of one whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunReport {
    /// Which run.
    pub name: String,
    /// Value of each metric.
    pub metrics: Vec<MetricValue>,
    /// The ten most probable next tokens, most probable first.
    pub top: Vec<TokenProb>,
}

/// A metric's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MetricValue {
    /// Name of the metric.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: String,
}

/// A token with its probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenProb {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub token: String,
    /// Its probability.
    pub prob: f64,
}

/// Which number of a metric a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// The metric of the edited run.
    Value,
    /// Edited minus original.
    Change,
    /// `(patched - corrupt) / (clean - corrupt)`.
    Recovery,
    /// Effect of two edits together minus the sum of their effects one by one.
    Interaction,
}

impl Quantity {
    /// Its name in files: `value`, `change`, `recovery`, `interaction`.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Value => "value",
            Quantity::Change => "change",
            Quantity::Recovery => "recovery",
            Quantity::Interaction => "interaction",
        }
    }
}

/// Whether a table was measured by intervening or estimated by a derivative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Measured: the edited model was run.
    Exact,
    /// First-order estimate.
    Estimate,
}

/// Numbers over one, two or three axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Table {
    /// Name of the metric.
    pub metric: String,
    /// Which number of it.
    pub quantity: Quantity,
    /// What a reader calls it.
    pub title: String,
    /// The unit.
    pub unit: String,
    /// What 0 (or 1) means.
    pub baseline: String,
    /// Measured or estimated.
    pub basis: Basis,
    /// The axes, slowest first.
    pub axes: Vec<Axis>,
    /// One value per cell, last axis fastest; `null` where not finished or not defined. Over several
    /// prompts: of the mean.
    pub values: Vec<Option<f64>>,
    /// How sure each value is; empty for one prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<Option<Spread>>,
}

/// A table's axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Axis {
    /// `layer`, `head`, `position`, `neuron`.
    pub name: String,
    /// One per step.
    pub labels: Vec<String>,
}

impl Record {
    pub(crate) fn new(
        experiment: Experiment,
        results: Results,
        model: &TextModel,
        elapsed: Duration,
    ) -> Record {
        // These put it in front of their random sequences.
        let prepended = matches!(experiment.method, Method::HeadScores(_) | Method::InductionCircuit(_))
            || results.prompts.iter().any(|p| p.clean.bos_prepended);
        let bos = match (model.bos(), prepended) {
            (Some(id), true) => format!("prepended: {}", model.label(id)),
            (Some(_), false) if experiment.prompts.is_empty() => "not used".to_owned(),
            (Some(_), false) => "not prepended".to_owned(),
            (None, _) => "none".to_owned(),
        };
        Record {
            experiment,
            results,
            model: ModelReport {
                about: model.about().clone(),
                weights: model.model().processing(),
                precision: model.model().precision(),
                device: device_name(model.model().device()),
                config: model.config().clone(),
                bos,
            },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            elapsed_secs: elapsed.as_secs_f64(),
        }
    }

    /// The first table of a metric and quantity.
    pub fn table(&self, metric: &str, quantity: Quantity) -> Option<&Table> {
        self.results.tables.iter().find(|table| table.metric == metric && table.quantity == quantity)
    }

    /// Whether everything asked for was finished.
    pub fn is_complete(&self) -> bool {
        self.results.runs == self.results.runs_wanted
    }

    /// Where another record of the same experiment differs: each line names a number and both values. Of
    /// a record that was stopped, what it finished is compared.
    /// Numbers count as equal within `tolerance` of the larger, or of 1 where both are small.
    pub fn differences(&self, other: &Record, tolerance: f64) -> Vec<String> {
        let mut found = Vec::new();
        if self.model.about.weight_hash != other.model.about.weight_hash {
            let (a, b) = (&self.model.about.weight_hash, &other.model.about.weight_hash);
            found.push(format!("weights differ: {a} against {b}"));
        }
        let extent = if self.is_complete() { Extent::Whole } else { Extent::Finished };
        let value = |results: &Results| {
            let mut value = serde_json::to_value(results).expect("results are plain data");
            if extent == Extent::Finished {
                // These tell how far a run came, not what it found.
                if let Some(results) = value.as_object_mut() {
                    results.retain(|key, _| !["runs", "runs_wanted", "notes"].contains(&key.as_str()));
                }
            }
            value
        };
        let comparison = Comparison { extent, tolerance };
        comparison.compare("results", &value(&self.results), &value(&other.results), &mut found);
        found
    }

    /// What a picture of it says under its title: the prompt, the model, the weights.
    pub fn subtitle(&self) -> String {
        const LONGEST: usize = 72;
        let prompt = match &self.results.prompts[..] {
            [] => String::new(),
            [one] => one.clean.labels.concat().replace('\n', "⏎") + " · ",
            many => format!("{} prompts · ", many.len()),
        };
        let over = prompt.chars().count().saturating_sub(LONGEST);
        let prompt = match over {
            0 => prompt,
            _ => std::iter::once('…').chain(prompt.chars().skip(over + 1)).collect(),
        };
        format!("{prompt}{} · {} weights", self.model.about.short_name(), self.model.weights.name())
    }

    /// Of every whole run (`clean`, `corrupt`, ..), the mean of each metric over the prompts.
    pub fn mean_runs(&self) -> Vec<(String, Vec<MetricValue>)> {
        let prompts = &self.results.prompts;
        let Some(first) = prompts.first() else { return vec![] };
        let mean_of = |run: usize, metric: usize| {
            let values = prompts.iter().filter_map(|p| Some(p.runs.get(run)?.metrics.get(metric)?.value));
            mean(&values.collect::<Vec<_>>())
        };
        let run = |(r, run): (usize, &RunReport)| {
            let metrics = run.metrics.iter().enumerate();
            let metrics = metrics.map(|(m, of)| MetricValue { value: mean_of(r, m), ..of.clone() });
            (run.name.clone(), metrics.collect())
        };
        first.runs.iter().enumerate().map(run).collect()
    }
}

/// How much of a record is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All of it.
    Whole,
    /// What it finished before it was stopped.
    Finished,
}

/// How two records are compared.
struct Comparison {
    extent: Extent,
    tolerance: f64,
}

impl Comparison {
    fn compare(&self, path: &str, a: &serde_json::Value, b: &serde_json::Value, found: &mut Vec<String>) {
        use serde_json::Value;
        match (a, b) {
            (Value::Null, _) if self.extent == Extent::Finished => {}
            (Value::Number(x), Value::Number(y)) => {
                let (x, y) = (x.as_f64().unwrap_or(f64::NAN), y.as_f64().unwrap_or(f64::NAN));
                let scale = x.abs().max(y.abs()).max(1.0);
                let apart = (x - y).abs();
                if apart.is_nan() || apart > self.tolerance * scale {
                    found.push(format!("{path}: {x} against {y}"));
                }
            }
            (Value::Array(x), Value::Array(y)) if self.same_length(x, y) => {
                for (i, (x, y)) in x.iter().zip(y).enumerate() {
                    self.compare(&format!("{path}[{i}]"), x, y, found);
                }
            }
            (Value::Object(x), Value::Object(y)) if x.keys().eq(y.keys()) => {
                for (key, x) in x {
                    self.compare(&format!("{path}.{key}"), x, &y[key], found);
                }
            }
            (a, b) if a == b => {}
            (a, b) => found.push(format!("{path}: {a} against {b}")),
        }
    }

    /// A stopped run has fewer prompts, or less text, than a whole one.
    fn same_length(&self, a: &[serde_json::Value], b: &[serde_json::Value]) -> bool {
        a.len() == b.len() || (self.extent == Extent::Finished && a.len() < b.len())
    }
}

impl Table {
    /// The cells with the largest absolute values, largest first, with their labels (`L8H11`).
    pub fn strongest(&self, count: usize) -> Vec<(String, f64, Option<Spread>)> {
        let mut cells: Vec<(usize, f64)> =
            self.values.iter().enumerate().filter_map(|(i, v)| v.map(|v| (i, v))).collect();
        cells.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        cells.truncate(count);
        let spread = |i: usize| self.spread.get(i).copied().flatten();
        cells.into_iter().map(|(i, value)| (self.label(i), value, spread(i))).collect()
    }

    /// What a cell is called: `L8H11`, `m3`, `L5 · Mary@10`.
    pub fn label(&self, cell: usize) -> String {
        let mut rest = cell;
        let mut parts: Vec<(&str, &str)> = Vec::new();
        for axis in self.axes.iter().rev() {
            parts.push((&axis.name, &axis.labels[rest % axis.labels.len()]));
            rest /= axis.labels.len();
        }
        parts.reverse();
        // The component first, then where: `L8H11 Mary@10`, though positions vary slower than heads.
        let is_part = |(name, _): &(&str, &str)| matches!(*name, "layer" | "head" | "neuron");
        let (component, place): (Vec<_>, Vec<_>) = parts.into_iter().partition(is_part);
        let component: String = component.into_iter().map(|(_, text)| text).collect();
        let place = place.into_iter().map(|(_, text)| text.to_owned());
        let named = (!component.is_empty()).then_some(component);
        named.into_iter().chain(place).collect::<Vec<_>>().join(" ")
    }

    /// The first line of its CSV.
    pub fn csv_header(&self) -> Vec<String> {
        let axes = self.axes.iter().map(|axis| axis.name.clone());
        let numbers = ["value", "stderr", "low", "high"].map(str::to_owned);
        let names = ["metric", "quantity", "unit"].map(str::to_owned);
        names.into_iter().chain(axes).chain(numbers).collect()
    }

    /// The table as CSV with its header, one line per cell: the metric, the axes, the value, and how sure it is.
    pub fn csv(&self) -> String {
        let head = [self.metric.clone(), self.quantity.name().to_owned(), self.unit.clone()];
        let rows = self.csv_rows().into_iter().map(|row| head.iter().cloned().chain(row).collect());
        std::iter::once(self.csv_header()).chain(rows).map(|fields: Vec<String>| csv_line(&fields)).collect()
    }

    /// One row per cell: the axes, the value, and how sure it is.
    pub fn csv_rows(&self) -> Vec<Vec<String>> {
        let number = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
        (0..self.values.len())
            .map(|cell| {
                let mut indices = Vec::new();
                let mut rest = cell;
                for axis in self.axes.iter().rev() {
                    indices.push(axis.labels[rest % axis.labels.len()].clone());
                    rest /= axis.labels.len();
                }
                indices.reverse();
                let spread = self.spread.get(cell).copied().flatten();
                let of = |f: fn(Spread) -> f64| number(spread.map(f));
                let tail = [number(self.values[cell]), of(|s| s.stderr), of(|s| s.low), of(|s| s.high)];
                indices.into_iter().chain(tail).collect()
            })
            .collect()
    }
}

/// Fields with commas, quotes or line breaks are quoted.
fn csv_line(fields: &[String]) -> String {
    let quote = |field: &String| match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.clone(),
    };
    fields.iter().map(quote).collect::<Vec<_>>().join(",") + "\n"
}
