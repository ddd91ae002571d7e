//! Circuits found automatically, by one way or several, and how much they agree.
//!
//! - [`FindBy::Acdc`]: cuts one after the other, at one threshold or several.
//! - [`FindBy::Edges`]: the edges worth most by [edge attribution patching](super::edge_attribution).
//! - [`FindBy::Nodes`]: the heads and MLPs whose edges onwards are together worth most, with all edges among them.
//!
//! Of edges and nodes either numbers are given, or the faithfulness to be reached: then the smallest circuit that reaches it
//! among sizes that grow by half, and among up to 64 sizes between that and the one before. What is found depends on the
//! prompts and on nothing else: no seed, no memory, no number of threads. A search by ACDC that was stopped goes on from
//! its record.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::acdc::{self, Progress};
use super::circuit_tables::{faithfulness_note, tables};
use super::edge_attribution::{EdgeAttribution, GradientsAt};
use super::evaluate::{Bench, Rest};
use super::faithfulness::Ends;
use super::graph::{Circuit, Edge, Graph, Node};
use super::rank::{Pick, among_first, of_first, ranked, ranked_nodes};
use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment, Watch};
use crate::measure::Reading;
use crate::method::gradient::{one_metric, single_metric};
use crate::method::patch::Direction;
use crate::method::sweep;
use crate::metric::MetricId;
use crate::record::{PromptReport, Record, Results};
use crate::stats::{Spread, mean};
use crate::text_model::TextModel;

/// A search for circuits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CircuitSearch {
    /// How; one way or several.
    pub by: Vec<FindBy>,
    /// What edges outside a circuit carry.
    #[serde(default)]
    pub rest: Rest,
    /// Searches by ACDC that were begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begun: Vec<Begun>,
}

/// A way to find circuits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FindBy {
    /// Edges are cut one after the other where that changes the metric by less than a threshold; a circuit for each of these.
    Acdc(Vec<f64>),
    /// The edges with the best scores.
    Edges {
        /// Where the derivatives of the scores are taken.
        #[serde(default)]
        gradients: GradientsAt,
        /// In which order edges are taken.
        #[serde(default)]
        pick: Pick,
        /// How many.
        size: CircuitSize,
    },
    /// The heads and MLPs with the largest scores, and all edges among them.
    Nodes {
        /// Where the derivatives of the scores are taken.
        #[serde(default)]
        gradients: GradientsAt,
        /// How many.
        size: CircuitSize,
    },
}

/// How many edges or nodes are taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CircuitSize {
    /// So many; a circuit for each number.
    Count(Vec<usize>),
    /// As few as reach this faithfulness.
    Faithful(f64),
}

/// A search by ACDC as far as it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Begun {
    /// Its threshold.
    pub threshold: f64,
    /// How many edges are decided, in the order of the search.
    pub decided: usize,
    /// The edges left.
    pub edges: BTreeSet<Edge>,
}

impl Begun {
    /// The searches by ACDC in a record, finished ones among them.
    pub fn of_record(record: &Record) -> Vec<Begun> {
        let n_edges = Graph::of(&record.model.config).edges().len();
        let of = |found: &FoundCircuit| {
            let finished = |threshold| Begun { threshold, decided: n_edges, edges: found.edges.clone() };
            found.begun.clone().or_else(|| found.threshold.map(finished))
        };
        record.results.circuits.iter().filter_map(of).collect()
    }
}

/// A circuit that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FoundCircuit {
    /// `acdc-0.05`, `edges-40`, `nodes-6`.
    pub name: String,
    /// Its edges, those on no way from the input to the logits left out. Of a search that was stopped: those left.
    pub edges: BTreeSet<Edge>,
    /// Its nodes, from the input up.
    pub nodes: Vec<Node>,
    /// The metric with the rest replaced, mean over prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Its faithfulness; 1 = the whole model, 0 = no edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faithfulness: Option<f64>,
    /// How sure the faithfulness is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// Of ACDC: its threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Of ACDC that was stopped: how to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Begun>,
}

/// Sizes measured between two rungs, at most.
const BETWEEN: usize = 64;
/// Rungs measured at once.
const RUNGS: usize = 8;
/// Thresholds, or sizes, one way may have.
const MOST_CIRCUITS: usize = 64;

impl CircuitSearch {
    /// The metrics its tables are of.
    pub fn metrics(&self) -> Vec<&'static str> {
        let circuits = |by: &FindBy| match by {
            FindBy::Acdc(thresholds) => thresholds.len(),
            FindBy::Edges { size: CircuitSize::Count(sizes), .. }
            | FindBy::Nodes { size: CircuitSize::Count(sizes), .. } => sizes.len(),
            FindBy::Edges { .. } | FindBy::Nodes { .. } => 1,
        };
        let several = self.by.iter().map(circuits).sum::<usize>() > 1;
        ["faithfulness", "edges"].into_iter().chain(several.then_some("jaccard")).collect()
    }

    /// How many circuits are measured of a prompt, about.
    pub fn count(&self, config: &microtome_model::Config) -> usize {
        let graph = Graph::of(config);
        let n_edges = graph.senders().len().saturating_mul(graph.receivers().len()) / 2;
        let of = |by: &FindBy| match by {
            FindBy::Acdc(thresholds) => thresholds.len().saturating_mul(n_edges),
            FindBy::Edges { gradients, size, .. } | FindBy::Nodes { gradients, size } => {
                let sizes = match size {
                    CircuitSize::Count(sizes) => sizes.len(),
                    CircuitSize::Faithful(_) => BETWEEN + 32,
                };
                gradients.passes(config).saturating_add(sizes)
            }
        };
        self.by.iter().map(of).sum()
    }

    pub(crate) fn run(
        &self,
        experiment: &Experiment,
        model: &TextModel,
        watch: &mut Watch,
    ) -> Result<Results> {
        self.check()?;
        let cuts_alone = self.by.iter().all(|by| matches!(by, FindBy::Acdc(_)));
        let metric = match cuts_alone {
            true => single_metric(experiment, "a search for circuits")?,
            false => one_metric(experiment, "a search for circuits")?,
        };
        let bench = Bench::new(experiment, model, metric, self.rest, watch.memory_budget)?;
        let n_edges = bench.edges.len();
        let steps = |by: &FindBy| match by {
            FindBy::Acdc(thresholds) => thresholds.len() * (n_edges + 1),
            FindBy::Edges { gradients, .. } | FindBy::Nodes { gradients, .. } => {
                bench.n_prompts() * gradients.passes(model.config()) + 1
            }
        };
        let total: usize = self.by.iter().map(steps).sum();
        (watch.progress)(0, total);
        let ends = ends(&bench, experiment.seed, watch)?.ok_or(Error::StoppedEarly)?;
        let mut circuits: Vec<FoundCircuit> = Vec::new();
        let mut done = 0;
        let mut finished = true;
        for by in &self.by {
            let before = done;
            let complete = match by {
                FindBy::Acdc(thresholds) => {
                    self.acdc(thresholds, &bench, &ends, (&mut done, total), watch, &mut circuits)?
                }
                FindBy::Edges { gradients, pick, size } => {
                    let taking = Taking { gradients: *gradients, size, what: What::Edges(*pick) };
                    taking.find(experiment, &bench, &ends, (done, total), watch, &mut circuits)?
                }
                FindBy::Nodes { gradients, size } => {
                    let taking = Taking { gradients: *gradients, size, what: What::Nodes };
                    taking.find(experiment, &bench, &ends, (done, total), watch, &mut circuits)?
                }
            };
            if !complete {
                finished = false;
                break;
            }
            done = before + steps(by);
            (watch.progress)(done, total);
        }
        if circuits.is_empty() {
            return Err(Error::StoppedEarly);
        }
        Ok(Results {
            prompts: reports(&bench, &ends),
            tables: tables(&circuits, &ends, metric),
            notes: self.notes(experiment, metric),
            runs: if finished { total } else { done.min(total.saturating_sub(1)) },
            runs_wanted: total,
            circuits,
            ..Default::default()
        })
    }

    fn check(&self) -> Result<()> {
        if self.by.is_empty() {
            let hint = "name acdc, edges or nodes";
            return Err(Error::Missing { what: "a way to find circuits", hint });
        }
        let in_range = |name, value: f64, fits: bool, expected| match fits {
            true => Ok(()),
            false => Err(Error::OutOfRange { name, value, expected }),
        };
        for by in &self.by {
            match by {
                FindBy::Acdc(thresholds) => {
                    counted("thresholds", thresholds.len())?;
                    for &threshold in thresholds {
                        let fits = threshold.is_finite() && threshold > 0.0;
                        in_range("a threshold", threshold, fits, "a number above 0, in the metric's unit")?;
                    }
                }
                FindBy::Edges { size, .. } | FindBy::Nodes { size, .. } => match size {
                    CircuitSize::Count(counts) => {
                        counted("sizes", counts.len())?;
                        for &count in counts {
                            in_range("a size", count as f64, count > 0, "at least 1")?;
                        }
                    }
                    CircuitSize::Faithful(goal) => {
                        let fits = *goal > 0.0 && *goal <= 1.0;
                        in_range("faithfulness", *goal, fits, "above 0 and at most 1")?;
                    }
                },
            }
        }
        Ok(())
    }

    /// A circuit for each threshold; whether the search came to its end.
    fn acdc(
        &self,
        thresholds: &[f64],
        bench: &Bench,
        ends: &Ends,
        (done, total): (&mut usize, usize),
        watch: &mut Watch,
        circuits: &mut Vec<FoundCircuit>,
    ) -> Result<bool> {
        for &threshold in thresholds {
            let whole = Progress { circuit: Circuit::whole(bench.graph), decided: 0 };
            let start = match self.begun.iter().find(|begun| begun.threshold == threshold) {
                None => whole,
                Some(begun) if begun.decided > bench.edges.len() => {
                    let value = begun.decided as f64;
                    return Err(Error::OutOfRange { name: "decided", value, expected: "at most all edges" });
                }
                Some(begun) => {
                    let circuit = Circuit::new(bench.graph, begun.edges.iter().copied())?;
                    Progress { circuit, decided: begun.decided }
                }
            };
            let before = *done;
            let (found, finished) =
                watch.part(before, total, |watch| acdc::search(bench, start, threshold, watch))?;
            *done = before + found.decided;
            let name = format!("acdc-{threshold}");
            if !finished {
                let Progress { circuit, decided } = found;
                let edges = circuit.edges.clone();
                circuits.push(FoundCircuit {
                    name,
                    nodes: circuit.nodes(),
                    begun: Some(Begun { threshold, decided, edges: edges.clone() }),
                    edges,
                    value: None,
                    faithfulness: None,
                    spread: None,
                    threshold: Some(threshold),
                });
                return Ok(false);
            }
            let circuit = found.circuit.pruned();
            let Some(values) = bench.values(std::slice::from_ref(&circuit), watch)? else { return Ok(false) };
            let found = FoundCircuit::measured(name, circuit, &values[0], ends);
            circuits.push(FoundCircuit { threshold: Some(threshold), ..found });
            *done = before + bench.edges.len() + 1;
        }
        Ok(true)
    }

    fn notes(&self, experiment: &Experiment, metric: MetricId) -> Vec<String> {
        let mut notes = vec![faithfulness_note(metric, Some(self.rest))];
        for by in &self.by {
            notes.push(match by {
                FindBy::Acdc(_) => format!(
                    "acdc: from the logits down an edge is cut where {} then changes by less than the threshold",
                    metric.name()
                ),
                FindBy::Edges { gradients, pick, .. } => {
                    format!("edges: by edge attribution patching ({}), {}", at(*gradients), pick.describe())
                }
                FindBy::Nodes { gradients, .. } => format!(
                    "nodes: by what their edges onwards are worth together ({}), and all edges among them",
                    at(*gradients)
                ),
            });
        }
        notes.push(format!("{}: {}", metric.name(), metric.describe()));
        notes.extend(sweep::prompts_note(experiment.prompts.len(), experiment));
        notes
    }
}

pub(crate) fn at(gradients: GradientsAt) -> String {
    match gradients {
        GradientsAt::Base => "derivatives at the clean run".to_owned(),
        GradientsAt::Inputs(m) => format!("integrated gradients over {m} steps of the input"),
        GradientsAt::Activations(m) => format!("integrated gradients over {m} steps of each layer"),
    }
}

fn counted(name: &'static str, count: usize) -> Result<()> {
    match count {
        0 => Err(Error::Missing { what: "a threshold or a size", hint: "give at least one number" }),
        _ if count > MOST_CIRCUITS => {
            Err(Error::OutOfRange { name, value: count as f64, expected: "at most 64 numbers" })
        }
        _ => Ok(()),
    }
}

/// The whole model and the circuit of no edges on every prompt; `None` where stopped.
pub(crate) fn ends(bench: &Bench, seed: u64, watch: &Watch) -> Result<Option<Ends>> {
    let none = Circuit { graph: bench.graph, edges: BTreeSet::new() };
    let Some(values) = bench.values(&[Circuit::whole(bench.graph), none], watch)? else { return Ok(None) };
    let [full, empty]: [Vec<f64>; 2] = values.try_into().expect("two circuits have two rows of values");
    Ok(Some(Ends::new(full, empty, bench.metric, seed)?))
}

/// The prompts with both ends.
pub(crate) fn reports(bench: &Bench, ends: &Ends) -> Vec<PromptReport> {
    let reading = |value: f64| Reading { values: vec![value], top: vec![] };
    let report = |(i, case): (usize, &Case)| {
        let (full, empty) = (reading(ends.full[i]), reading(ends.empty[i]));
        let runs = [("model", Some(&full)), ("no edge", Some(&empty))];
        sweep::report(bench.model, case, Some(bench.corrupts[i].clone()), &[bench.metric], &runs)
    };
    bench.cases.iter().enumerate().map(report).collect()
}

impl FoundCircuit {
    fn measured(name: String, circuit: Circuit, values: &[f64], ends: &Ends) -> FoundCircuit {
        let nodes = circuit.nodes();
        FoundCircuit {
            name,
            edges: circuit.edges,
            nodes,
            value: Some(mean(values)),
            faithfulness: Some(ends.faithfulness(values)),
            spread: ends.spread(values),
            threshold: None,
            begun: None,
        }
    }
}

/// A search among circuits of the first so many edges or nodes.
struct Taking<'a> {
    gradients: GradientsAt,
    size: &'a CircuitSize,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Edges(Pick),
    Nodes,
}

impl Taking<'_> {
    fn find(
        &self,
        experiment: &Experiment,
        bench: &Bench,
        ends: &Ends,
        (done, total): (usize, usize),
        watch: &mut Watch,
        circuits: &mut Vec<FoundCircuit>,
    ) -> Result<bool> {
        let Some(scores) = mean_scores(self.gradients, experiment, bench, (done, total), watch)? else {
            return Ok(false);
        };
        let (edges, nodes) = match self.what {
            What::Edges(pick) => (ranked(&bench.edges, &scores, pick), vec![]),
            What::Nodes => (bench.edges.clone(), ranked_nodes(&bench.graph, &bench.edges, &scores)),
        };
        let (kind, n) = match self.what {
            What::Edges(_) => ("edges", edges.len()),
            What::Nodes => ("nodes", nodes.len()),
        };
        let of = |count: usize| match self.what {
            What::Edges(_) => of_first(bench.graph, &edges, count),
            What::Nodes => among_first(bench.graph, &edges, &nodes, count),
        };
        let mut push = |count: usize, values: &[f64]| {
            circuits.push(FoundCircuit::measured(format!("{kind}-{count}"), of(count), values, ends));
        };
        match self.size {
            CircuitSize::Count(counts) => {
                for lot in counts.chunks(RUNGS) {
                    let lot: Vec<usize> = lot.iter().map(|&count| count.min(n)).collect();
                    let tried: Vec<Circuit> = lot.iter().map(|&count| of(count)).collect();
                    let Some(values) = bench.values(&tried, watch)? else { return Ok(false) };
                    lot.iter().zip(&values).for_each(|(&count, values)| push(count, values));
                }
            }
            CircuitSize::Faithful(goal) => {
                let Some((count, values)) = smallest(*goal, n, &of, bench, ends, watch)? else {
                    return Ok(false);
                };
                push(count, &values);
            }
        }
        Ok(true)
    }
}

/// How many edges or nodes were taken, and the metric of their circuit by prompt.
type Taken = (usize, Vec<f64>);

/// The smallest circuit tried that reaches a faithfulness, with its values by prompt; `None` where stopped.
fn smallest(
    goal: f64,
    n: usize,
    of: &dyn Fn(usize) -> Circuit,
    bench: &Bench,
    ends: &Ends,
    watch: &Watch,
) -> Result<Option<Taken>> {
    let first = |sizes: &[usize]| -> Result<Option<Option<Taken>>> {
        for lot in sizes.chunks(RUNGS) {
            let tried: Vec<Circuit> = lot.iter().map(|&count| of(count)).collect();
            let Some(values) = bench.values(&tried, watch)? else { return Ok(None) };
            let reaches = |values: &Vec<f64>| ends.faithfulness(values) >= goal;
            if let Some(place) = values.iter().position(reaches) {
                return Ok(Some(Some((lot[place], values[place].clone()))));
            }
        }
        Ok(Some(None))
    };
    let rungs = rungs(n);
    let Some(found) = first(&rungs)? else { return Ok(None) };
    let Some((rung, values)) = found else {
        let whole = bench.values(&[Circuit::whole(bench.graph)], watch)?;
        return Ok(whole.map(|values| (n, values[0].clone())));
    };
    let below = rungs.iter().rev().find(|&&size| size < rung).copied().unwrap_or(0);
    let between: Vec<usize> = (below + 1..rung).collect();
    let stride = between.len().div_ceil(BETWEEN).max(1);
    let some: Vec<usize> = between.into_iter().step_by(stride).collect();
    let Some(found) = first(&some)? else { return Ok(None) };
    Ok(Some(found.unwrap_or((rung, values))))
}

/// Sizes from 1 to `n`, each half as large again as the one before.
fn rungs(n: usize) -> Vec<usize> {
    let mut rungs = vec![];
    let mut size = 1;
    while size < n {
        rungs.push(size);
        size = (size + 1).max(size * 3 / 2);
    }
    rungs.push(n);
    rungs
}

/// What every edge of the graph contributes, mean over prompts; `None` where stopped.
fn mean_scores(
    gradients: GradientsAt,
    experiment: &Experiment,
    bench: &Bench,
    (done, total): (usize, usize),
    watch: &mut Watch,
) -> Result<Option<Vec<f64>>> {
    let by_prompt = scores(gradients, experiment, bench, (done, total), watch)?;
    Ok(by_prompt.map(|by_prompt| means(&by_prompt, 0..by_prompt.len())))
}

/// The mean of every cell over these prompts.
pub(crate) fn means(by_prompt: &[Vec<f64>], prompts: impl ExactSizeIterator<Item = usize>) -> Vec<f64> {
    let count = prompts.len() as f64;
    let mut sums = vec![0.0; by_prompt.first().map_or(0, Vec::len)];
    for prompt in prompts {
        sums.iter_mut().zip(&by_prompt[prompt]).for_each(|(sum, score)| *sum += score);
    }
    sums.iter_mut().for_each(|sum| *sum /= count);
    sums
}

/// What every edge contributes to the metric, by prompt; `None` where stopped.
pub(crate) fn scores(
    gradients: GradientsAt,
    experiment: &Experiment,
    bench: &Bench,
    (done, total): (usize, usize),
    watch: &mut Watch,
) -> Result<Option<Vec<Vec<f64>>>> {
    // Corrupt values in the clean run, as circuits are measured.
    let direction = Direction::Noise;
    let attribution = EdgeAttribution { direction, gradients };
    let estimate = |watch: &mut Watch| attribution.estimate(experiment, bench.model, bench.metric, watch);
    let found = match watch.part(done, total, estimate) {
        Err(Error::StoppedEarly) => return Ok(None),
        other => other?,
    };
    if found.by_prompt.len() < bench.n_prompts() {
        return Ok(None);
    }
    let contributions =
        |changes: Vec<f64>| changes.into_iter().map(|change| direction.contribution(change)).collect();
    Ok(Some(found.by_prompt.into_iter().map(contributions).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_by_half_from_one_to_all() {
        assert_eq!(rungs(1), [1]);
        assert_eq!(rungs(10), [1, 2, 3, 4, 6, 9, 10]);
        assert_eq!(rungs(32_491).len(), 27);
    }
}
