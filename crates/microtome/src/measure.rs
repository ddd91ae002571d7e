//! Metrics of many runs: rows of logits come in from the lanes engine, numbers stay.
//!
//! A [`Meter`] knows which positions its metrics need. Every row of logits is reduced to one number per
//! metric the moment it arrives, rows in parallel; what a lane does not report is its base's.

use std::collections::HashMap;
use std::ops::ControlFlow;

use microtome_model::{Lane, LaneEvent, LaneOptions, LaneRun, Model, Positions, Tensor, Work, with_rows};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::metric::{Compares, MetricId, Over, Row, log_sum_exp, most_probable};

/// A prompt whose lanes are measured.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub tokens: Vec<u32>,
    pub answers: Vec<u32>,
    pub wrong: Vec<u32>,
    /// A token whose logit every lane takes from the unedited run.
    pub clamp: Option<u32>,
}

/// What to measure, and where.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    pub metrics: Vec<MetricId>,
    /// The position metrics are read at; the last where `None`.
    pub read_at: Option<usize>,
}

/// The numbers of one run.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// One per metric.
    pub values: Vec<f64>,
    /// Most probable next tokens at the position read.
    pub top: Vec<(u32, f64)>,
}

/// The numbers of all runs.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// By prompt: the unedited run.
    pub bases: Vec<Option<Reading>>,
    /// By lane; `None` where the run was stopped before it was finished.
    pub lanes: Vec<Option<Reading>>,
}

/// Whose most probable tokens are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeepTop {
    /// Of unedited runs.
    OfBases,
    /// Of every run.
    OfAll,
}

/// How many most probable tokens are kept of a run.
const TOP: usize = 10;

impl Meter {
    /// The positions whose logits are needed.
    pub fn read(&self) -> Positions {
        match (self.metrics.iter().any(|metric| metric.over() != Over::Position), self.read_at) {
            (true, _) => Positions::All,
            (false, None) => Positions::Last,
            (false, Some(pos)) => Positions::At(vec![pos]),
        }
    }

    /// About how much is held of a prompt's unedited run while its lanes are measured.
    pub fn bytes_of(&self, subject: &Subject, d_vocab: usize) -> usize {
        match (self.keeps_logits(subject), self.read()) {
            (true, Positions::All) => subject.tokens.len() * d_vocab * size_of::<f32>(),
            _ => d_vocab * size_of::<f32>(),
        }
    }

    /// Whether the unedited run's logits are needed: a metric compares with them, or a token is clamped.
    fn keeps_logits(&self, subject: &Subject) -> bool {
        subject.clamp.is_some() || self.metrics.iter().any(|metric| metric.compares() == Compares::Original)
    }

    /// Runs lanes and measures every one. `subjects` are the base prompts; `finished` is told what is
    /// measured so far and how many lanes that is, at the start too.
    ///
    /// # Errors
    /// [`Error::NotFinite`] where a run gives NaN or infinity; what the lanes engine refuses.
    pub fn run(
        &self,
        model: &Model,
        subjects: &[Subject],
        lanes: &[Lane],
        keep: KeepTop,
        options: &LaneOptions,
        finished: &mut dyn FnMut(&Measured, usize),
    ) -> Result<(Measured, Work)> {
        for subject in subjects {
            if let Some(pos) = self.read_at {
                Positions::At(vec![pos]).resolve(subject.tokens.len())?;
            }
            self.check_length(subject)?;
        }
        let prompts: Vec<&[u32]> = subjects.iter().map(|subject| &subject.tokens[..]).collect();
        let run = LaneRun::new(model, &prompts, lanes, &self.read())?;
        let mut state = State {
            meter: self,
            keep,
            subjects,
            lanes,
            bases: HashMap::new(),
            open: HashMap::new(),
            out: Measured { bases: vec![None; subjects.len()], lanes: vec![None; lanes.len()] },
        };
        finished(&state.out, 0);
        let work = run.run(options, |event| -> Result<ControlFlow<()>> {
            match event {
                LaneEvent::Base { prompt, positions, logits } => state.base(prompt, positions, logits)?,
                LaneEvent::Rows { rows, logits } => state.rows(rows, logits)?,
                LaneEvent::Kept { .. } => {}
                LaneEvent::Finished { lanes } => {
                    let done = lanes.end;
                    lanes.for_each(|lane| state.finish(lane));
                    finished(&state.out, done);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((state.out, work))
    }

    /// A prompt of one token predicts nothing that follows in it.
    ///
    /// # Errors
    /// [`Error::MissingTokens`] where a metric needs one.
    pub fn check_length(&self, subject: &Subject) -> Result<()> {
        let predicting = self.metrics.iter().find(|metric| metric.over() == Over::Predicting);
        match predicting {
            Some(metric) if subject.tokens.len() == 1 => {
                let (what, example) = ("a next token in every prompt", "prompts of two tokens or more");
                Err(Error::MissingTokens { metric: metric.name(), what, example })
            }
            _ => Ok(()),
        }
    }

    /// Measures one unedited run from its logits at all of [`Meter::read`]'s positions.
    ///
    /// # Errors
    /// [`Error::NotFinite`] where they hold NaN or infinity.
    pub fn of_logits(&self, subject: &Subject, logits: &Tensor) -> Result<Reading> {
        let positions = self.read().resolve(subject.tokens.len())?;
        let base = self.base_rows(subject, &positions, logits)?;
        Ok(Reading { values: self.finish(subject, base.sums()), top: base.top })
    }

    /// The one metric's value and its derivative in a run's logits at [`Meter::read`]'s positions, `[position,
    /// d_vocab]`.
    ///
    /// # Errors
    /// [`Error::NoDerivative`] where the metric has none.
    pub fn derivative(&self, subject: &Subject, rows: &[f32]) -> Result<(f64, Vec<f64>)> {
        self.check_length(subject)?;
        let positions = self.read().resolve(subject.tokens.len())?;
        let d_vocab = rows.len() / positions.len();
        let metric = self.metrics[0];
        let mut sum = 0.0;
        let mut gradient = vec![0.0; rows.len()];
        let by_row = rows.chunks(d_vocab).zip(gradient.chunks_mut(d_vocab));
        for (&pos, (logits, out)) in positions.iter().zip(by_row) {
            if !self.covers(metric, subject, pos) {
                continue;
            }
            let log_z = log_sum_exp(logits);
            let row = unedited(subject, pos, logits, log_z);
            sum += metric.row(&row);
            let of_row = metric.gradient(&row).ok_or(Error::NoDerivative { metric: metric.name() })?;
            out.copy_from_slice(&of_row);
        }
        let count = self.count(metric, subject) as f64;
        let slope = metric.slope(sum / count) / count;
        gradient.iter_mut().for_each(|g| *g *= slope);
        Ok((metric.finish(sum / count), gradient))
    }

    fn position(&self, subject: &Subject) -> usize {
        self.read_at.unwrap_or(subject.tokens.len() - 1)
    }

    /// Whether a metric takes in this position.
    fn covers(&self, metric: MetricId, subject: &Subject, pos: usize) -> bool {
        match metric.over() {
            Over::Position => pos == self.position(subject),
            Over::Every => true,
            Over::Predicting => pos + 1 < subject.tokens.len(),
        }
    }

    fn count(&self, metric: MetricId, subject: &Subject) -> usize {
        match metric.over() {
            Over::Position => 1,
            Over::Every => subject.tokens.len(),
            Over::Predicting => subject.tokens.len() - 1,
        }
    }

    /// From sums over positions to the metrics. A prompt of one token predicts nothing: NaN.
    fn finish(&self, subject: &Subject, sums: Vec<f64>) -> Vec<f64> {
        let of = |(metric, sum): (&MetricId, f64)| metric.finish(sum / self.count(*metric, subject) as f64);
        self.metrics.iter().zip(sums).map(of).collect()
    }

    /// Every metric at one position; 0 where a metric does not take the position in.
    fn measure(&self, subject: &Subject, pos: usize, row: &Row) -> Vec<f64> {
        let of = |metric: &MetricId| match self.covers(*metric, subject, pos) {
            true => metric.row(row),
            false => 0.0,
        };
        self.metrics.iter().map(of).collect()
    }

    fn base_rows(&self, subject: &Subject, positions: &[usize], logits: &Tensor) -> Result<BaseRows> {
        let d_vocab = logits.dim(1).map_err(microtome_model::Error::from)?;
        let rows = with_rows(logits, <[f32]>::to_vec)?;
        let log_z: Vec<f64> = rows.par_chunks(d_vocab).map(log_sum_exp).collect();
        if log_z.iter().any(|z| !z.is_finite()) {
            return Err(Error::NotFinite { what: "the unedited run".to_owned() });
        }
        let row = |i: usize| {
            let logits = &rows[i * d_vocab..(i + 1) * d_vocab];
            unedited(subject, positions[i], logits, log_z[i])
        };
        let values = (0..positions.len())
            .into_par_iter()
            .map(|i| self.measure(subject, positions[i], &row(i)))
            .collect();
        let top = positions.iter().position(|&pos| pos == self.position(subject)).map(|i| top(&row(i)));
        Ok(BaseRows {
            index_of: positions.iter().enumerate().map(|(i, &pos)| (pos, i)).collect(),
            values,
            top: top.unwrap_or_default(),
            d_vocab,
            logits: if self.keeps_logits(subject) { rows } else { vec![] },
            log_z,
        })
    }
}

/// The unedited run of a prompt, at the positions read.
struct BaseRows {
    index_of: HashMap<usize, usize>,
    /// By position read: one number per metric.
    values: Vec<Vec<f64>>,
    top: Vec<(u32, f64)>,
    d_vocab: usize,
    /// `[positions, d_vocab]`; empty where no metric compares with them.
    logits: Vec<f32>,
    log_z: Vec<f64>,
}

/// A lane some of whose rows have come.
struct Open {
    /// Sums over positions: the base's, with each row that came put in place of the base's.
    sums: Vec<f64>,
    top: Vec<(u32, f64)>,
}

impl Open {
    /// A lane none of whose rows have come: so far equal to its base.
    fn at(base: &BaseRows, keep: KeepTop) -> Open {
        let top = match keep {
            KeepTop::OfAll => base.top.clone(),
            KeepTop::OfBases => vec![],
        };
        Open { sums: base.sums(), top }
    }
}

struct State<'a> {
    meter: &'a Meter,
    keep: KeepTop,
    subjects: &'a [Subject],
    lanes: &'a [Lane],
    bases: HashMap<usize, BaseRows>,
    open: HashMap<usize, Open>,
    out: Measured,
}

impl State<'_> {
    fn base(&mut self, prompt: usize, positions: &[usize], logits: &Tensor) -> Result<()> {
        let subject = &self.subjects[prompt];
        let base = self.meter.base_rows(subject, positions, logits)?;
        self.out.bases[prompt] =
            Some(Reading { values: self.meter.finish(subject, base.sums()), top: base.top.clone() });
        self.bases.insert(prompt, base);
        Ok(())
    }

    fn rows(&mut self, rows: &[(usize, usize)], logits: &Tensor) -> Result<()> {
        let (meter, keep, subjects, lanes) = (self.meter, self.keep, self.subjects, self.lanes);
        let bases = &self.bases;
        type Measured = (Vec<f64>, Option<Vec<(u32, f64)>>);
        let measured: Vec<Option<Measured>> = with_rows(logits, |values| {
            let d_vocab = values.len() / rows.len();
            let measure = |(&(lane, pos), logits): (&(usize, usize), &[f32])| {
                let prompt = lanes[lane].prompt;
                let (subject, base) = (&subjects[prompt], &bases[&prompt]);
                let index = base.index_of[&pos];
                let clamped = subject.clamp.map(|id| {
                    let mut row = logits.to_vec();
                    row[id as usize] = base.logits[index * base.d_vocab + id as usize];
                    row
                });
                let logits = clamped.as_deref().unwrap_or(logits);
                let log_z = log_sum_exp(logits);
                if !log_z.is_finite() {
                    return None;
                }
                let original = match base.logits.is_empty() {
                    true => logits,
                    false => &base.logits[index * base.d_vocab..(index + 1) * base.d_vocab],
                };
                let original_log_z = base.log_z[index];
                let row = Row { original, original_log_z, ..unedited(subject, pos, logits, log_z) };
                let top = (keep == KeepTop::OfAll && pos == meter.position(subject)).then(|| top(&row));
                Some((meter.measure(subject, pos, &row), top))
            };
            rows.par_iter().zip(values.par_chunks(d_vocab)).map(measure).collect()
        })?;
        for (&(lane, pos), measured) in rows.iter().zip(measured) {
            let Some((values, top)) = measured else {
                return Err(Error::NotFinite { what: format!("edited run {lane}") });
            };
            let base = &self.bases[&self.lanes[lane].prompt];
            let open = self.open.entry(lane).or_insert_with(|| Open::at(base, keep));
            let replaced = &base.values[base.index_of[&pos]];
            for ((sum, new), old) in open.sums.iter_mut().zip(values).zip(replaced) {
                *sum += new - old;
            }
            if let Some(top) = top {
                open.top = top;
            }
        }
        Ok(())
    }

    fn finish(&mut self, lane: usize) {
        let prompt = self.lanes[lane].prompt;
        let base = &self.bases[&prompt];
        let open = self.open.remove(&lane).unwrap_or_else(|| Open::at(base, self.keep));
        let values = self.meter.finish(&self.subjects[prompt], open.sums);
        self.out.lanes[lane] = Some(Reading { values, top: open.top });
    }
}

impl BaseRows {
    /// Sums over the positions, one per metric.
    fn sums(&self) -> Vec<f64> {
        let n_metrics = self.values.first().map_or(0, Vec::len);
        (0..n_metrics).map(|m| self.values.iter().map(|row| row[m]).sum()).collect()
    }
}

/// The most probable tokens of a row with their probabilities.
fn top(row: &Row) -> Vec<(u32, f64)> {
    most_probable(row.logits, TOP).into_iter().map(|id| (id, row.prob(id))).collect()
}

/// One position of a prompt's unedited run.
fn unedited<'a>(subject: &'a Subject, pos: usize, logits: &'a [f32], log_z: f64) -> Row<'a> {
    Row {
        logits,
        log_z,
        original: logits,
        original_log_z: log_z,
        answers: &subject.answers,
        wrong: &subject.wrong,
        next: subject.tokens.get(pos + 1).copied(),
    }
}
