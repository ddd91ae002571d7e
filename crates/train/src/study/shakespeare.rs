//! The classic small model: characters of a text, and what its heads are for.
//!
//! A model of a few layers reads a text, Shakespeare's plays by custom. Of every head the report has the
//! previous-token, duplicate-token and induction score, the role they give it, and the loss change on
//! ablating it: its output `z` set to 0 at every position, the mean loss on the validation windows of the
//! run's evaluations less the loss of the whole model on the same windows. Above 0 the head helps.
//!
//! Left out on purpose: several heads ablated together, whose changes need not add up.

use std::path::Path;

use microtome::TextModel;
use microtome::plot::{AxisLabels, Heatmap, LinePlot, ScaleKind, YScale, stack};
use microtome_model::Config as Sizes;
use serde::{Deserialize, Serialize};

use super::heads::{HeadRow, rows};
use super::{Ended, write};
use crate::config::{Batches, BpeConfig, Config, SampleConfig, TokenizerConfig};
use crate::data::{Data, Part, Texts};
use crate::draw::{by_head, lines};
use crate::error::{Error, Result};
use crate::evaluate::{losses_by_position, mean};
use crate::sample::sample;
use crate::telemetry::Telemetry;
use crate::train::{Observer, Start, train};
use crate::vocabulary::Vocabulary;

/// Updates of the study.
pub const STEPS: u64 = 2000;

/// Evaluations on the way.
const EVALUATIONS: u64 = 20;

/// Texts drawn from the model at the end.
const SAMPLES: u64 = 3;

/// Longest beginning of a sample, in characters.
const PROMPT: usize = 16;

/// What came out of the study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Seed of the run.
    pub seed: u64,
    /// Updates made.
    pub steps: u64,
    /// Time they took.
    pub elapsed_secs: f64,
    /// Fingerprint of the text.
    pub data_hash: Option<String>,
    /// Sizes of the model.
    pub model: Sizes,
    /// Fingerprint of its weights.
    pub weight_hash: String,
    /// Mean loss on the validation windows, in nats a token.
    pub validation_loss: f64,
    /// Windows and tokens of each that this is the mean over.
    pub windows: [usize; 2],
    /// Every head, with the loss on the same windows.
    pub heads: Vec<HeadRow>,
    /// Texts that the model goes on with from the text's first word.
    pub samples: Vec<String>,
    /// What was measured on the way.
    pub timeline: Vec<Telemetry>,
}

/// The run of the study on a text, of characters or of `bpe` tokens: four layers of four heads, 128 wide,
/// context 64.
pub fn config(text: &Path, bpe: Option<usize>, out: &Path, seed: u64, steps: u64) -> Config {
    let mut config = Config { seed, out: out.to_owned(), ..Config::default() };
    config.data.text = Some(text.to_owned());
    config.data.tokenizer = Some(match bpe {
        Some(vocab) => TokenizerConfig::Bpe { bpe: BpeConfig { vocab, min_frequency: 2 } },
        None => TokenizerConfig::Named("characters".to_owned()),
    });
    let model = &mut config.model;
    (model.n_layers, model.n_heads, model.d_model, model.n_ctx) = (Some(4), Some(4), Some(128), Some(64));
    config.training.steps = steps;
    config.evaluation.every = (steps / EVALUATIONS).max(1);
    config.evaluation.batches = Batches::Count(20);
    config
}

/// Trains the model and measures its heads. A run in the folder is gone on with.
///
/// # Errors
/// Those of [`train`]: among them [`Error::Io`] for a text that cannot be read and [`Error::TooShort`];
/// [`Error::Setting`] for a run without a text or telemetry.
pub fn run(config: &Config, start: Start, observer: &mut dyn Observer) -> Result<Ended<Report>> {
    if !config.evaluation.telemetry {
        return Err(Error::setting("evaluation.telemetry", "false", "true, since the study is made of it"));
    }
    let Some(texts) = Texts::open(&config.data)? else {
        return Err(Error::setting("data.text", "not given", "a text to read"));
    };
    let summary = train(config, start, observer)?;
    if summary.stopped {
        return Ok(Ended::Stopped(summary.step));
    }
    let config = config.resolved()?;
    let timeline: Vec<Telemetry> = lines(&config.out.join("telemetry.jsonl"))?;
    let Some(last) = timeline.last() else {
        let problem = "has no line".to_owned();
        return Err(Error::Damaged { path: config.out.join("telemetry.jsonl"), problem });
    };
    let model = &summary.model;
    let vocabulary = match summary.tokenizer {
        Some(tokenizer) => Vocabulary::of(tokenizer)?,
        None => Vocabulary::read(&config.out.join("tokenizer.json"))?,
    };
    let data = Data::read(&texts, &vocabulary, &config.data, model.config().n_ctx, config.seed)?;
    let windows = data.measured(Part::Validation, &config);
    let heads = rows(model, last, &windows, mean)?;
    let reader = TextModel::from_model("training", model.clone())?;
    let reader = reader.with_tokenizer(vocabulary.tokenizer().clone());
    let asked = SampleConfig { prompt: first_word(&texts), tokens: model.config().n_ctx };
    let samples =
        (0..SAMPLES).map(|i| sample(&reader, &asked, config.seed + i)).collect::<Result<Vec<_>>>()?;
    let report = Report {
        seed: config.seed,
        steps: summary.step,
        elapsed_secs: summary.record.elapsed_secs,
        data_hash: summary.record.data_hash,
        model: model.config().clone(),
        weight_hash: summary.record.weight_hash,
        validation_loss: mean(&losses_by_position(model, &windows)?),
        windows: [windows.len(), model.config().n_ctx],
        heads,
        samples,
        timeline,
    };
    write(&config.out, &report, &report.to_svg())?;
    Ok(Ended::Whole(report))
}

/// What samples begin with: the text up to the end of its first word, which is in its vocabulary.
fn first_word(texts: &Texts) -> String {
    let text = texts.iter().next().unwrap_or_default();
    let word = text.split_whitespace().next().filter(|word| text.starts_with(word));
    word.map_or_else(|| text.chars().take(1).collect(), |word| word.chars().take(PROMPT).collect())
}

impl Report {
    /// The loss change on ablating each head, as a grid.
    pub fn heatmap(&self) -> Heatmap {
        let [windows, length] = self.windows;
        Heatmap {
            title: "Loss change on ablating each head".to_owned(),
            subtitle: format!(
                "head set to 0, {} validation tokens; loss of the whole model {:.4}",
                windows * length,
                self.validation_loss
            ),
            rows: AxisLabels::numbered("layer", "", self.model.n_layers),
            cols: AxisLabels::numbered("head", "", self.model.n_heads),
            values: self.heads.iter().map(|row| Some(row.change)).collect(),
            unit: "nats".to_owned(),
            baseline: "0 is the whole model; above 0 the head helps".to_owned(),
            scale: ScaleKind::Diverging,
        }
    }

    /// The picture: induction score by head and step, and the loss change on ablating each head.
    pub fn to_svg(&self) -> String {
        let curves = LinePlot {
            title: "Induction score of every head".to_owned(),
            subtitle: "attention from a token said again to the token that stood behind it".to_owned(),
            x: "step".to_owned(),
            y: "share of attention".to_owned(),
            series: by_head(&self.timeline, |line| &line.induction),
            y_scale: YScale::Linear,
            marks: vec![],
        };
        stack(&[curves.to_svg(), self.heatmap().to_svg()])
    }
}
