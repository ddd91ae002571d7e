//! Features changed one at a time, or some together, all as lanes: what each is worth.
//!
//! Features are read once from the run that is changed; a change adds `(g - f) W_dec` to the activation that they write
//! ([`crate::sae::FeatureChange`]). With the error term kept, a change is measured against the run as it is. With it dropped, every
//! run goes on with the reconstruction at the positions that count, and a change is measured against the run that does that and
//! nothing else. A patch takes a feature's activation in the other run of a pair, and gives recoveries.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use microtome_model::{Positions, RunOptions};
use serde::{Deserialize, Serialize};

use super::features::counted;
use super::patch::Direction;
use super::sweep::{self, Captions, Cells, Swept};
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Watch};
use crate::measure::Reading;
use crate::metric::Compares;
use crate::record::{Axis, MetricValue, Quantity, Results, Table};
use crate::sae::{Cell, ErrorTerm, FeatureChange, Features, Sae, SaeChoice, SaeReport, edits_of};
use crate::stats::mean;
use crate::text_model::{TextModel, Tokens};

/// Features changed, asked as an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FeatureSweep {
    /// The autoencoder.
    pub sae: SaeChoice,
    /// Which features.
    #[serde(default)]
    pub features: FeatureTargets,
    /// What happens to each.
    #[serde(default)]
    pub change: FeatureChange,
    /// Whether a feature is changed at all positions that count at once, or at one after the other.
    #[serde(default)]
    pub by: FeatureCells,
    /// Positions that count; all but a BOS in front where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Positions>,
    /// What happens to what the features do not explain, at these positions.
    #[serde(default)]
    pub error: ErrorTerm,
    /// How many runs of a prompt at most: of more features, those that change most; 1000 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<usize>,
}

/// Which features are changed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FeatureTargets {
    /// Every one that is active at a position that counts, of a patch in either run, by itself.
    #[default]
    Active,
    /// These, each by itself.
    Each(Vec<usize>),
    /// These, in one run.
    Together(Vec<usize>),
}

/// Whether a feature is changed at all positions at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FeatureCells {
    /// It is.
    #[default]
    Feature,
    /// Each position is a run of its own.
    FeaturePosition,
}

/// What was changed by a sweep over features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FeatureSweepReport {
    /// The autoencoder.
    pub sae: SaeReport,
    /// What each run changed, in the order of the tables.
    pub cells: Vec<FeatureCell>,
    /// How many there were to change; more than `cells` where some were left out.
    pub n_found: usize,
    /// Of the run with the reconstruction alone, against which changes are measured, the mean of each metric over the
    /// prompts; empty where the error term is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spliced: Vec<MetricValue>,
}

/// What one run of a sweep over features changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FeatureCell {
    /// The feature.
    pub feature: usize,
    /// The position, where it is one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// Its largest activation there in the runs that were changed.
    pub activation: f64,
    /// The same in the other runs, where it was patched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<f64>,
}

/// Runs of a prompt where nobody says.
const MOST: usize = 1000;
/// How many may be asked for.
pub(super) const MOST_ASKED: usize = 100_000;

/// A sweep made ready: what is swept, and what every prompt is.
pub(super) struct Ready<'a> {
    pub sae: &'a Sae,
    pub cases: Vec<Case>,
    pub corrupts: Vec<Tokens>,
    /// By prompt: the positions that count.
    pub at: Vec<Vec<usize>>,
    pub cells: Vec<FeatureCell>,
    pub n_found: usize,
}

impl FeatureSweep {
    /// Runs of each prompt, at most.
    pub(crate) fn count(&self) -> usize {
        let wanted = match &self.features {
            FeatureTargets::Together(_) => 1,
            FeatureTargets::Each(list) if self.by == FeatureCells::Feature => list.len(),
            _ => self.most.unwrap_or(MOST),
        };
        wanted.min(self.most.unwrap_or(MOST)) + self.skipped()
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        let ready = self.ready(experiment, model, watch)?;
        let together = matches!(self.features, FeatureTargets::Together(_));
        let captions = self.captions(&ready.cells, together);
        let skipped = self.skipped();
        let tables = |swept: &Swept| {
            let shown = relative(swept, skipped);
            let tables = match self.change.direction() {
                Some(direction) => {
                    sweep::recovery_tables(&shown, &captions, experiment.seed, &direction.ends(&shown))
                }
                None => sweep::change_tables(&shown, &captions, experiment.seed),
            };
            if skipped == 0 {
                tables
            } else {
                tables.into_iter().map(|table| against_spliced(table, &shown)).collect()
            }
        };
        let swept = self.swept(experiment, model, watch, &ready, &tables)?;
        let shown = relative(&swept, skipped);
        let prompts = self.reports(model, &ready, &swept, &shown, together);
        let spliced = if skipped == 0 { vec![] } else { spliced_values(&shown) };
        let mut notes = self.notes(&ready, together);
        if let Some(direction) = self.change.direction() {
            notes.extend(sweep::nothing_to_recover(&shown, &direction.ends(&shown)));
        }
        let report = FeatureSweepReport {
            sae: ready.sae.report(),
            cells: ready.cells,
            n_found: ready.n_found,
            spliced,
        };
        let found = tables(&swept);
        Ok(Results { feature_sweep: Some(report), ..swept.results(experiment, prompts, found, notes) })
    }

    /// Runs of a prompt that change no feature and come before those that do.
    pub(super) fn skipped(&self) -> usize {
        usize::from(self.error == ErrorTerm::Drop)
    }

    /// Runs all cells; see [`relative`].
    pub(super) fn swept(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
        ready: &Ready,
        tables: &dyn Fn(&Swept) -> Vec<Table>,
    ) -> Result<Swept> {
        let together = matches!(self.features, FeatureTargets::Together(_));
        let n_runs = if together { 1 } else { ready.cells.len() };
        sweep::run(experiment, model, watch, n_runs + self.skipped(), tables, |prompt| {
            self.cells_of(experiment, model, ready, prompt, together)
        })
    }

    pub(super) fn ready<'a>(
        &self,
        experiment: &Experiment,
        model: &'a TextModel,
        watch: &mut Watch,
    ) -> Result<Ready<'a>> {
        let sae = model.sae(&self.sae)?;
        self.change.check()?;
        let most = match self.most.unwrap_or(MOST) {
            most @ 1..=MOST_ASKED => most,
            other => {
                let (name, value) = ("the number of runs of a prompt", other as f64);
                return Err(Error::OutOfRange { name, value, expected: "1 to 100000" });
            }
        };
        if matches!(self.features, FeatureTargets::Together(_)) && self.by == FeatureCells::FeaturePosition {
            let what = "positions one after the other: all are changed in one run";
            return Err(Error::Unused { method: "a change of features together", what });
        }
        let cases = experiment.cases(model)?;
        let corrupts = match self.change.direction() {
            Some(_) => {
                let corrupt = |(i, case): (usize, &Case)| experiment.corrupt(i, &case.clean, model);
                cases.iter().enumerate().map(corrupt).collect::<Result<_>>()?
            }
            None => vec![],
        };
        if self.by == FeatureCells::FeaturePosition {
            sweep::one_length(cases.iter().map(|case| case.clean.ids.len()))?;
        }
        let at = cases
            .iter()
            .map(|case| Ok(counted(&self.at, &case.clean, model).resolve(case.clean.ids.len())?))
            .collect::<Result<Vec<_>>>()?;
        let mut ready = Ready { sae, cases, corrupts, at, cells: vec![], n_found: 0 };
        let mut found = Found::default();
        for prompt in 0..ready.cases.len() {
            if watch.cancel.load(Ordering::Relaxed) {
                return Err(Error::StoppedEarly);
            }
            let (own, other) = self.features_of(&ready, model, prompt)?;
            found.take(self.by, &ready.at[prompt], &own, other.as_ref());
        }
        (ready.cells, ready.n_found) = found.cells(self, sae, &ready.at[0], most)?;
        if ready.cells.is_empty() {
            let hint = "none is active at the positions that count; name some, or count other positions";
            return Err(Error::Missing { what: "a feature", hint });
        }
        Ok(ready)
    }

    /// The features of the run that is changed, and of the other where there is one.
    pub(super) fn features_of(
        &self,
        ready: &Ready,
        model: &TextModel,
        prompt: usize,
    ) -> Result<(Features, Option<Features>)> {
        let read = |tokens: &Tokens| ready.sae.features(&ready.sae.read(model, &tokens.ids)?);
        let clean = &ready.cases[prompt].clean;
        match self.change.direction() {
            Some(direction) => {
                let (base, other) = direction.base_and_other(clean, &ready.corrupts[prompt]);
                Ok((read(base)?, Some(read(other)?)))
            }
            None => Ok((read(clean)?, None)),
        }
    }

    /// The runs of one prompt.
    fn cells_of(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        ready: &Ready,
        prompt: usize,
        together: bool,
    ) -> Result<Cells> {
        let (own, other) = self.features_of(ready, model, prompt)?;
        let case = &ready.cases[prompt];
        let dropped = self.dropped(ready, prompt);
        let edits = |cells: &[Cell]| edits_of(ready.sae, model, (&own, other.as_ref()), cells, dropped);
        let cell = |cell: &FeatureCell| Cell {
            feature: cell.feature,
            change: self.change,
            at: cell.position.map_or_else(|| ready.at[prompt].clone(), |pos| vec![pos]),
        };
        let cells: Vec<Cell> = ready.cells.iter().map(cell).collect();
        let mut runs = Vec::new();
        if dropped.is_some() {
            runs.push(edits(&[])?);
        }
        match together {
            true => runs.push(edits(&cells)?),
            false => {
                for cell in &cells {
                    runs.push(edits(std::slice::from_ref(cell))?);
                }
            }
        }
        let Some(direction) = self.change.direction() else {
            return Ok(Cells::of(case.subject(&case.clean), runs));
        };
        let (base, from) = direction.base_and_other(&case.clean, &ready.corrupts[prompt]);
        let (meter, source) = (sweep::meter(experiment)?, case.subject(from));
        let options = RunOptions { logits: meter.read(), ..Default::default() };
        let run = model.model().run(&source.tokens, &options)?;
        let reading = meter.of_logits(&source, run.logits()?)?;
        Ok(Cells { subject: case.subject(base), edits: runs, other: Some(reading) })
    }

    /// Where a prompt's run goes on with the reconstruction alone.
    pub(super) fn dropped<'r>(&self, ready: &'r Ready, prompt: usize) -> Option<&'r [usize]> {
        (self.error == ErrorTerm::Drop).then_some(&ready.at[prompt][..])
    }

    fn captions(&self, cells: &[FeatureCell], together: bool) -> Captions {
        let what = if together { "these features are" } else { "a feature is" };
        let done = format!("when {what} {}", self.change.describe());
        Captions { axes: if together { vec![] } else { vec![cell_axis(cells)] }, done }
    }

    fn reports(
        &self,
        model: &TextModel,
        ready: &Ready,
        swept: &Swept,
        shown: &Swept,
        together: bool,
    ) -> Vec<crate::record::PromptReport> {
        let dropped = self.error == ErrorTerm::Drop;
        (0..swept.bases.len())
            .map(|i| {
                let changed = shown.cells[i].first().and_then(Option::as_ref).filter(|_| together);
                let spliced = dropped.then(|| &shown.bases[i]);
                let mut runs: Vec<(&str, Option<&Reading>)> = match self.change.direction() {
                    Some(Direction::Denoise) => {
                        vec![("clean", swept.others.get(i)), ("corrupt", swept.bases.get(i))]
                    }
                    Some(Direction::Noise) => {
                        vec![("clean", swept.bases.get(i)), ("corrupt", swept.others.get(i))]
                    }
                    None => vec![("clean", swept.bases.get(i))],
                };
                runs.extend([("spliced", spliced), ("edited", changed)]);
                sweep::report(model, &ready.cases[i], ready.corrupts.get(i).cloned(), &swept.metrics, &runs)
            })
            .collect()
    }

    fn notes(&self, ready: &Ready, together: bool) -> Vec<String> {
        let positions = match (&self.at, self.by) {
            (None, FeatureCells::Feature) => "all positions but BOS".to_owned(),
            (None, FeatureCells::FeaturePosition) => "one position after the other, BOS left out".to_owned(),
            (Some(at), FeatureCells::Feature) => at.to_string(),
            (Some(at), FeatureCells::FeaturePosition) => format!("one position after the other of {at}"),
        };
        let how = if together { "together" } else { "each by itself" };
        let mut notes = vec![format!(
            "features of {} at {}, {how}, at {positions}: {}",
            self.sae,
            ready.sae.place(),
            self.change.describe()
        )];
        notes.push(match self.error {
            ErrorTerm::Keep => "what the features do not explain stays as it is".to_owned(),
            ErrorTerm::Drop => {
                "what the features do not explain is dropped at the positions that count; changes are \
                                against the run in which that is all that happens"
                    .to_owned()
            }
        });
        if ready.n_found > ready.cells.len() {
            let (kept, found) = (ready.cells.len(), ready.n_found);
            notes.push(format!(
                "of {found} runs there could be, the {kept} with the largest changes of activation"
            ));
        }
        notes
    }
}

/// An axis of cells, `305` or `305@7`.
pub(super) fn cell_axis(cells: &[FeatureCell]) -> Axis {
    let label = |cell: &FeatureCell| match cell.position {
        Some(pos) => format!("{}@{pos}", cell.feature),
        None => cell.feature.to_string(),
    };
    Axis { name: "feature".to_owned(), labels: cells.iter().map(label).collect() }
}

/// The readings with the run that only drops the error as what is changed.
pub(super) fn relative(swept: &Swept, skipped: usize) -> Swept {
    let Swept { metrics, bases, others, cells, runs, runs_wanted } = swept;
    let mut shown = Swept {
        metrics: metrics.clone(),
        bases: bases.clone(),
        others: others.clone(),
        cells: cells.clone(),
        runs: *runs,
        runs_wanted: *runs_wanted,
    };
    if skipped > 0 {
        for (base, cells) in shown.bases.iter_mut().zip(&mut shown.cells) {
            if let Some(spliced) = cells.remove(0) {
                *base = spliced;
            }
        }
    }
    shown
}

/// A table whose baseline is the spliced run, saying so; metrics that compare with the unedited run go on doing that.
fn against_spliced(table: Table, shown: &Swept) -> Table {
    let metric = shown.metrics.iter().find(|metric| metric.name() == table.metric);
    if metric.is_some_and(|metric| metric.compares() == Compares::Original) {
        return table;
    }
    let baseline = match table.quantity {
        Quantity::Recovery => format!("{}, the changed one with its error dropped", table.baseline),
        _ => table
            .baseline
            .replace(
                "edited - original; 0 = the unedited run",
                "edited - spliced; 0 = the reconstruction alone",
            )
            .replace("the unedited run has", "the reconstruction alone has"),
    };
    Table { baseline, ..table }
}

/// Mean over the prompts of the metrics of the spliced runs.
fn spliced_values(shown: &Swept) -> Vec<MetricValue> {
    let value = |(m, metric): (usize, &crate::metric::MetricId)| MetricValue {
        metric: metric.name().to_owned(),
        value: mean(&shown.base_values(m)),
        unit: metric.unit().to_owned(),
    };
    shown.metrics.iter().enumerate().map(value).collect()
}

/// Largest activations of features, by feature and, where asked, position.
#[derive(Default)]
struct Found {
    /// In the runs that are changed, in the others, and the largest difference.
    largest: HashMap<(usize, Option<usize>), (f64, f64, f64)>,
}

impl Found {
    fn take(&mut self, by: FeatureCells, at: &[usize], own: &Features, other: Option<&Features>) {
        for &pos in at {
            let key = |feature| (feature, (by == FeatureCells::FeaturePosition).then_some(pos));
            let mut here: HashMap<usize, (f64, f64)> = HashMap::new();
            for active in &own.active[pos] {
                here.entry(active.feature).or_default().0 = active.activation;
            }
            for active in other.iter().flat_map(|other| &other.active[pos]) {
                here.entry(active.feature).or_default().1 = active.activation;
            }
            for (feature, (own, other)) in here {
                let largest = self.largest.entry(key(feature)).or_insert((0.0, 0.0, 0.0));
                let apart = (own - other).abs();
                *largest = (largest.0.max(own), largest.1.max(other), largest.2.max(apart));
            }
        }
    }

    /// The cells of a sweep and how many there could be. Those found go by how much of them there is to change, the most
    /// first; those asked for by name stay in their order.
    fn cells(
        &self,
        sweep: &FeatureSweep,
        sae: &Sae,
        at: &[usize],
        most: usize,
    ) -> Result<(Vec<FeatureCell>, usize)> {
        let cell = |key: (usize, Option<usize>)| {
            let (own, other, _) = self.largest.get(&key).copied().unwrap_or_default();
            FeatureCell {
                feature: key.0,
                position: key.1,
                activation: own,
                other: sweep.change.direction().map(|_| other),
            }
        };
        let named = match &sweep.features {
            FeatureTargets::Active => {
                let mut keys: Vec<_> = self.largest.iter().filter(|(_, found)| found.2 > 0.0).collect();
                keys.sort_by(|a, b| b.1.2.total_cmp(&a.1.2).then(a.0.cmp(b.0)));
                let n_found = keys.len();
                return Ok((keys.into_iter().take(most).map(|(&key, _)| cell(key)).collect(), n_found));
            }
            FeatureTargets::Each(list) | FeatureTargets::Together(list) => list,
        };
        for (i, &feature) in named.iter().enumerate() {
            sae.check_feature(feature)?;
            if named[..i].contains(&feature) {
                return Err(Error::NamedTwice { component: format!("feature {feature}"), place: i + 1 });
            }
        }
        let keys: Vec<(usize, Option<usize>)> = match sweep.by {
            FeatureCells::Feature => named.iter().map(|&feature| (feature, None)).collect(),
            FeatureCells::FeaturePosition => {
                named.iter().flat_map(|&feature| at.iter().map(move |&pos| (feature, Some(pos)))).collect()
            }
        };
        if keys.len() > most && !matches!(sweep.features, FeatureTargets::Together(_)) {
            let (name, value) = ("the number of runs of a prompt", keys.len() as f64);
            return Err(Error::OutOfRange {
                name,
                value,
                expected: "at most what `most` says, 1000 where it says nothing",
            });
        }
        let n_found = keys.len();
        Ok((keys.into_iter().map(cell).collect(), n_found))
    }
}
