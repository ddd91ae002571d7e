//! What edges are worth, as a circuit is chosen and drawn by it.
//!
//! A score is what an edge contributes to the metric: the change when it carries the clean run's value (denoise), or what
//! is lost when it carries the corrupt run's (noise: minus the change). So a positive edge helps the metric either way, as in
//! the EAP and MIB files. A node's score is the sum of its edges onwards: the first-order effect of patching what it
//! writes.

use std::collections::HashMap;

use microtome_model::Positions;

use super::graph::{Circuit, Edge, Graph, Node};
use super::path_patch::{MlpsBetween, PathPatch, Receivers, Senders};
use super::rank::by_size;
use crate::error::{Error, Result};
use crate::experiment::Method;
use crate::method::patch::Direction;
use crate::record::{Basis, Quantity, Record, Table};
use crate::stats::mean;

/// Scores of edges of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeScores {
    /// The model's graph.
    pub graph: Graph,
    /// Scored edges, in the order of the graph's.
    pub edges: Vec<(Edge, f64)>,
    /// Scores that nodes have of their own; where a node has none, the sum of its edges onwards stands for it.
    pub nodes: HashMap<Node, f64>,
    /// What a score counts.
    pub unit: String,
    /// Whether scores were measured or estimated.
    pub basis: Basis,
    /// What a score is, in words.
    pub meaning: String,
}

/// Which edges are left of the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Those on a way from the input to the logits.
    #[default]
    Paths,
    /// All.
    All,
}

impl EdgeScores {
    /// The scores that a record of edge attribution, or of edges patched one by one, has found.
    ///
    /// # Errors
    /// [`Error::NoEdges`] for a record of anything else.
    pub fn of_record(record: &Record) -> Result<EdgeScores> {
        let none = || Error::NoEdges { method: record.experiment.method.name() };
        let direction = match &record.experiment.method {
            Method::EdgeAttribution(attribution) => attribution.direction,
            // Of single edges: what goes from one sender straight to one receiver.
            Method::PathPatch(PathPatch {
                from: Senders::Every | Senders::Each(_),
                to: Receivers::Every | Receivers::Each(_),
                mlps: MlpsBetween::Frozen,
                direction,
                at: Positions::All,
            }) => *direction,
            _ => return Err(none()),
        };
        let of = |quantity| record.results.tables.iter().find(|table| table.quantity == quantity);
        // Patches tell what the metric becomes, not by how much it changes.
        let (table, base) = match of(Quantity::Change) {
            Some(table) => (table, 0.0),
            None => {
                let table = of(Quantity::Value).ok_or_else(none)?;
                (table, base_of(record, direction, &table.metric).ok_or_else(none)?)
            }
        };
        let edges = named(table).ok_or_else(none)?;
        let meaning = match direction {
            Direction::Denoise => "change when the edge carries the clean run's value",
            Direction::Noise => "what is lost when the edge carries the corrupt run's value",
        };
        let scored =
            edges.into_iter().filter_map(|(edge, value)| Some((edge, direction.contribution(value? - base))));
        Ok(EdgeScores {
            graph: Graph::of(&record.model.config),
            // No zero with a sign: it would be told apart from its own copy.
            edges: scored.map(|(edge, score)| (edge, score + 0.0)).collect(),
            nodes: HashMap::new(),
            unit: table.unit.clone(),
            basis: table.basis,
            meaning: meaning.to_owned(),
        })
    }

    /// A node's score: its own, or the sum of its edges onwards; `None` where there is neither.
    pub fn node(&self, node: Node) -> Option<f64> {
        if let Some(score) = self.nodes.get(&node) {
            return Some(*score);
        }
        let mut onwards =
            self.edges.iter().filter(|(edge, _)| edge.from == node).map(|(_, score)| score).peekable();
        onwards.peek()?;
        Some(onwards.sum())
    }

    /// Scores of all nodes that have one.
    pub fn node_scores(&self) -> HashMap<Node, f64> {
        let mut scores = sums_onwards(self.edges.iter().copied());
        scores.extend(&self.nodes);
        scores
    }

    /// The edges by the size of their scores, largest first; equal ones in the graph's order.
    pub fn strongest(&self) -> Vec<(Edge, f64)> {
        let scores: Vec<f64> = self.edges.iter().map(|(_, score)| *score).collect();
        by_size(&scores).into_iter().map(|place| self.edges[place]).collect()
    }

    /// The circuit of so many of the strongest edges; edges worth nothing are left out.
    pub fn circuit(&self, count: usize, keep: Keep) -> Circuit {
        let edges = self.strongest().into_iter().take(count).filter(|(_, score)| *score != 0.0);
        let circuit = Circuit { graph: self.graph, edges: edges.map(|(edge, _)| edge).collect() };
        match keep {
            Keep::Paths => circuit.pruned(),
            Keep::All => circuit,
        }
    }

    /// How many edges have at least this score, whatever its sign.
    pub fn count_from(&self, least: f64) -> usize {
        self.edges.iter().filter(|(_, score)| score.abs() >= least).count()
    }
}

/// By node, the sum of its edges onwards.
pub(crate) fn sums_onwards(edges: impl Iterator<Item = (Edge, f64)>) -> HashMap<Node, f64> {
    let mut sums: HashMap<Node, f64> = HashMap::new();
    for (edge, score) in edges {
        *sums.entry(edge.from).or_default() += score;
    }
    sums
}

/// The metric of the run that is changed, mean over prompts.
fn base_of(record: &Record, direction: Direction, metric: &str) -> Option<f64> {
    let name = match direction {
        Direction::Denoise => "corrupt",
        Direction::Noise => "clean",
    };
    let values = record.results.prompts.iter().map(|prompt| {
        let run = prompt.runs.iter().find(|run| run.name == name)?;
        Some(run.metrics.iter().find(|value| value.metric == metric)?.value)
    });
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    (!values.is_empty()).then(|| mean(&values))
}

/// The cells of a table over edges, or over senders and receivers, by edge.
fn named(table: &Table) -> Option<Vec<(Edge, Option<f64>)>> {
    let values = table.values.iter().copied();
    match &table.axes[..] {
        [edges] if edges.name == "edge" => {
            edges.labels.iter().zip(values).map(|(label, value)| Some((label.parse().ok()?, value))).collect()
        }
        [senders, receivers] if senders.name == "sender" && receivers.name == "receiver" => {
            let names = senders.labels.iter().flat_map(|from| {
                receivers.labels.iter().map(move |to| format!("{from}->{to}").parse::<Edge>().ok())
            });
            Some(names.zip(values).filter_map(|(edge, value)| Some((edge?, value))).collect())
        }
        _ => None,
    }
}
