//! The logit lens: the residual stream read as logits at every layer and position.
//!
//! `unembed(ln_final(resid))`, as if no layer came after: `embed` is the stream entering layer 0, `L3`
//! the one leaving layer 3; the last row is the model's own output. Metrics that compare take the last
//! row as the original: `kl` is KL(output || lens). nostalgebraist 2020.
//!
//! One prompt is read at all positions; with a corrupt one beside it the difference of the two is
//! given as well. Several prompts are read at one position each, and their mean is given with its interval.
//! [`LensNorm`] and [`LensRows`] say how rows are read and which.
//!
//! With a tuned lens every row is read twice, as the logit lens has it and through that layer's translator, and tables have an
//! axis `lens` in front, so that one can be held against the other.
//!
//! Convergence: the first row from which on the model's own most probable token is the row's too, and the first
//! in which the answer has a given probability, both as the number of layers that came before.

use std::sync::atomic::Ordering;

use microtome_model::{Hook, Positions, Run, RunOptions, Site, with_rows};
use serde::{Deserialize, Serialize};

use super::ablate::cut_together;
use super::change::Replacement;
use super::lens_rows::{Cell, LensNorm, LensRow, LensRows, Parts, ROWS, Reader};
use super::lens_tables::{Reading, Tables};
use super::sweep;
use crate::component::Component;
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Partial, Watch};
use crate::metric::{MetricId, Over};
use crate::record::{Results, TokenProb};
use crate::text_model::{TextModel, Tokens};

pub use super::lens_rows::{LensNorm as Norm, LensRows as Rows};
pub use super::lens_tables::{LENS_AXIS, LENSES};

/// A logit lens.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LogitLens {
    /// Components cut at all positions before the stream is read; none for the whole model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<Component>,
    /// What takes their place.
    #[serde(default)]
    pub with: Replacement,
    /// Which rows are read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rows: LensRows,
    /// How a row becomes what the unembedding multiplies. Left out: `final`, or `frozen` for contributions, which
    /// only so sum to the logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<LensNorm>,
    /// A tuned lens, by the name it is open under: layers are read through its translators too, beside the logit lens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned: Option<String>,
    /// The probability that the answer is asked to reach, above 0 and at most 1; 0.5 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What every layer would say at every position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LensReadings {
    /// `embed`, `L0` and so on.
    pub layers: Vec<String>,
    /// `[layer][pos]`: the five most probable next tokens.
    pub top: Vec<Vec<Vec<TokenProb>>>,
    /// The same through the tuned lens; empty where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tuned_top: Vec<Vec<Vec<TokenProb>>>,
}

/// The metric of the table that every lens has: the probability of each cell's most probable token.
pub const TOP1_PROB: &str = "top1_prob";

/// The metric of the table of layers from which the model's own most probable token stays.
pub const TOP1_SETTLES: &str = "top1_settles";

/// The metric of the table of layers in which the answer first reaches the threshold.
pub const ANSWER_REACHES: &str = "answer_reaches";

/// Metrics that parts of the stream share out: those linear in the logits.
const SHARED_OUT: [&str; 2] = ["logit_diff", "logit"];

impl LogitLens {
    /// How rows become logits.
    pub fn norm(&self) -> LensNorm {
        self.norm.unwrap_or(match self.rows {
            LensRows::Contributions => LensNorm::Frozen,
            LensRows::Layers | LensRows::Sublayers => LensNorm::Final,
        })
    }

    /// The probability the answer is asked to reach.
    pub fn threshold(&self) -> f64 {
        self.threshold.unwrap_or(0.5)
    }

    /// The metrics taken of every cell.
    pub(crate) fn measured(&self, experiment: &Experiment) -> Result<Vec<MetricId>> {
        let mut metrics = experiment.metrics()?;
        if self.rows == LensRows::Contributions {
            if experiment.metrics.is_empty() {
                let given = |name: &str| match name {
                    "logit" => experiment.prompts.iter().all(|prompt| !prompt.answers.is_empty()),
                    _ => metrics.iter().any(|metric| metric.name() == name),
                };
                let names = SHARED_OUT.into_iter().filter(|name| given(name)).collect::<Vec<_>>();
                metrics = names.into_iter().map(MetricId::named).collect::<Result<_>>()?;
            } else if metrics.iter().any(|metric| !SHARED_OUT.contains(&metric.name())) {
                let what =
                    "metrics that are not linear in the logits: contributions share out logit and logit_diff";
                return Err(Error::Unused { method: "the lens of contributions", what });
            }
        }
        if metrics.iter().any(|metric| metric.over() != Over::Position) {
            let what = "metrics over a whole prompt; name some that are read at one position, such as prob";
            return Err(Error::Unused { method: "the logit lens", what });
        }
        Ok(metrics)
    }

    /// Names of the metrics its tables are of.
    pub(crate) fn metrics(&self, experiment: &Experiment) -> Result<Vec<String>> {
        let measured = self.measured(experiment)?;
        let mut names: Vec<String> = measured.iter().map(|metric| metric.name().to_owned()).collect();
        names.push(TOP1_PROB.to_owned());
        if self.rows != LensRows::Contributions {
            names.push(TOP1_SETTLES.to_owned());
            if experiment.prompts.iter().all(|prompt| !prompt.answers.is_empty()) {
                names.push(ANSWER_REACHES.to_owned());
            }
        }
        Ok(names)
    }

    fn check(&self, experiment: &Experiment) -> Result<()> {
        if self.rows == LensRows::Contributions && self.norm() == LensNorm::Final {
            let what = "the norm `final`: parts divided each by its own deviation do not sum to the logits; take frozen \
                        or none";
            return Err(Error::Unused { method: "the lens of contributions", what });
        }
        if !(self.threshold() > 0.0 && self.threshold() <= 1.0) {
            return Err(Error::NotAProbability { what: "the threshold", value: self.threshold() });
        }
        if self.tuned.is_some() && (self.rows != LensRows::Layers || self.norm() != LensNorm::Final) {
            let what = "other rows than layers, or another norm than final: translators are learnt for the stream between layers";
            return Err(Error::Unused { method: "a tuned lens", what });
        }
        let several = experiment.prompts.len() > 1;
        let pairs = experiment.prompts.iter().any(|prompt| prompt.corrupt.is_some());
        let unused = [
            (several && pairs, "corrupt prompts beside several prompts; compare one pair at a time"),
            (!several && experiment.read_at.is_some(), "a position to read at: of one prompt it reads all"),
        ];
        Error::refuse_unused("the logit lens", &unused)
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        self.check(experiment)?;
        let metrics = self.measured(experiment)?;
        let lens =
            Lens { asked: self, experiment, model, metrics: &metrics, rows: self.rows.of(model.config()) };
        match &experiment.cases(model)?[..] {
            [case] => lens.one(case, watch),
            cases => lens.several(cases, watch),
        }
    }
}

/// A lens about to look.
struct Lens<'a> {
    asked: &'a LogitLens,
    experiment: &'a Experiment,
    model: &'a TextModel,
    metrics: &'a [MetricId],
    rows: Vec<LensRow>,
}

impl Lens<'_> {
    /// One prompt at all positions, and its corrupt one if it has one.
    fn one(&self, case: &Case, watch: &mut Watch) -> Result<Results> {
        let corrupt = match self.experiment.prompts[0].corrupt {
            Some(_) => Some(self.experiment.corrupt(0, &case.clean, self.model)?),
            None => None,
        };
        let total = self.rows.len() * if corrupt.is_some() { 2 } else { 1 };
        let positions: Vec<usize> = (0..case.clean.ids.len()).collect();
        let clean = self.read(case, &case.clean, &positions, (0, total), watch)?;
        if clean.cells.is_empty() {
            return Err(Error::StoppedEarly);
        }
        let other = match &corrupt {
            Some(tokens) => Some(self.read(case, tokens, &positions, (self.rows.len(), total), watch)?),
            None => None,
        };
        let runs = clean.cells.len() + other.as_ref().map_or(0, |other| other.cells.len());
        (watch.progress)(runs, total);
        let compared = other.as_ref().filter(|other| !other.cells.is_empty());
        let tables = self.tables().of_prompt(&clean, compared, &case.clean);
        Ok(Results {
            prompts: vec![sweep::report(self.model, case, corrupt, &[], &[])],
            tables,
            lens: Some(self.readings(&clean)),
            corrupt_lens: compared.map(|other| self.readings(other)),
            notes: self.notes(vec![]),
            runs,
            runs_wanted: total,
            ..Default::default()
        })
    }

    /// Several prompts, each at one position.
    fn several(&self, cases: &[Case], watch: &mut Watch) -> Result<Results> {
        let mut found: Vec<Reading> = Vec::new();
        for (index, case) in cases.iter().enumerate() {
            (watch.progress)(index, cases.len());
            if watch.cancel.load(Ordering::Relaxed) {
                break;
            }
            let pos = self.experiment.read_at.unwrap_or(case.clean.ids.len() - 1);
            let inside = Positions::At(vec![pos]).resolve(case.clean.ids.len());
            inside.map_err(|source| self.experiment.in_prompt(index, source.into()))?;
            let (cancel, memory_budget) = (watch.cancel, watch.memory_budget);
            let mut quiet = Watch { cancel, progress: &mut |_, _| {}, partial: None, memory_budget };
            let reading = self.read(case, &case.clean, &[pos], (0, 0), &mut quiet)?;
            if reading.cells.len() < self.rows.len() {
                break;
            }
            found.push(reading);
        }
        if found.is_empty() {
            return Err(Error::StoppedEarly);
        }
        (watch.progress)(found.len(), cases.len());
        let position = match self.experiment.read_at {
            Some(pos) => format!("read at position {pos}"),
            None => "read at the last position of each prompt".to_owned(),
        };
        let mut notes = vec![position];
        notes.extend(sweep::prompts_note(found.len(), self.experiment));
        Ok(Results {
            prompts: cases[..found.len()]
                .iter()
                .map(|case| sweep::report(self.model, case, None, &[], &[]))
                .collect(),
            tables: self.tables().of_prompts(&found, self.experiment.seed),
            notes: self.notes(notes),
            runs: found.len(),
            runs_wanted: cases.len(),
            ..Default::default()
        })
    }

    fn tables(&self) -> Tables<'_> {
        Tables { asked: self.asked, experiment: self.experiment, metrics: self.metrics, rows: &self.rows }
    }

    /// Reads one text, a few rows at a time, for as long as it may. `(done, total)` rows are counted before it.
    fn read(
        &self,
        case: &Case,
        tokens: &Tokens,
        positions: &[usize],
        (before, total): (usize, usize),
        watch: &mut Watch,
    ) -> Result<Reading> {
        let run = self.forward(case, tokens, positions)?;
        let output = with_rows(run.logits()?, <[f32]>::to_vec)?;
        let translators = self.asked.tuned.as_ref().map(|name| self.model.tuned_lens(name)).transpose()?;
        let reader = Reader {
            model: self.model,
            tuned: None,
            metrics: self.metrics,
            norm: self.asked.norm(),
            case,
            tokens,
            positions,
            run: &run,
            output: &output,
            memory_budget: watch.memory_budget,
        };
        let parts = match self.asked.rows {
            LensRows::Contributions => Parts::WithoutConstant,
            LensRows::Layers | LensRows::Sublayers => Parts::Whole,
        };
        let through = translators.map(|lens| Reader { tuned: Some(lens), ..reader });
        let mut reading =
            Reading { cells: vec![], tuned: through.map(|_| vec![]), output_top: reader.output_top() };
        for rows in self.rows.chunks((ROWS / positions.len()).max(1)) {
            (watch.progress)(before + reading.cells.len(), total);
            if watch.cancel.load(Ordering::Relaxed) {
                break;
            }
            if let Some(partial) = watch.partial.as_mut().filter(|_| before == 0 && !reading.cells.is_empty())
            {
                partial(Partial::Tables(self.tables().of_prompt(&reading, None, tokens)));
            }
            reading.cells.extend(reader.read(rows, parts)?);
            if let (Some(through), Some(cells)) = (&through, &mut reading.tuned) {
                cells.extend(through.read(rows, parts)?);
            }
        }
        Ok(reading)
    }

    /// The run that is read, its activations kept at these positions.
    fn forward(&self, case: &Case, tokens: &Tokens, positions: &[usize]) -> Result<Run> {
        let of = Case { clean: tokens.clone(), ..case.clone() };
        let edits = cut_together(&self.asked.cut, &self.asked.with, self.experiment, self.model, &of)?;
        let mut reads: Vec<Hook> = self.rows.iter().filter_map(|row| row.hook).collect();
        let frozen = matches!(self.asked.norm(), LensNorm::Frozen | LensNorm::TlCachedScale);
        if frozen && self.model.config().norm.is_some() {
            reads.push(Site::LnFinalScale.at(0));
        }
        let at = || Positions::At(positions.to_vec());
        let options = RunOptions { edits, reads, keep: at(), logits: at(), ..Default::default() };
        Ok(self.model.model().run(&tokens.ids, &options)?)
    }

    fn readings(&self, reading: &Reading) -> LensReadings {
        let name = |&(id, prob): &(u32, f64)| TokenProb { id, token: self.model.label(id), prob };
        let listed = |row: &Vec<Cell>| row.iter().map(|cell| cell.top.iter().map(name).collect()).collect();
        LensReadings {
            layers: self.rows[..reading.cells.len()].iter().map(|row| row.label.clone()).collect(),
            top: reading.cells.iter().map(listed).collect(),
            tuned_top: reading.tuned.iter().flatten().map(listed).collect(),
        }
    }

    /// What was done, what else must be known, and what the metrics mean.
    fn notes(&self, more: Vec<String>) -> Vec<String> {
        let what = match self.asked.rows {
            LensRows::Layers => "the residual stream after each layer",
            LensRows::Sublayers => "the residual stream before each attention layer and each MLP",
            LensRows::Contributions => "what is added to the residual stream, part by part,",
        };
        let how = match self.asked.norm() {
            LensNorm::Final => "through the final LayerNorm and the unembedding",
            LensNorm::None => "through the unembedding, without the final LayerNorm",
            LensNorm::Frozen => {
                "through the final LayerNorm, its scale that of the last row, and the unembedding"
            }
            LensNorm::TlCachedScale => {
                "through the final LayerNorm without gain and bias, its scale that of the last row, and the unembedding \
                 (TransformerLens's apply_ln_to_stack)"
            }
        };
        let cut = match &self.asked.cut[..] {
            [] => String::new(),
            cut => {
                let names: Vec<String> = cut.iter().map(Component::to_string).collect();
                let with = self.asked.with.describe(self.experiment);
                format!("; cut at all positions: {}; {with}", names.join(", "))
            }
        };
        let mut notes = vec![format!("{what} {how}{cut}")];
        if let Some(name) = &self.asked.tuned {
            notes.push(format!(
                "tuned lens: before that through the translator of its layer, of the tuned lens {name}; the last row is the output in both"
            ));
        }
        notes.extend(more);
        match self.asked.rows {
            LensRows::Contributions => {
                notes
                    .push("all rows together, the constant included, give the model's own logits".to_owned());
            }
            _ => notes.push("kl compares with the model's own output: KL(output || lens)".to_owned()),
        }
        notes.extend(self.metrics.iter().map(|metric| format!("{}: {}", metric.name(), metric.describe())));
        notes
    }
}
