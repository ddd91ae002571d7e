//! A circuit as a picture: its nodes in layers, its edges by what they are worth.

use std::collections::HashMap;

use super::graph::{Circuit, Edge, Mlps, Node, Port};
use super::scores::EdgeScores;
use crate::plot::{GraphEdge, GraphNode, GraphPlot, NodeKind};
use crate::record::Basis;

impl EdgeScores {
    /// The circuit as a plot, coloured by these scores: heads of a layer in one row, its MLP in the next.
    ///
    /// A node's colour is its score in the whole model, as [`EdgeScores::node`] has it. The input has no colour: the
    /// whole difference between two prompts comes from there.
    pub fn graph_plot(&self, circuit: &Circuit, subtitle: &str) -> GraphPlot {
        let graph = circuit.graph;
        let nodes = circuit.nodes();
        let places: HashMap<Node, usize> = nodes.iter().enumerate().map(|(at, node)| (*node, at)).collect();
        let scores: HashMap<Edge, f64> = self.edges.iter().copied().collect();
        let own = self.node_scores();
        let node = |node: &Node| GraphNode {
            label: node.label(),
            row: row(*node, graph.n_layers),
            kind: match node {
                Node::Head { .. } | Node::Mlp { .. } => NodeKind::Component,
                Node::Input | Node::Logits => NodeKind::End,
            },
            score: own.get(node).copied(),
        };
        let edge = |edge: &Edge| GraphEdge {
            from: places[&edge.from],
            to: places[&edge.to],
            port: edge.port.letter().to_owned(),
            score: scores.get(edge).copied(),
        };
        let layer = |layer: usize| [format!("layer {layer}"), format!("layer {layer}")];
        let rows = std::iter::once(String::new()).chain((0..graph.n_layers).flat_map(layer));
        let heads = nodes.iter().filter(|node| matches!(node, Node::Head { .. })).count();
        let mlps = nodes.iter().filter(|node| matches!(node, Node::Mlp { .. })).count();
        let mlps = if graph.mlps == Mlps::Present {
            format!(" and {}", counted(mlps, "MLP"))
        } else {
            String::new()
        };
        GraphPlot {
            title: format!(
                "Circuit of {} between {}{mlps}",
                counted(circuit.edges.len(), "edge"),
                counted(heads, "head")
            ),
            subtitle: subtitle.to_owned(),
            rows: rows.chain([String::new()]).collect(),
            nodes: nodes.iter().map(node).collect(),
            edges: circuit.edges.iter().map(edge).collect(),
            unit: self.unit.clone(),
            baseline: format!("An edge: {}. A node: {}.", self.edge_words(), self.node_words()),
        }
    }

    /// What an edge's score is.
    pub(crate) fn edge_words(&self) -> String {
        let how = match self.basis {
            Basis::Estimate => "estimated",
            _ => "measured",
        };
        format!("{}, {how}", self.meaning)
    }

    /// What a node's score is.
    pub(crate) fn node_words(&self) -> &'static str {
        match self.nodes.is_empty() {
            true => "the sum of its edges onwards in the whole model",
            false => "a score of its own, or else the sum of its edges onwards in the whole model",
        }
    }
}

/// Rows from the bottom: the input, then of each layer its heads and its MLP, then the logits.
pub(crate) fn row(node: Node, n_layers: usize) -> usize {
    match node {
        Node::Input => 0,
        Node::Head { layer, .. } => 2 * layer + 1,
        Node::Mlp { layer } => 2 * layer + 2,
        Node::Logits => 2 * n_layers + 1,
    }
}

impl Port {
    /// `q`, `k`, `v`, or nothing.
    pub fn letter(self) -> &'static str {
        match self {
            Port::Query => "q",
            Port::Key => "k",
            Port::Value => "v",
            Port::Whole => "",
        }
    }
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
