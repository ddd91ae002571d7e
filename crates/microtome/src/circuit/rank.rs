//! Which edges come first: rankings of edges, and the circuits of their first so many.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

use super::graph::{Circuit, Edge, Graph, Node};
use super::scores::sums_onwards;

/// In which order scored edges are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// The largest scores first, whatever their sign.
    #[default]
    Strongest,
    /// The most helpful first, the most harmful last.
    Helpful,
    /// From the logits down: at each step the largest score, whatever its sign, among edges into what is there already.
    Grow,
}

impl Pick {
    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Pick::Strongest => "largest scores first, whatever their sign",
            Pick::Helpful => "most helpful first",
            Pick::Grow => "grown from the logits, the largest score at each step",
        }
    }
}

/// All edges, the first to take first. `scores` stand beside `edges`, which are the graph's; equal ones keep their order.
pub(crate) fn ranked(edges: &[Edge], scores: &[f64], pick: Pick) -> Vec<Edge> {
    let in_order = |places: Vec<usize>| places.into_iter().map(|place| edges[place]).collect();
    match pick {
        Pick::Strongest => in_order(by_size(scores)),
        Pick::Helpful => in_order(sorted(scores, |score| score)),
        Pick::Grow => grown(edges, scores),
    }
}

/// Places of scores, the largest first, whatever their sign; equal ones keep their order.
pub(crate) fn by_size(scores: &[f64]) -> Vec<usize> {
    sorted(scores, f64::abs)
}

fn sorted(scores: &[f64], key: impl Fn(f64) -> f64) -> Vec<usize> {
    let mut places: Vec<usize> = (0..scores.len()).collect();
    places.sort_by(|&a, &b| key(scores[b]).total_cmp(&key(scores[a])));
    places
}

struct Open {
    size: f64,
    place: usize,
}

impl Ord for Open {
    fn cmp(&self, other: &Open) -> Ordering {
        self.size.total_cmp(&other.size).then(other.place.cmp(&self.place))
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Open) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Open) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Open {}

fn grown(edges: &[Edge], scores: &[f64]) -> Vec<Edge> {
    let mut into: HashMap<Node, Vec<usize>> = HashMap::new();
    for (place, edge) in edges.iter().enumerate() {
        into.entry(edge.to).or_default().push(place);
    }
    let mut open: BinaryHeap<Open> = BinaryHeap::new();
    let mut there = HashSet::from([Node::Logits]);
    let mut reach = |node: Node, open: &mut BinaryHeap<Open>| {
        let places = into.remove(&node).unwrap_or_default();
        open.extend(places.into_iter().map(|place| Open { size: scores[place].abs(), place }));
    };
    reach(Node::Logits, &mut open);
    let mut taken = Vec::with_capacity(edges.len());
    while let Some(Open { place, .. }) = open.pop() {
        taken.push(edges[place]);
        if there.insert(edges[place].from) {
            reach(edges[place].from, &mut open);
        }
    }
    taken
}

/// Edges in random order, by seed.
pub(crate) fn shuffled(edges: &[Edge], seed: u64) -> Vec<Edge> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut edges = edges.to_vec();
    for place in (1..edges.len()).rev() {
        edges.swap(place, ((u128::from(rng.next_u64()) * (place as u128 + 1)) >> 64) as usize);
    }
    edges
}

/// The circuit of the first so many edges, less those on no way from the input to the logits.
pub(crate) fn of_first(graph: Graph, ranked: &[Edge], count: usize) -> Circuit {
    let edges = ranked.iter().take(count).copied().collect();
    Circuit { graph, edges }.pruned()
}

/// Nodes between the ends, those with the largest sums of scores of edges onwards first, whatever their sign.
pub(crate) fn ranked_nodes(graph: &Graph, edges: &[Edge], scores: &[f64]) -> Vec<Node> {
    let sums = sums_onwards(edges.iter().copied().zip(scores.iter().copied()));
    let mut nodes: Vec<Node> = graph.senders().into_iter().filter(|&node| node != Node::Input).collect();
    let size = |node: &Node| sums.get(node).copied().unwrap_or_default().abs();
    nodes.sort_by(|a, b| size(b).total_cmp(&size(a)));
    nodes
}

/// All edges between the ends and the first so many nodes, less those on no way from the input to the logits.
pub(crate) fn among_first(graph: Graph, edges: &[Edge], ranked: &[Node], count: usize) -> Circuit {
    let mut chosen: HashSet<Node> = ranked.iter().take(count).copied().collect();
    chosen.extend([Node::Input, Node::Logits]);
    let inside = |edge: &&Edge| chosen.contains(&edge.from) && chosen.contains(&edge.to);
    Circuit { graph, edges: edges.iter().filter(inside).copied().collect() }.pruned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::graph::Mlps;

    const GRAPH: Graph = Graph { n_layers: 1, n_heads: 1, mlps: Mlps::Absent };

    fn names(edges: &[Edge]) -> Vec<String> {
        edges.iter().map(Edge::to_string).collect()
    }

    #[test]
    fn edges_are_taken_by_size_by_help_or_from_the_logits_down() {
        let edges = GRAPH.edges();
        assert_eq!(
            names(&edges),
            ["input->a0.h0<q>", "input->a0.h0<k>", "input->a0.h0<v>", "input->logits", "a0.h0->logits"]
        );
        let scores = [0.0, -4.0, 5.0, 1.0, -2.0];
        let order = |pick| names(&ranked(&edges, &scores, pick));
        let strongest =
            ["input->a0.h0<v>", "input->a0.h0<k>", "a0.h0->logits", "input->logits", "input->a0.h0<q>"];
        assert_eq!(order(Pick::Strongest), strongest);
        let helpful =
            ["input->a0.h0<v>", "input->logits", "input->a0.h0<q>", "a0.h0->logits", "input->a0.h0<k>"];
        assert_eq!(order(Pick::Helpful), helpful);
        let grown =
            ["a0.h0->logits", "input->a0.h0<v>", "input->a0.h0<k>", "input->logits", "input->a0.h0<q>"];
        assert_eq!(order(Pick::Grow), grown);
        // The head's two strongest inputs lead nowhere before it is read.
        assert!(of_first(GRAPH, &ranked(&edges, &scores, Pick::Strongest), 2).edges.is_empty());
        assert_eq!(of_first(GRAPH, &ranked(&edges, &scores, Pick::Grow), 2).edges.len(), 2);
    }

    #[test]
    fn a_shuffle_has_every_edge_once_and_is_its_seeds() {
        let edges = Graph { n_layers: 3, n_heads: 4, mlps: Mlps::Present }.edges();
        let shuffled_edges = shuffled(&edges, 1);
        assert_ne!(shuffled_edges, edges);
        assert_eq!(shuffled_edges, shuffled(&edges, 1));
        assert_ne!(shuffled_edges, shuffled(&edges, 2));
        let mut sorted = shuffled_edges;
        sorted.sort();
        let mut all = edges;
        all.sort();
        assert_eq!(sorted, all);
    }

    #[test]
    fn nodes_are_taken_by_what_all_their_edges_onwards_are_worth() {
        let graph = Graph { n_layers: 1, n_heads: 2, mlps: Mlps::Present };
        let edges = graph.edges();
        let score = |edge: &Edge| match (edge.from, edge.to) {
            (Node::Head { head: 1, .. }, Node::Logits) => 3.0,
            (Node::Head { head: 1, .. }, Node::Mlp { .. }) => -3.0,
            (Node::Head { head: 0, .. }, Node::Logits) => -1.0,
            (Node::Mlp { .. }, _) => 0.5,
            _ => 0.0,
        };
        let scores: Vec<f64> = edges.iter().map(score).collect();
        let ranked = ranked_nodes(&graph, &edges, &scores);
        assert_eq!(ranked.iter().map(Node::to_string).collect::<Vec<_>>(), ["a0.h0", "m0", "a0.h1"]);
        let circuit = among_first(graph, &edges, &ranked, 1);
        let inside = names(&circuit.edges.iter().copied().collect::<Vec<_>>());
        assert_eq!(
            inside.len(),
            5,
            "three inputs, one output, and the input's edge to the logits: {inside:?}"
        );
    }
}
