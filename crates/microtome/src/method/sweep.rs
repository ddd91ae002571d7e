//! What sweeps share: cells to lanes, readings to tables.
//!
//! A sweep has cells (a head, a layer and position) and prompts; every pair is one lane. Tables hold
//! means over prompts. A recovery over several prompts is the recovery of the mean,
//! `(mean patched - mean corrupt) / (mean clean - mean corrupt)`, as the published figures take it.

use std::time::{Duration, Instant};

use microtome_model::{Edit, Lane, LaneOptions};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Partial, Watch};
use crate::measure::{KeepTop, Measured, Meter, Reading, Subject};
use crate::metric::{Compares, Metric, MetricId, Over};
use crate::record::{
    Axis, Basis, MetricValue, PromptReport, Quantity, Results, RunReport, Table, TokenLabel, TokenProb,
};
use crate::stats::{Bootstrap, Spread, mean, standard_error};
use crate::text_model::{TextModel, Tokens};

/// Prompts whose lanes run together, at most.
const PROMPTS_AT_ONCE: usize = 16;

/// All readings of a sweep.
pub(crate) struct Swept {
    pub metrics: Vec<MetricId>,
    /// By prompt finished: the run that was edited.
    pub bases: Vec<Reading>,
    /// By prompt finished: the run its edits were taken from, where there is one.
    pub others: Vec<Reading>,
    /// By prompt finished, by cell.
    pub cells: Vec<Vec<Option<Reading>>>,
    pub runs: usize,
    pub runs_wanted: usize,
}

/// One prompt, and what each run of it changes.
pub(crate) struct Cells {
    pub subject: Subject,
    /// By cell: its edits.
    pub edits: Vec<Vec<Edit>>,
    /// The run the edits were taken from, where it counts.
    pub other: Option<Reading>,
}

impl Cells {
    /// Cells whose edits come from nowhere else.
    pub fn of(subject: Subject, edits: Vec<Vec<Edit>>) -> Cells {
        Cells { subject, edits, other: None }
    }
}

/// Partial tables are drawn up at most this often.
const PARTIAL_EVERY: Duration = Duration::from_millis(80);

/// Runs every cell of every prompt. `cells_of` prepares a prompt, running what it needs of other prompts.
/// `tables` draws up what is known, for whoever watches.
pub(crate) fn run(
    experiment: &Experiment,
    model: &TextModel,
    watch: &mut Watch,
    n_cells: usize,
    tables: &dyn Fn(&Swept) -> Vec<Table>,
    mut cells_of: impl FnMut(usize) -> Result<Cells>,
) -> Result<Swept> {
    let meter = meter(experiment)?;
    let n_prompts = experiment.prompts.len();
    let runs_wanted = n_prompts * n_cells;
    let mut swept = Swept::none(&meter, runs_wanted);
    let mut drawn = Instant::now();
    let keep = if n_cells <= 2 { KeepTop::OfAll } else { KeepTop::OfBases };
    let mut next = 0;
    while next < n_prompts {
        let first = next;
        let mut subjects = Vec::new();
        let mut lanes = Vec::new();
        let mut bytes = 0;
        while next < n_prompts && subjects.len() < PROMPTS_AT_ONCE {
            let Cells { subject, edits, other } = cells_of(next)?;
            lanes.extend(edits.into_iter().map(|edits| Lane { prompt: next - first, edits }));
            swept.others.extend(other);
            bytes += meter.bytes_of(&subject, model.config().d_vocab);
            subjects.push(subject);
            next += 1;
            if bytes > watch.memory_budget {
                break;
            }
        }
        let done = swept.runs;
        let options = LaneOptions { memory_budget: watch.memory_budget, cancel: Some(watch.cancel) };
        let others = &swept.others;
        let mut finished = |measured: &Measured, count: usize| {
            (watch.progress)(done + count, runs_wanted);
            let Some(partial) = watch.partial.as_mut() else { return };
            if n_prompts == 1 && count > 0 && count < runs_wanted && drawn.elapsed() >= PARTIAL_EVERY {
                let mut so_far = Swept { others: others.clone(), ..Swept::none(&meter, runs_wanted) };
                so_far.take(measured.clone(), n_cells);
                partial(Partial::Tables(tables(&so_far)));
                drawn = Instant::now();
            }
        };
        let (measured, _) = meter.run(model.model(), &subjects, &lanes, keep, &options, &mut finished)?;
        if !swept.take(measured, n_cells) {
            break;
        }
    }
    // Of several prompts, keep those that are whole, so that means are over the same prompts everywhere.
    let whole = swept.cells.iter().take_while(|cells| cells.iter().all(Option::is_some)).count();
    let kept = whole.max(1);
    swept.cells.truncate(kept);
    swept.bases.truncate(kept);
    swept.others.truncate(kept);
    swept.runs = swept.cells.iter().flatten().flatten().count();
    if swept.bases.is_empty() || (swept.runs == 0 && n_cells > 0) {
        return Err(Error::StoppedEarly);
    }
    Ok(swept)
}

/// The one length of prompts that are gone through position by position.
///
/// # Errors
/// [`Error::PositionsDiffer`] naming the first of another length.
pub(crate) fn one_length(lengths: impl Iterator<Item = usize>) -> Result<usize> {
    let mut lengths = lengths.enumerate();
    let expected = lengths.next().map_or(0, |(_, length)| length);
    match lengths.find(|&(_, found)| found != expected) {
        Some((index, found)) => Err(Error::PositionsDiffer { index, found, expected }),
        None => Ok(expected),
    }
}

/// The meter an experiment asks for.
pub(crate) fn meter(experiment: &Experiment) -> Result<Meter> {
    Ok(Meter { metrics: experiment.metrics()?, read_at: experiment.read_at })
}

impl Swept {
    fn none(meter: &Meter, runs_wanted: usize) -> Swept {
        let metrics = meter.metrics.clone();
        Swept { metrics, bases: vec![], others: vec![], cells: vec![], runs: 0, runs_wanted }
    }

    /// Adds a batch; whether all of it was finished.
    fn take(&mut self, measured: Measured, n_cells: usize) -> bool {
        let Measured { bases, lanes } = measured;
        let mut lanes = lanes.into_iter();
        let mut all = true;
        for base in bases {
            let cells: Vec<Option<Reading>> = lanes.by_ref().take(n_cells).collect();
            let finished = cells.iter().flatten().count();
            all &= finished == n_cells;
            self.runs += finished;
            if let Some(base) = base {
                self.bases.push(base);
                self.cells.push(cells);
            }
        }
        all
    }

    /// What was found, with what it means: the caller's notes first, then those on metrics.
    pub fn results(
        &self,
        experiment: &Experiment,
        prompts: Vec<PromptReport>,
        tables: Vec<Table>,
        mut notes: Vec<String>,
    ) -> Results {
        notes.extend(metric_notes(experiment, self));
        let (runs, runs_wanted) = (self.runs, self.runs_wanted);
        Results { prompts, tables, notes, runs, runs_wanted, ..Default::default() }
    }

    pub(crate) fn values(&self, metric: usize, cell: usize) -> Option<Vec<f64>> {
        self.cells.iter().map(|cells| cells[cell].as_ref().map(|reading| reading.values[metric])).collect()
    }

    pub(crate) fn base_values(&self, metric: usize) -> Vec<f64> {
        self.bases.iter().map(|base| base.values[metric]).collect()
    }
}

/// What a sweep's tables are called.
pub(crate) struct Captions {
    /// The axes; none for a single cell.
    pub axes: Vec<Axis>,
    /// What was done, after the metric's name: `when one head is set to 0 at the last position`.
    pub done: String,
}

/// The change of every metric, and its value.
pub(crate) fn change_tables(swept: &Swept, captions: &Captions, seed: u64) -> Vec<Table> {
    let bootstrap = Bootstrap::new(swept.bases.len(), seed);
    let mut tables = Vec::new();
    for (m, metric) in swept.metrics.iter().enumerate() {
        let base = swept.base_values(m);
        if metric.compares() == Compares::Nothing {
            let cells = |values: Vec<f64>| Linear(values.iter().zip(&base).map(|(v, b)| v - b).collect());
            let baseline =
                format!("edited - original; 0 = the unedited run, {}", quoted(mean(&base), &**metric));
            let title = format!("Change in {} {}", metric.title(), captions.done);
            tables.push(table(swept, (m, Quantity::Change), captions, title, baseline, &bootstrap, cells));
        }
        tables.push(value_table(swept, m, captions, &bootstrap));
    }
    tables
}

/// The recovery of every metric, and its value. `ends` are the corrupt and clean readings by prompt.
pub(crate) fn recovery_tables(
    swept: &Swept,
    captions: &Captions,
    seed: u64,
    ends: &[(Reading, Reading)],
) -> Vec<Table> {
    let bootstrap = Bootstrap::new(swept.bases.len(), seed);
    let mut tables = Vec::new();
    for (m, metric) in swept.metrics.iter().enumerate() {
        if metric.compares() == Compares::Nothing {
            let (corrupt, clean): (Vec<f64>, Vec<f64>) =
                ends.iter().map(|(corrupt, clean)| (corrupt.values[m], clean.values[m])).unzip();
            let cells = |values: Vec<f64>| Ratio { values, corrupt: corrupt.clone(), clean: clean.clone() };
            let baseline = format!(
                "0 = corrupt run, {}; 1 = clean run, {}",
                quoted(mean(&corrupt), &**metric),
                quoted(mean(&clean), &**metric)
            );
            let title = format!("Recovery of {} {}", metric.title(), captions.done);
            tables.push(table(swept, (m, Quantity::Recovery), captions, title, baseline, &bootstrap, cells));
        }
        tables.push(value_table(swept, m, captions, &bootstrap));
    }
    tables
}

fn value_table(swept: &Swept, m: usize, captions: &Captions, bootstrap: &Bootstrap) -> Table {
    let metric = swept.metrics[m];
    let title = format!("{} {}", capitalised(metric.title()), captions.done);
    let baseline = match metric.compares() {
        Compares::Original => "0 = no different from the unedited run".to_owned(),
        Compares::Nothing => {
            format!("the unedited run has {}", quoted(mean(&swept.base_values(m)), &*metric))
        }
    };
    table(swept, (m, Quantity::Value), captions, title, baseline, bootstrap, Linear)
}

/// A number per cell that is computed from the cell's values over prompts.
pub(crate) trait Cell {
    /// The number over these prompts, `None` where it is not defined.
    fn over(&self, prompts: &mut dyn Iterator<Item = usize>) -> Option<f64>;
    /// Its contribution by prompt, whose scatter gives the standard error.
    fn by_prompt(&self) -> Vec<f64>;
}

/// The mean of one number per prompt.
pub(crate) struct Linear(pub Vec<f64>);

impl Cell for Linear {
    fn over(&self, prompts: &mut dyn Iterator<Item = usize>) -> Option<f64> {
        let (sum, count) = prompts.fold((0.0, 0), |(sum, count), i| (sum + self.0[i], count + 1));
        Some(sum / f64::from(count))
    }
    fn by_prompt(&self) -> Vec<f64> {
        self.0.clone()
    }
}

/// A recovery of means.
pub(crate) struct Ratio {
    pub values: Vec<f64>,
    pub corrupt: Vec<f64>,
    pub clean: Vec<f64>,
}

/// Where clean and corrupt differ by no more than this, there is nothing to recover.
pub(crate) const NOTHING_TO_RECOVER: f64 = 1e-10;

impl Cell for Ratio {
    fn over(&self, prompts: &mut dyn Iterator<Item = usize>) -> Option<f64> {
        let mut sums = (0.0, 0.0, 0);
        for i in prompts {
            sums = (
                sums.0 + self.values[i] - self.corrupt[i],
                sums.1 + self.clean[i] - self.corrupt[i],
                sums.2 + 1,
            );
        }
        let (patched, whole, count) = sums;
        (whole.abs() > NOTHING_TO_RECOVER * f64::from(count)).then(|| patched / whole)
    }
    /// The ratio estimator's residuals, so that the scatter of the denominator counts too.
    fn by_prompt(&self) -> Vec<f64> {
        let whole = mean(&self.clean) - mean(&self.corrupt);
        let ratio = (mean(&self.values) - mean(&self.corrupt)) / whole;
        let residual = |i: usize| {
            let (patched, whole_here) = (self.values[i] - self.corrupt[i], self.clean[i] - self.corrupt[i]);
            ratio + (patched - ratio * whole_here) / whole
        };
        (0..self.values.len()).map(residual).collect()
    }
}

fn table<C: Cell>(
    swept: &Swept,
    (m, quantity): (usize, Quantity),
    captions: &Captions,
    title: String,
    baseline: String,
    bootstrap: &Bootstrap,
    cell_of: impl Fn(Vec<f64>) -> C + Sync,
) -> Table {
    let n_cells = swept.cells.first().map_or(0, Vec::len);
    let cell = |index: usize| swept.values(m, index).map(&cell_of);
    table_of(swept, (m, quantity), captions, (title, baseline), bootstrap, (n_cells, &cell))
}

/// A table whose every cell is computed from readings of the sweep. `cell_of` gives the cell of an index below the
/// number beside it, `None` where it is not finished or not defined.
pub(crate) fn table_of<C: Cell>(
    swept: &Swept,
    (m, quantity): (usize, Quantity),
    captions: &Captions,
    (title, baseline): (String, String),
    bootstrap: &Bootstrap,
    (n_cells, cell_of): (usize, &(dyn Fn(usize) -> Option<C> + Sync)),
) -> Table {
    let metric = swept.metrics[m];
    let n_prompts = swept.bases.len();
    let cells: Vec<(Option<f64>, Option<Spread>)> = (0..n_cells)
        .into_par_iter()
        .map(|index| {
            let Some(cell) = cell_of(index) else { return (None, None) };
            let value = cell.over(&mut (0..n_prompts));
            let interval = || {
                let of = |draw: &[u32]| cell.over(&mut draw.iter().map(|&i| i as usize));
                let (low, high) = bootstrap.interval(of)?;
                Some(Spread { stderr: standard_error(&cell.by_prompt()), low, high })
            };
            (value, value.and_then(|_| if n_prompts > 1 { interval() } else { None }))
        })
        .collect();
    let (values, spread) = cells.into_iter().unzip();
    let spread = if n_prompts > 1 { spread } else { vec![] };
    Table {
        metric: metric.name().to_owned(),
        quantity,
        title,
        unit: match quantity {
            Quantity::Recovery => "recovery".to_owned(),
            _ => metric.unit().to_owned(),
        },
        baseline,
        basis: Basis::Exact,
        axes: captions.axes.clone(),
        values,
        spread,
    }
}

/// Says of which metrics there is nothing to recover: clean and corrupt runs have the same value.
pub(crate) fn nothing_to_recover(swept: &Swept, ends: &[(Reading, Reading)]) -> Option<String> {
    let same = |&(m, metric): &(usize, &MetricId)| {
        let apart: f64 = ends.iter().map(|(corrupt, clean)| clean.values[m] - corrupt.values[m]).sum();
        metric.compares() == Compares::Nothing && apart.abs() <= NOTHING_TO_RECOVER * ends.len() as f64
    };
    let names: Vec<&str> =
        swept.metrics.iter().enumerate().filter(same).map(|(_, metric)| metric.name()).collect();
    let which = names.join(", ");
    (!names.is_empty())
        .then(|| format!("clean and corrupt runs have the same {which}: there is nothing to recover"))
}

/// One prompt with those of the named runs that there are.
pub(crate) fn report(
    model: &TextModel,
    case: &Case,
    corrupt: Option<Tokens>,
    metrics: &[MetricId],
    runs: &[(&str, Option<&Reading>)],
) -> PromptReport {
    let label = |&id: &u32| TokenLabel { id, token: model.label(id) };
    let run = |(name, reading): (&str, &Reading)| RunReport {
        name: name.to_owned(),
        metrics: metrics
            .iter()
            .zip(&reading.values)
            .map(|(metric, &value)| MetricValue {
                metric: metric.name().to_owned(),
                value,
                unit: metric.unit().to_owned(),
            })
            .collect(),
        top: reading.top.iter().map(|&(id, prob)| TokenProb { id, token: model.label(id), prob }).collect(),
    };
    PromptReport {
        clean: case.clean.clone(),
        corrupt,
        answers: case.answers.iter().map(label).collect(),
        wrong_answers: case.wrong.iter().map(label).collect(),
        runs: runs.iter().filter_map(|(name, reading)| Some(run((name, (*reading)?)))).collect(),
    }
}

/// Where metrics are read, and what they mean, one line each.
fn metric_notes(experiment: &Experiment, swept: &Swept) -> Vec<String> {
    let metrics = &swept.metrics;
    let position = match experiment.read_at {
        Some(pos) => format!("position {pos}"),
        None => "the last position".to_owned(),
    };
    let mut notes = Vec::new();
    if metrics.iter().any(|metric| metric.over() == Over::Position) {
        notes.push(format!("metrics are read at {position}"));
        if experiment.read_at.is_some() {
            notes.push("what is edited after that position cannot reach it".to_owned());
        }
    }
    notes.extend(metrics.iter().map(|metric| format!("{}: {}", metric.name(), metric.describe())));
    notes.extend(prompts_note(swept.bases.len(), experiment));
    notes
}

/// Over how many prompts means are taken, and how their intervals come about.
pub(crate) fn prompts_note(finished: usize, experiment: &Experiment) -> Vec<String> {
    let mut notes = Vec::new();
    if finished > 1 {
        let seed = experiment.seed;
        notes.push(format!(
            "means over {finished} prompts; intervals are 95 % bootstrap over prompts, 1000 resamples, seed {seed}"
        ));
    }
    if finished < experiment.prompts.len() {
        notes.push(format!("stopped: {finished} of {} prompts are counted", experiment.prompts.len()));
    }
    notes
}

/// An axis of layers: `L0`, or `m0` and `a0` where whole layers are meant.
pub(crate) fn layer_axis(prefix: &str, layers: impl IntoIterator<Item = usize>) -> Axis {
    Axis { name: "layer".to_owned(), labels: layers.into_iter().map(|l| format!("{prefix}{l}")).collect() }
}

/// An axis of heads, `H0` and up.
pub(crate) fn head_axis(n_heads: usize) -> Axis {
    Axis { name: "head".to_owned(), labels: (0..n_heads).map(|h| format!("H{h}")).collect() }
}

/// An axis of positions, `token@position`.
pub(crate) fn position_axis(tokens: &Tokens) -> Axis {
    let labels = tokens.labels.iter().enumerate().map(|(pos, token)| format!("{token}@{pos}")).collect();
    Axis { name: "position".to_owned(), labels }
}

pub(crate) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

fn quoted(value: f64, metric: &dyn Metric) -> String {
    let number = match value.abs() {
        a if a != 0.0 && !(1e-3..1e6).contains(&a) => format!("{value:.3e}"),
        _ => format!("{value:.4}"),
    };
    format!("{number} {}", metric.unit()).trim_end().to_owned()
}
