//! The logit lens: the residual stream read as logits at every layer and position.
//!
//! `unembed(ln_final(resid))`, as if no layer came after: `embed` is the stream entering layer 0, `L3`
//! the one leaving layer 3; the last row is the model's own output. Metrics that compare take the last
//! row as the original: `kl` is KL(output || lens). nostalgebraist 2020.
//!
//! Left out: the lens without the final LayerNorm, and a tuned lens.

use std::sync::atomic::Ordering;

use microtome_model::{Hook, RunOptions, Site, Tensor, with_rows};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ablate::cut_together;
use super::change::Replacement;
use super::sweep;
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Partial, Watch};
use crate::metric::{MetricId, Over, Row, log_sum_exp, most_probable};
use crate::record::{Axis, Basis, Quantity, Results, Table, TokenProb};
use crate::text_model::{TextModel, Tokens};

/// A logit lens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LogitLens {
    /// Components cut at all positions before the stream is read; none for the whole model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<Component>,
    /// What takes their place.
    #[serde(default)]
    pub with: Replacement,
}

/// What every layer would say at every position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LensReadings {
    /// `embed`, `L0` and so on.
    pub layers: Vec<String>,
    /// `[layer][pos]`: the five most probable next tokens.
    pub top: Vec<Vec<Vec<TokenProb>>>,
}

/// The metric of the table that every lens has: the probability of each cell's most probable token.
pub const TOP1_PROB: &str = "top1_prob";

/// Tokens listed of a cell.
const LISTED: usize = 5;

/// One cell: a number per metric, and the most probable tokens.
type Cell = (Vec<f64>, Vec<(u32, f64)>);

impl LogitLens {
    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let unused = [
            (experiment.prompts.len() > 1, "more than one prompt"),
            (experiment.read_at.is_some(), "a position to read at: it reads all"),
        ];
        Error::refuse_unused("the logit lens", &unused)?;
        let metrics = experiment.metrics()?;
        if metrics.iter().any(|metric| metric.over() != Over::Position) {
            let what = "metrics over a whole prompt; name some that are read at one position, such as prob";
            return Err(Error::Unused { method: "the logit lens", what });
        }
        let case = &experiment.cases(model)?[0];
        let edits = cut_together(&self.cut, &self.with, experiment, model, case)?;
        let n_layers = model.config().n_layers;
        let hooks: Vec<Hook> = std::iter::once(Site::ResidPre.at(0))
            .chain((0..n_layers).map(|layer| Site::ResidPost.at(layer)))
            .collect();
        let options = RunOptions { edits, reads: hooks.clone(), ..Default::default() };
        let run = model.model().run(&case.clean.ids, &options)?;
        let output = with_rows(run.logits()?, <[f32]>::to_vec)?; // [pos, d_vocab]
        let labels: Vec<String> = std::iter::once("embed".to_owned())
            .chain((0..n_layers).map(|layer| format!("L{layer}")))
            .collect();
        let tables = |cells: &[Vec<Cell>]| self.tables(experiment, &metrics, &labels, &case.clean, cells);

        let mut cells: Vec<Vec<Cell>> = Vec::new();
        let layers_at_once = (ROWS / case.clean.ids.len()).max(1);
        for layers in hooks.chunks(layers_at_once) {
            let done = cells.len();
            (watch.progress)(done, hooks.len());
            if watch.cancel.load(Ordering::Relaxed) {
                break;
            }
            if let Some(partial) = watch.partial.as_mut().filter(|_| done > 0) {
                partial(Partial::Tables(tables(&cells)));
            }
            let reader = Reader { model, metrics: &metrics, output: &output, case };
            let resid = layers.iter().map(|&hook| run.cache.get(hook)).collect::<Result<Vec<_>, _>>()?;
            let read = reader.read(&Tensor::cat(&resid, 0)?, &labels[done..], watch.memory_budget)?;
            cells.extend(read.chunks(case.clean.ids.len()).map(<[Cell]>::to_vec));
        }
        if cells.is_empty() {
            return Err(Error::StoppedEarly);
        }
        (watch.progress)(cells.len(), hooks.len());
        let name = |&(id, prob): &(u32, f64)| TokenProb { id, token: model.label(id), prob };
        let listed = |row: &Vec<Cell>| row.iter().map(|(_, top)| top.iter().map(name).collect()).collect();
        let lens =
            LensReadings { layers: labels[..cells.len()].to_vec(), top: cells.iter().map(listed).collect() };
        let mut notes = vec![self.done(experiment)];
        notes.push("kl compares with the last row, the model's own output: KL(output || lens)".to_owned());
        notes.extend(metrics.iter().map(|metric| format!("{}: {}", metric.name(), metric.describe())));
        Ok(Results {
            prompts: vec![sweep::report(model, case, None, &[], &[])],
            tables: tables(&cells),
            lens: Some(lens),
            notes,
            runs: cells.len(),
            runs_wanted: hooks.len(),
            ..Default::default()
        })
    }

    fn done(&self, experiment: &Experiment) -> String {
        let read = "the residual stream after each layer through the final LayerNorm and the unembedding";
        match &self.cut[..] {
            [] => read.to_owned(),
            cut => {
                let names: Vec<String> = cut.iter().map(Component::to_string).collect();
                format!(
                    "{read}; cut at all positions: {}; {}",
                    names.join(", "),
                    self.with.describe(experiment)
                )
            }
        }
    }

    fn tables(
        &self,
        experiment: &Experiment,
        metrics: &[MetricId],
        labels: &[String],
        tokens: &Tokens,
        cells: &[Vec<Cell>],
    ) -> Vec<Table> {
        let axes =
            vec![Axis { name: "layer".to_owned(), labels: labels.to_vec() }, sweep::position_axis(tokens)];
        let table = |metric: &str, title: String, unit: &str, baseline: &str, of: &dyn Fn(&Cell) -> f64| {
            let mut values: Vec<Option<f64>> = cells.iter().flatten().map(|cell| Some(of(cell))).collect();
            values.resize(labels.len() * tokens.ids.len(), None);
            Table {
                metric: metric.to_owned(),
                quantity: Quantity::Value,
                title,
                unit: unit.to_owned(),
                baseline: baseline.to_owned(),
                basis: Basis::Exact,
                axes: axes.clone(),
                values,
                spread: vec![],
            }
        };
        let whose = if self.cut.is_empty() { "logit lens" } else { "logit lens with components cut" };
        let top = |cell: &Cell| cell.1.first().map_or(f64::NAN, |(_, prob)| *prob);
        let last =
            format!("{} is the model's own output", labels.last().map_or("the last row", String::as_str));
        let mut tables = vec![table(
            TOP1_PROB,
            format!("Probability of the most probable next token, {whose}"),
            "",
            &last,
            &top,
        )];
        tables.extend(metrics.iter().enumerate().map(|(m, metric)| {
            let title = format!("{}, {whose}", sweep::capitalised(metric.title()));
            table(metric.name(), title, metric.unit(), &last, &|cell| cell.0[m])
        }));
        let first = experiment.metrics.first().map(|metric| metric.name());
        // What was asked for by name is shown first.
        tables.sort_by_key(|table| Some(table.metric.as_str()) != first);
        tables
    }
}

/// Rows of the residual stream, of as many layers as that takes, that go through the unembedding together: fewer
/// would leave it waiting for memory.
const ROWS: usize = 208;

/// Reads the residual stream.
struct Reader<'a> {
    model: &'a TextModel,
    metrics: &'a [MetricId],
    /// The model's own logits, `[pos, d_vocab]`.
    output: &'a [f32],
    case: &'a crate::experiment::Case,
}

impl Reader<'_> {
    /// The cell of every position of some layers, as many at once as memory allows. `resid` is `[layer * pos,
    /// d_model]`.
    fn read(&self, resid: &Tensor, labels: &[String], memory_budget: usize) -> Result<Vec<Cell>> {
        let n_rows = resid.dim(0)?;
        let n_positions = self.case.clean.ids.len();
        let d_vocab = self.model.config().d_vocab;
        let at_once = (memory_budget / (d_vocab * size_of::<f32>())).clamp(1, n_rows);
        let mut cells = Vec::with_capacity(n_rows);
        for first in (0..n_rows).step_by(at_once) {
            let count = at_once.min(n_rows - first);
            let logits = self.model.model().logits_from_resid(&resid.narrow(0, first, count)?)?;
            let read = |rows: &[f32]| -> Option<Vec<Cell>> {
                let cell = |(i, row)| self.cell((first + i) % n_positions, row);
                rows.par_chunks(d_vocab).enumerate().map(cell).collect()
            };
            let finite = with_rows(&logits, read)?;
            let layer = &labels[first / n_positions];
            cells.extend(
                finite.ok_or_else(|| Error::NotFinite { what: format!("the lens at {layer} or above") })?,
            );
        }
        Ok(cells)
    }

    fn cell(&self, pos: usize, logits: &[f32]) -> Option<Cell> {
        let original = &self.output[pos * logits.len()..(pos + 1) * logits.len()];
        let (log_z, original_log_z) = (log_sum_exp(logits), log_sum_exp(original));
        if !log_z.is_finite() {
            return None;
        }
        let row = Row {
            logits,
            log_z,
            original,
            original_log_z,
            answers: &self.case.answers,
            wrong: &self.case.wrong,
            next: self.case.clean.ids.get(pos + 1).copied(),
        };
        let top = most_probable(logits, LISTED).into_iter().map(|id| (id, row.prob(id))).collect();
        Some((self.metrics.iter().map(|metric| metric.row(&row)).collect(), top))
    }
}
