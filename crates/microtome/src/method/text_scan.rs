//! Neurons, or features of an autoencoder, over a text that comes with the question: where they are most active, and how their
//! activation is distributed.
//!
//! The scan is that of [`crate::corpus_scan`], of a text short enough to be sent; longer ones are files, `microtome neurons scan` and
//! `microtome sae scan`.

use serde::{Deserialize, Serialize};

use super::neuron::ACTIVATION;
use crate::component::Component;
use crate::corpus_scan::{
    CorpusScan, FeatureSummary, Features, Neurons, SaeFeatures, ScanSettings, ScanText, ScanWatch,
    count_windows, scan, sharing_words,
};
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Partial, Watch};
use crate::record::{Axis, Basis, Quantity, Results, Table};
use crate::sae::{SaeChoice, SaeReport};
use crate::text_model::TextModel;

/// Neurons, or features of an autoencoder, over a text, asked as an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TextScan {
    /// The text; documents in it are divided by `<|endoftext|>`.
    pub text: String,
    /// Neurons, and MLPs for all neurons of a layer; left out where an autoencoder is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neurons: Vec<Component>,
    /// The autoencoder whose features are scanned for instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sae: Option<SaeChoice>,
    /// Which of its features; all where left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<usize>,
    /// Passages kept of each, one of a window at most; 10 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
    /// Tokens given on either side of the most active one; 12 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<usize>,
    /// Tokens that are run together, BOS included; 128, or the context where that is shorter, where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// One counts as active above this.
    #[serde(default)]
    pub threshold: f64,
}

/// What was found over a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TextScanReport {
    /// The autoencoder whose features they are; left out where they are neurons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sae: Option<SaeReport>,
    /// Tokens read, BOS left out.
    pub tokens: u64,
    /// Windows read.
    pub windows: u64,
    /// What was found of each neuron or feature, in the order asked for.
    #[serde(deserialize_with = "sharing_words")]
    pub features: Vec<FeatureSummary>,
}

/// What is scanned for, as tables say it.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// The axis.
    axis: &'static str,
    /// Metrics of the largest activation, and of the share of tokens above the threshold.
    metrics: [&'static str; 2],
    /// What an activation of 0 means.
    baseline: &'static str,
}

const NEURONS: Kind = Kind {
    axis: "neuron",
    metrics: [ACTIVATION, "neuron_density"],
    baseline: "after the nonlinearity; 0 = the neuron writes nothing",
};

const FEATURES: Kind = Kind {
    axis: "feature",
    metrics: ["feature_activation", "feature_density"],
    baseline: "activation of the feature; 0 = it is not active",
};

impl TextScan {
    /// The metrics its tables are of.
    pub(crate) fn metrics(&self) -> Vec<&'static str> {
        self.kind().metrics.to_vec()
    }

    fn kind(&self) -> Kind {
        if self.sae.is_some() { FEATURES } else { NEURONS }
    }

    /// How many neurons or features are scanned for; 0 where the autoencoder is not open beside the model.
    pub fn n_scanned(&self, model: &TextModel) -> usize {
        let d_sae = |name: &SaeChoice| model.sae(name).map_or(0, |sae| sae.config().d_sae);
        let neurons = |part: &Component| match part {
            Component::Mlp { .. } => model.config().d_mlp(),
            _ => 1,
        };
        let features = match &self.sae {
            Some(name) if self.features.is_empty() => d_sae(name),
            _ => self.features.len(),
        };
        self.neurons.iter().map(neurons).sum::<usize>() + features
    }

    /// What is scanned for.
    fn scanned<'m>(&self, model: &'m TextModel) -> Result<Box<dyn Features + 'm>> {
        let unused = match self.sae {
            Some(_) => {
                (!self.neurons.is_empty(), "neurons beside an autoencoder: ask for them by themselves")
            }
            None => (!self.features.is_empty(), "features without an autoencoder: name it as `sae`"),
        };
        Error::refuse_unused("a scan of a text", &[unused])?;
        Ok(match &self.sae {
            Some(sae) => Box::new(SaeFeatures::new(model.sae(sae)?, &self.features)?),
            None => Box::new(Neurons::new(&self.neurons, model.config())?),
        })
    }

    /// Passages kept of each.
    pub fn top(&self) -> usize {
        self.top.unwrap_or(ScanSettings::default().top)
    }

    /// Tokens of the longest passage.
    pub fn passage(&self) -> usize {
        self.context.unwrap_or(ScanSettings::default().context).saturating_mul(2).saturating_add(1)
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let said = [
            (!experiment.prompts.is_empty(), "prompts: it reads its own text"),
            (!experiment.metrics.is_empty(), "metrics"),
            (experiment.read_at.is_some(), "a position to read at"),
        ];
        Error::refuse_unused("a scan of a text", &said)?;
        let usual = ScanSettings::default();
        let settings = ScanSettings {
            window: self.window.unwrap_or(usual.window.min(model.config().n_ctx)),
            bos: experiment.bos,
            top: self.top(),
            context: self.context.unwrap_or(usual.context),
            threshold: self.threshold,
            ..usual
        };
        let features = self.scanned(model)?;
        let kind = self.kind();
        let text = ScanText::Given(&self.text);
        let wanted = count_windows(model, text, &settings)?;
        if wanted == 0 {
            return Err(Error::Missing { what: "a text", hint: "give at least one token of it" });
        }
        let mut found = {
            let Watch { cancel, progress, partial, .. } = watch;
            let mut told = |scan: &CorpusScan| {
                progress(scan.windows as usize, wanted);
                if let Some(partial) = partial.as_mut().filter(|_| scan.windows > 0) {
                    partial(Partial::Tables(tables(kind, &scan.features, self.threshold)));
                }
            };
            let mut scanning = ScanWatch { cancel, progress: &mut told, save: None, limit: None };
            scan(model, text, &*features, &settings, None, &mut scanning)?
        };
        if found.windows == 0 {
            return Err(Error::StoppedEarly);
        }
        let number = match found.features.len() {
            1 => format!("one {}", kind.axis),
            many => format!("{many} {}s", kind.axis),
        };
        let of =
            found.sae.as_ref().map_or_else(String::new, |sae| format!(" of {} at {}", sae.name, sae.place()));
        let notes = vec![
            format!(
                "{number}{of} over {} tokens in windows of {}, BOS left out",
                found.tokens, settings.window
            ),
            format!("active: above {}", self.threshold),
        ];
        Ok(Results {
            tables: tables(kind, &found.features, self.threshold),
            runs: found.windows as usize,
            runs_wanted: wanted,
            text_scan: Some(TextScanReport {
                sae: found.sae.take(),
                tokens: found.tokens,
                windows: found.windows,
                features: std::mem::take(&mut found.features),
            }),
            notes,
            ..Default::default()
        })
    }
}

/// The largest activation of each, and how often it is active.
fn tables(kind: Kind, features: &[FeatureSummary], threshold: f64) -> Vec<Table> {
    let names = features.iter().map(|summary| summary.feature.clone()).collect();
    let axes = vec![Axis { name: kind.axis.to_owned(), labels: names }];
    let table = |metric: &str,
                 [title, unit]: [&str; 2],
                 baseline: String,
                 of: &dyn Fn(&FeatureSummary) -> f64| Table {
        metric: metric.to_owned(),
        quantity: Quantity::Value,
        title: title.to_owned(),
        unit: unit.to_owned(),
        baseline,
        basis: Basis::Exact,
        axes: axes.clone(),
        values: features.iter().map(|summary| Some(of(summary))).collect(),
        spread: vec![],
    };
    let [activation, density] = kind.metrics;
    let share = format!("share of tokens at which it is above {threshold}");
    vec![
        table(
            activation,
            ["Largest activation in the text", "activation"],
            kind.baseline.to_owned(),
            &|summary| summary.max,
        ),
        table(density, ["How often it is active", "share"], share, &|summary| summary.density),
    ]
}
