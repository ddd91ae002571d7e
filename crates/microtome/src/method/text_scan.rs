//! Neurons over a text that comes with the question: where they are most active, and how their activation is distributed.
//!
//! The scan is that of [`crate::corpus_scan`], of a text short enough to be sent; longer ones are files, `microtome neurons scan`.

use serde::{Deserialize, Serialize};

use super::neuron::ACTIVATION;
use crate::component::Component;
use crate::corpus_scan::{
    CorpusScan, FeatureSummary, Features as _, Neurons, ScanSettings, ScanText, ScanWatch, count_windows,
    scan,
};
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Partial, Watch};
use crate::record::{Axis, Basis, Quantity, Results, Table};
use crate::text_model::TextModel;

/// Neurons over a text, asked as an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TextScan {
    /// The text; documents in it are divided by `<|endoftext|>`.
    pub text: String,
    /// Neurons, and MLPs for all neurons of a layer.
    pub neurons: Vec<Component>,
    /// Passages kept of each neuron, one of a window at most; 10 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
    /// Tokens given on either side of the most active one; 12 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<usize>,
    /// Tokens that are run together, BOS included; 128, or the context where that is shorter, where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// A neuron counts as active above this.
    #[serde(default)]
    pub threshold: f64,
}

/// What was found over a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TextScanReport {
    /// Tokens read, BOS left out.
    pub tokens: u64,
    /// Windows read.
    pub windows: u64,
    /// What was found of each neuron.
    pub features: Vec<FeatureSummary>,
}

/// Share of tokens at which a neuron is above the threshold.
const DENSITY: &str = "neuron_density";

impl TextScan {
    /// The metrics its tables are of.
    pub(crate) const METRICS: [&str; 2] = [ACTIVATION, DENSITY];

    /// Passages kept of each neuron.
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
        let neurons = Neurons::new(&self.neurons, model.config())?;
        let text = ScanText::Given(&self.text);
        let wanted = count_windows(model, text, &settings)?;
        if wanted == 0 {
            return Err(Error::Missing { what: "a text", hint: "give at least one token of it" });
        }
        let one = neurons.names().len() == 1;
        let mut found = {
            let Watch { cancel, progress, partial, .. } = watch;
            let mut told = |scan: &CorpusScan| {
                progress(scan.windows as usize, wanted);
                if let Some(partial) = partial.as_mut().filter(|_| scan.windows > 0) {
                    partial(Partial::Tables(tables(&scan.features, self.threshold)));
                }
            };
            let mut scanning = ScanWatch { cancel, progress: &mut told, save: None, limit: None };
            scan(model, text, &neurons, &settings, None, &mut scanning)?
        };
        if found.windows == 0 {
            return Err(Error::StoppedEarly);
        }
        let notes = vec![
            format!(
                "{} over {} tokens in windows of {}, BOS left out",
                if one { "one neuron".to_owned() } else { format!("{} neurons", found.features.len()) },
                found.tokens,
                settings.window
            ),
            format!("active: above {}", self.threshold),
        ];
        Ok(Results {
            tables: tables(&found.features, self.threshold),
            runs: found.windows as usize,
            runs_wanted: wanted,
            text_scan: Some(TextScanReport {
                tokens: found.tokens,
                windows: found.windows,
                features: std::mem::take(&mut found.features),
            }),
            notes,
            ..Default::default()
        })
    }
}

/// The largest activation of every neuron, and how often it is active.
fn tables(features: &[FeatureSummary], threshold: f64) -> Vec<Table> {
    let names = features.iter().map(|summary| summary.feature.clone()).collect();
    let axes = vec![Axis { name: "neuron".to_owned(), labels: names }];
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
    let after = "after the nonlinearity; 0 = the neuron writes nothing".to_owned();
    let share = format!("share of tokens at which it is above {threshold}");
    vec![
        table(ACTIVATION, ["Largest activation in the text", "activation"], after, &|summary| summary.max),
        table(DENSITY, ["How often it is active", "share"], share, &|summary| summary.density),
    ]
}
