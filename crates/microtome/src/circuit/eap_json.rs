//! Scores of edges and circuits in the JSON of the EAP-IG library and of MIB.
//!
//! `cfg` has the sizes of the model, `nodes` each node with `in_graph` and where known its `score`, `edges` each edge with its
//! `score` and `in_graph`. Every node and edge of the model's graph is written; what is not there when a file is read has no score and
//! is not in the circuit. Hanna, Pezzelle and Belinkov 2024 (`Graph.to_json`); Mueller et al. 2025.

use std::collections::{BTreeMap, HashMap};

use microtome_model::Config;
use serde::{Deserialize, Serialize};

use super::graph::{Circuit, Edge, Graph, Mlps, Node};
use super::scores::EdgeScores;
use crate::error::{Error, Result};

/// Scores of edges, and which of them are in a circuit.
#[derive(Debug, Clone, PartialEq)]
pub struct EapFile {
    /// The circuit: what is `in_graph`.
    pub circuit: Circuit,
    /// Scores of edges, in the order of the graph's.
    pub edges: Vec<(Edge, f64)>,
    /// Scores of nodes.
    pub nodes: BTreeMap<Node, f64>,
}

#[derive(Serialize, Deserialize)]
struct File {
    cfg: Sizes,
    nodes: BTreeMap<String, FileNode>,
    edges: BTreeMap<String, FileEdge>,
}

#[derive(Serialize, Deserialize)]
struct Sizes {
    n_layers: usize,
    n_heads: usize,
    #[serde(default)]
    parallel_attn_mlp: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d_model: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct FileNode {
    in_graph: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct FileEdge {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    in_graph: bool,
}

/// The file of these scores, in which `circuit` is in the graph.
pub fn eap_json(scores: &EdgeScores, circuit: &Circuit, config: &Config) -> String {
    let edges = scores.edges.iter().map(|&(edge, score)| (edge, Some(score)));
    file(circuit, config, edges, &scores.node_scores())
}

/// The file of a circuit without scores.
pub fn circuit_json(circuit: &Circuit, config: &Config) -> String {
    let edges = circuit.graph.edges().into_iter().map(|edge| (edge, None));
    file(circuit, config, edges, &HashMap::new())
}

fn file(
    circuit: &Circuit,
    config: &Config,
    edges: impl Iterator<Item = (Edge, Option<f64>)>,
    of_nodes: &HashMap<Node, f64>,
) -> String {
    let graph = circuit.graph;
    let inside = circuit.nodes();
    let nodes = graph.nodes().into_iter().map(|node| {
        let ends = matches!(node, Node::Input | Node::Logits);
        let in_graph = ends || inside.contains(&node);
        (node.to_string(), FileNode { in_graph, score: of_nodes.get(&node).copied() })
    });
    let edges = edges
        .map(|(edge, score)| (edge.to_string(), FileEdge { score, in_graph: circuit.edges.contains(&edge) }));
    let file = File {
        cfg: Sizes {
            n_layers: graph.n_layers,
            n_heads: graph.n_heads,
            parallel_attn_mlp: false,
            d_model: Some(config.d_model),
        },
        nodes: nodes.collect(),
        edges: edges.collect(),
    };
    serde_json::to_string_pretty(&file).expect("names and finite numbers become JSON")
}

/// Reads such a file for a model.
///
/// # Errors
/// [`Error::BadCircuitFile`] for what is none, [`Error::OtherGraph`] for one of another model, [`Error::BadEdge`] and its like
/// for names that are none.
pub fn read_eap_json(text: &str, config: &Config) -> Result<EapFile> {
    let bad = |problem: String| Error::BadCircuitFile { problem };
    let file: File = serde_json::from_str(text).map_err(|problem| bad(problem.to_string()))?;
    if file.cfg.parallel_attn_mlp {
        return Err(bad(
            "its model has attention and MLP in parallel, ours has them one after the other".to_owned()
        ));
    }
    let own = Graph::of(config);
    let mlps = match file.nodes.contains_key("m0") || own.mlps == Mlps::Absent {
        true => own.mlps,
        false => Mlps::Absent,
    };
    let graph = Graph { n_layers: file.cfg.n_layers, n_heads: file.cfg.n_heads, mlps };
    if graph != own {
        return Err(Error::OtherGraph { circuit: graph.to_string(), model: own.to_string() });
    }
    let mut found: BTreeMap<Edge, FileEdge> = BTreeMap::new();
    for (name, of) in file.edges {
        let edge: Edge = name.parse()?;
        own.check(edge)?;
        found.insert(edge, of);
    }
    let mut nodes = BTreeMap::new();
    for (name, of) in file.nodes {
        let node: Node = name.parse()?;
        if let Some(score) = of.score {
            nodes.insert(node, score);
        }
    }
    let inside = found.iter().filter(|(_, of)| of.in_graph).map(|(edge, _)| *edge);
    let circuit = Circuit::new(own, inside)?;
    let scored = |edge: Edge| Some((edge, found.get(&edge)?.score?));
    Ok(EapFile { circuit, edges: own.edges().into_iter().filter_map(scored).collect(), nodes })
}
