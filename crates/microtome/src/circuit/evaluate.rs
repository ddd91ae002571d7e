//! What circuits are worth: every one a lane of the clean prompts, everything outside it replaced.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use microtome_model::{Lane, LaneOptions, SenderOutputs};
use serde::{Deserialize, Serialize};

use super::graph::{Circuit, Edge, Graph};
use super::wiring::{Cut, sender_outputs};
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Watch};
use crate::measure::{KeepTop, Meter, Subject};
use crate::method::sweep;
use crate::metric::MetricId;
use crate::text_model::{TextModel, Tokens};

/// What edges outside a circuit carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// What their senders write in the corrupt run of the same pair.
    #[default]
    Resample,
    /// The mean of what their senders write in the corrupt runs of all pairs, position by position; all must be of one
    /// length.
    Mean,
    /// Nothing.
    Zero,
}

impl Rest {
    /// All of them.
    pub const ALL: [Rest; 3] = [Rest::Resample, Rest::Mean, Rest::Zero];

    /// Its name, as JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Rest::Resample => "resample",
            Rest::Mean => "mean",
            Rest::Zero => "zero",
        }
    }

    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Rest::Resample => "the corrupt run's values",
            Rest::Mean => "the mean of the corrupt runs, position by position",
            Rest::Zero => "zero",
        }
    }
}

/// Prompt pairs on which circuits are measured by one metric.
pub(crate) struct Bench<'a> {
    pub model: &'a TextModel,
    pub metric: MetricId,
    pub graph: Graph,
    /// All edges of the graph, in its order.
    pub edges: Vec<Edge>,
    pub cases: Vec<Case>,
    pub corrupts: Vec<Tokens>,
    meter: Meter,
    subjects: Vec<Subject>,
    rest: Rest,
    /// By prompt, what edges outside carry, as far as they fit the memory budget; others are run again when needed.
    kept: Vec<Option<Arc<SenderOutputs>>>,
}

/// Prompts measured at once, at most.
const PROMPTS_AT_ONCE: usize = 16;

impl<'a> Bench<'a> {
    /// The experiment's pairs.
    pub fn new(
        experiment: &Experiment,
        model: &'a TextModel,
        metric: MetricId,
        rest: Rest,
        memory_budget: usize,
    ) -> Result<Bench<'a>> {
        let cases = experiment.cases(model)?;
        let corrupts = cases
            .iter()
            .enumerate()
            .map(|(i, case)| experiment.corrupt(i, &case.clean, model))
            .collect::<Result<Vec<_>>>()?;
        let subjects = cases.iter().map(|case| case.subject(&case.clean)).collect();
        let graph = Graph::of(model.config());
        let kept = vec![None; cases.len()];
        let meter = Meter { metrics: vec![metric], read_at: experiment.read_at };
        let edges = graph.edges();
        let mut bench = Bench { model, metric, graph, edges, cases, corrupts, meter, subjects, rest, kept };
        bench.keep(memory_budget / 2)?;
        Ok(bench)
    }

    /// The same pairs with another rest.
    pub fn with(&self, rest: Rest, memory_budget: usize) -> Result<Bench<'a>> {
        let mut other = Bench {
            model: self.model,
            metric: self.metric,
            graph: self.graph,
            edges: self.edges.clone(),
            cases: self.cases.clone(),
            corrupts: self.corrupts.clone(),
            meter: self.meter.clone(),
            subjects: self.subjects.clone(),
            rest,
            kept: vec![None; self.cases.len()],
        };
        other.keep(memory_budget / 2)?;
        Ok(other)
    }

    fn keep(&mut self, budget: usize) -> Result<()> {
        if self.rest == Rest::Mean {
            let mean = Arc::new(self.mean()?);
            self.kept = vec![Some(mean); self.cases.len()];
            return Ok(());
        }
        let config = self.model.config();
        let width = self.graph.senders().len() * config.d_model * size_of::<f32>();
        let mut bytes = 0;
        for index in 0..self.cases.len() {
            bytes += self.corrupts[index].ids.len() * width;
            if bytes > budget {
                break;
            }
            self.kept[index] = Some(self.compute(index)?);
        }
        Ok(())
    }

    /// Checks that all prompts have one length.
    ///
    /// # Errors
    /// [`Error::PositionsDiffer`] naming the first that has another.
    pub fn one_length(&self) -> Result<()> {
        sweep::one_length(self.corrupts.iter().map(|corrupt| corrupt.ids.len())).map(drop)
    }

    /// The mean over all corrupt runs, one after the other so that two of them are held.
    fn mean(&self) -> Result<SenderOutputs> {
        self.one_length()?;
        let mut mean: Option<SenderOutputs> = None;
        for (index, corrupt) in self.corrupts.iter().enumerate() {
            let one = sender_outputs(self.model, &corrupt.ids)?;
            mean = Some(match mean {
                None => one,
                Some(mean) => mean.towards(&one, 1.0 / (index + 1) as f64)?,
            });
        }
        mean.ok_or(Error::Missing { what: "a prompt", hint: "give at least one pair" })
    }

    fn compute(&self, index: usize) -> Result<Arc<SenderOutputs>> {
        let corrupt = sender_outputs(self.model, &self.corrupts[index].ids)?;
        Ok(Arc::new(match self.rest {
            Rest::Zero => corrupt.zeros_like()?,
            Rest::Resample | Rest::Mean => corrupt,
        }))
    }

    fn others(&self, index: usize) -> Result<Arc<SenderOutputs>> {
        self.kept[index].clone().map_or_else(|| self.compute(index), Ok)
    }

    /// How many prompts there are.
    pub fn n_prompts(&self) -> usize {
        self.cases.len()
    }

    /// The metric of every circuit on every prompt, by circuit; `None` where the run was stopped.
    pub fn values(&self, circuits: &[Circuit], watch: &Watch) -> Result<Option<Vec<Vec<f64>>>> {
        let config = self.model.config();
        let cuts = circuits
            .iter()
            .map(|circuit| Cut::outside(circuit, &self.edges, config))
            .collect::<Result<Vec<_>>>()?;
        let options = LaneOptions { memory_budget: watch.memory_budget, cancel: Some(watch.cancel) };
        let mut values: Vec<Vec<f64>> = vec![Vec::with_capacity(self.n_prompts()); circuits.len()];
        for first in (0..self.n_prompts()).step_by(PROMPTS_AT_ONCE) {
            let count = PROMPTS_AT_ONCE.min(self.n_prompts() - first);
            let mut lanes = Vec::with_capacity(count * cuts.len());
            for prompt in 0..count {
                let others = self.others(first + prompt)?;
                lanes.extend(cuts.iter().map(|cut| Lane { prompt, edits: cut.edits(&others) }));
            }
            let subjects = &self.subjects[first..first + count];
            let (measured, _) = self.meter.run(
                self.model.model(),
                subjects,
                &lanes,
                KeepTop::OfBases,
                &options,
                &mut |_, _| {},
            )?;
            for (lane, reading) in measured.lanes.into_iter().enumerate() {
                let Some(reading) = reading else { return Ok(None) };
                values[lane % cuts.len()].push(reading.values[0]);
            }
        }
        let stopped = watch.cancel.load(Ordering::Relaxed);
        Ok((!stopped).then_some(values))
    }
}
