//! Attribution patching: every activation patch at once, estimated by one backward pass.
//!
//! To first order, patching an activation changes the metric by
//!
//! ```text
//! score = sum over features of (other - base) . d metric / d activation, the derivative at the base run
//! ```
//!
//! with base and other the corrupt and the clean run (denoise) or the other way round (noise). Sites and layouts are those of
//! the patch it estimates, a table has the same axes. Two runs and one backward pass give what takes a sweep thousands of
//! runs; where a softmax or a LayerNorm is far from straight the estimate is off, and there are three remedies:
//!
//! - Integrated gradients: the derivative is the mean over the middles of `steps` equal steps of the input embeddings from
//!   base to other. The scores of `resid_pre` of layer 0 then sum, as steps grow, to the whole change. Other activations move
//!   along with the one that is scored, so where they interact (a pattern with the values) such a score is no nearer to the
//!   single patch: it is a share of the whole change.
//! - The QK fix, for queries and keys: the softmax is computed again with what is patched, and only what follows the pattern
//!   is taken as linear (`pattern_change`).
//! - GradDrop: one derivative per layer, with what that layer adds to the residual stream held fixed; the score is the mean of
//!   their sizes, so that effects that cancel between layers are seen. Of an activation inside a layer's attention or MLP, the
//!   mean is over the other layers. Such scores have no sign.
//!
//! And cells can be measured as well, by patching (`check`).
//!
//! Nanda 2023; Kramar, Lieberum, Shah and Nanda 2024 (AtP*). Of the latter's there is no subset sampling to bound what is
//! missed: `check` measures instead.

use microtome_model::{Config, Positions, Site};
use serde::{Deserialize, Serialize};

use super::attribution_estimate::{Estimate, passes};
use super::gradient::{Of, check_steps, one_metric};
use super::patch::{By, Direction, Patch, PromptPairs, Spot};
use super::remeasure::{Check, remeasured};
use super::sweep::{self, Captions, Swept};
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Partial, Watch};
use crate::measure::Reading;
use crate::metric::MetricId;
use crate::record::{Axis, Basis, PromptReport, Quantity, Results, Table};
use crate::stats::over_prompts;
use crate::text_model::TextModel;

/// An estimate of a patch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AttributionPatching {
    /// Which activation.
    pub site: Site,
    /// How the patches are laid out.
    pub by: By,
    /// Which run is patched from which.
    #[serde(default)]
    pub direction: Direction,
    /// Positions patched where the layout does not go through them.
    #[serde(default)]
    pub at: Positions,
    /// Steps of the input over which derivatives are averaged; at the base run alone where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// What is done about where the estimate fails.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrections: Vec<Correction>,
    /// Which cells are measured too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
}

/// A correction of the estimate, from AtP*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// The softmax is computed again; sites `q` and `k`.
    QkFix,
    /// The mean size over derivatives that each leave out one layer.
    GradDrop,
}

impl AttributionPatching {
    /// The patch that is estimated.
    pub fn patch(&self) -> Patch {
        Patch { site: self.site, by: self.by.clone(), direction: self.direction, at: self.at.clone() }
    }

    /// Backward passes and edited runs of one prompt of `len` tokens.
    pub fn count(&self, config: &Config, len: usize) -> usize {
        let measured = self.check.map_or(0, |check| check.count(self.by.count(config, len)));
        passes(self, config).saturating_add(measured)
    }

    pub(crate) fn has(&self, correction: Correction) -> bool {
        self.corrections.contains(&correction)
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        self.check(model)?;
        let metric = one_metric(experiment, "attribution patching")?;
        let pairs = PromptPairs::of(experiment, model)?;
        let (cells, axes) = self.patch().cells(model, &pairs.cases)?;
        let n_prompts = pairs.cases.len();
        let passes = passes(self, model.config());
        let n_measured = self.check.map_or(0, |check| check.count(cells.len()));
        let runs_wanted = n_prompts * (passes + n_measured);

        let mut found = Found { axes, by_prompt: vec![], bases: vec![], others: vec![] };
        let mut done = 0;
        (watch.progress)(0, runs_wanted);
        for (case, corrupt) in pairs.cases.iter().zip(&pairs.corrupts) {
            let (base, other) = self.direction.base_and_other(&case.clean, corrupt);
            let of = Of { metric, read_at: experiment.read_at, answers: &case.answers, wrong: &case.wrong };
            let prompt = (case, base, other);
            let estimate = Estimate::new(self, model, &cells, of, prompt, watch.memory_budget)?;
            let scores = estimate.run(watch, |watch| {
                done += 1;
                (watch.progress)(done, runs_wanted);
            })?;
            let Some(scores) = scores else { break };
            found.by_prompt.push(scores);
            found.bases.push(estimate.base_reading);
            found.others.push(estimate.other_reading);
        }
        let finished = found.by_prompt.len();
        if finished == 0 {
            return Err(Error::StoppedEarly);
        }
        let tables = self.tables(&found, metric, experiment.seed);
        let mut runs = finished * passes;
        let mut checked = None;
        if let Some(check) = self.check.filter(|_| finished == n_prompts) {
            if let Some(partial) = watch.partial.as_mut().filter(|_| n_prompts == 1) {
                partial(Partial::Tables(tables.clone()));
            }
            let (means, _) = over_prompts(&found.by_prompt, experiment.seed);
            let chosen = check.cells(&means);
            let spots: Vec<Vec<Spot>> = chosen.iter().map(|&cell| cells[cell].clone()).collect();
            let exact = Experiment { metrics: vec![metric], ..experiment.clone() };
            if let Some(swept) = self.measure(&exact, model, watch, &pairs, &spots, runs)? {
                runs += swept.runs;
                let size = |change: f64| if self.has(Correction::GradDrop) { change.abs() } else { change };
                let (table, seed) = (&tables[0], experiment.seed);
                checked = remeasured(table, &chosen, &found.by_prompt, &swept, size, seed);
            }
        }
        let mut notes = vec![self.done(metric)];
        notes.push(format!("{}: {}", metric.name(), metric.describe()));
        notes.extend(sweep::prompts_note(finished, experiment));
        Ok(Results {
            prompts: self.reports(model, &pairs, &found, metric),
            tables,
            remeasured: checked,
            notes,
            runs,
            runs_wanted,
            ..Default::default()
        })
    }

    fn check(&self, model: &TextModel) -> Result<()> {
        self.patch().check(model)?;
        self.steps.map_or(Ok(()), check_steps)?;
        self.check.map_or(Ok(()), Check::check)?;
        if self.has(Correction::QkFix) && !matches!(self.site, Site::Q | Site::K) {
            return Err(Error::Unused {
                method: "an estimate of a site other than q and k",
                what: "the QK fix",
            });
        }
        if self.has(Correction::GradDrop) {
            if matches!(self.by, By::Heads(_) | By::Layers(_)) {
                return Err(Error::Unused {
                    method: "an estimate of several parts patched together",
                    what: "GradDrop",
                });
            }
            if model.config().n_layers < 2 {
                return Err(Error::Missing {
                    what: "a second layer",
                    hint: "GradDrop takes the mean over the other layers; leave it out",
                });
            }
        }
        Ok(())
    }

    /// Patches cells; `None` where it was stopped before the first was finished.
    fn measure(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
        pairs: &PromptPairs,
        cells: &[Vec<Spot>],
        done: usize,
    ) -> Result<Option<Swept>> {
        let wanted = done + pairs.cases.len() * cells.len();
        let sweep =
            |watch: &mut Watch| self.patch().sweep(experiment, model, watch, pairs, cells, &|_| vec![]);
        match watch.part(done, wanted, sweep) {
            Ok(swept) => Ok(Some(swept)),
            Err(Error::StoppedEarly) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The estimated change, and recovery where it has a sign.
    fn tables(&self, found: &Found, metric: MetricId, seed: u64) -> Vec<Table> {
        let (means, spreads) = over_prompts(&found.by_prompt, seed);
        let (_, to) = self.direction.source_and_target();
        let base = found.bases.iter().map(|base| base.values[0]).sum::<f64>() / found.bases.len() as f64;
        let done = format!("when {}", self.patch().done());
        let what = if self.has(Correction::GradDrop) { "size of the change" } else { "change" };
        let change = Table {
            metric: metric.name().to_owned(),
            quantity: Quantity::Change,
            title: format!("Estimated {what} in {} {done}", metric.title()),
            unit: metric.unit().to_owned(),
            baseline: format!("0 = the {to} run, {base:.4} {}", metric.unit()).trim_end().to_owned(),
            basis: Basis::Estimate,
            axes: found.axes.clone(),
            values: means.into_iter().map(Some).collect(),
            spread: spreads.into_iter().map(Some).collect(),
        };
        if self.has(Correction::GradDrop) {
            return vec![change];
        }
        let swept = found.as_sweep(metric);
        let captions = Captions { axes: found.axes.clone(), done };
        let recovery = sweep::recovery_tables(&swept, &captions, seed, &self.direction.ends(&swept))
            .into_iter()
            .filter(|table| table.quantity == Quantity::Recovery)
            .map(|table| Table {
                title: format!("Estimated recovery of {} {}", metric.title(), captions.done),
                basis: Basis::Estimate,
                ..table
            });
        std::iter::once(change).chain(recovery).collect()
    }

    fn reports(
        &self,
        model: &TextModel,
        pairs: &PromptPairs,
        found: &Found,
        metric: MetricId,
    ) -> Vec<PromptReport> {
        let ends = self.direction.ends(&found.as_sweep(metric));
        let of = |(i, (corrupt, clean)): (usize, &(Reading, Reading))| {
            let runs = [("clean", Some(clean)), ("corrupt", Some(corrupt))];
            sweep::report(model, &pairs.cases[i], Some(pairs.corrupts[i].clone()), &[metric], &runs)
        };
        ends.iter().enumerate().map(of).collect()
    }

    /// What was done, in words.
    fn done(&self, metric: MetricId) -> String {
        let (from, to) = self.direction.source_and_target();
        let at = match self.steps {
            None => format!("at the {to} run"),
            Some(m) => format!("mean over {m} steps of the input from the {to} prompt to the {from} one"),
        };
        let (site, name) = (self.site.short_name(), metric.name());
        let what = match self.has(Correction::QkFix) {
            false => format!("({from} - {to}) {site} . d {name} / d {site}, {at}"),
            true => format!(
                "(pattern with the {from} {site} - pattern of the {to} run) . d {name} / d pattern, {at} (QK fix)"
            ),
        };
        let dropped = match self.has(Correction::GradDrop) {
            false => "",
            true => "; the mean size over derivatives that each leave out what one layer writes (GradDrop)",
        };
        format!("{}, estimated: {what}{dropped}", self.patch().done())
    }
}

/// What is known of every prompt finished.
struct Found {
    axes: Vec<Axis>,
    /// By prompt and cell.
    by_prompt: Vec<Vec<f64>>,
    bases: Vec<Reading>,
    others: Vec<Reading>,
}

impl Found {
    /// The sweep it is an estimate of.
    fn as_sweep(&self, metric: MetricId) -> Swept {
        let of_prompt = |(scores, base): (&Vec<f64>, &Reading)| {
            let cell = |score| Some(Reading { values: vec![base.values[0] + score], top: vec![] });
            scores.iter().map(cell).collect::<Vec<_>>()
        };
        let cells: Vec<Vec<Option<Reading>>> =
            self.by_prompt.iter().zip(&self.bases).map(of_prompt).collect();
        let runs = cells.iter().map(Vec::len).sum();
        Swept {
            metrics: vec![metric],
            bases: self.bases.clone(),
            others: self.others.clone(),
            cells,
            runs,
            runs_wanted: runs,
        }
    }
}
