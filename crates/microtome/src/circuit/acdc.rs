//! Automatic circuit discovery: edges are cut one after the other, and stay cut where that changes little.
//!
//! From the logits down, every edge of what is left is cut in turn. Where the metric then changes by less than the threshold
//! the edge stays cut, and all later cuts are judged without it. Of a metric that compares with the unedited run (KL) only a rise
//! counts as change, of any other the size. What nothing reads any more is cut without a test. Receivers
//! are taken from the top (the logits; of each layer the MLP, then the heads' values, keys, queries), the senders of each
//! from the top too.
//!
//! A cut is judged given all cuts before it, one run after the other. Here a lane each is run with the next 1, 2, .. edges
//! cut, as if all of these would stay cut; up to the first that does not, that is the same, and what was run beyond it is done
//! again. The circuit found is that of one run after the other, number for number.
//!
//! Conmy, Mavor-Parker, Lynch, Heimersheim and Garriga-Alonso 2023.

use std::collections::HashSet;

use super::evaluate::Bench;
use super::graph::{Circuit, Edge, Graph, Node};
use crate::error::Result;
use crate::experiment::Watch;
use crate::metric::Compares;
use crate::stats::mean;

/// How far a search has come.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Progress {
    /// What is left.
    pub circuit: Circuit,
    /// How many edges are decided, in the order of [`stages`].
    pub decided: usize,
}

/// Lanes run beyond the last decision, at first and at most.
const FIRST_AHEAD: usize = 4;
const MOST_AHEAD: usize = 64;

/// All edges in the order in which they are decided, in lots none of whose receivers reads another's node.
fn stages(graph: &Graph) -> Vec<Vec<Edge>> {
    let mut lots: Vec<Vec<Edge>> = Vec::new();
    let mut last: Option<(usize, bool)> = None;
    for (to, port) in graph.receivers().into_iter().rev() {
        let place = match to {
            Node::Head { layer, .. } => (layer, false),
            Node::Mlp { layer } => (layer, true),
            Node::Logits | Node::Input => (graph.n_layers, true),
        };
        if last != Some(place) {
            lots.push(vec![]);
            last = Some(place);
        }
        let senders = graph.senders().into_iter().rev().map(|from| Edge::new(from, to, port));
        lots.last_mut().expect("one was pushed").extend(senders.filter(|edge| edge.is_sound()));
    }
    lots
}

/// Goes on from `start` to the end, or until `watch` stops it; its progress counts edges decided.
pub(crate) fn search(
    bench: &Bench,
    start: Progress,
    threshold: f64,
    watch: &mut Watch,
) -> Result<(Progress, bool)> {
    let Progress { mut circuit, mut decided } = start;
    let change = |before: f64, after: f64| match bench.metric.compares() {
        Compares::Original => after - before,
        Compares::Nothing => (after - before).abs(),
    };
    let stopped = |circuit: Circuit, decided: usize| Ok((Progress { circuit, decided }, false));
    let Some(now) = bench.values(std::slice::from_ref(&circuit), watch)? else {
        return stopped(circuit, decided);
    };
    let mut now = mean(&now[0]);
    let mut ahead = FIRST_AHEAD;
    let mut first = 0;
    for stage in stages(&bench.graph) {
        let end = first + stage.len();
        // Decided before this search went on.
        let mut undecided: Vec<Edge> = stage[decided.clamp(first, end) - first..].to_vec();
        first = end;
        // None of the stage's receivers reads another, so this holds all through it.
        let mut read: HashSet<Node> = circuit.edges.iter().map(|edge| edge.from).collect();
        read.insert(Node::Logits);
        while !undecided.is_empty() {
            // Edges into what is not read are cut on the way, without a lane of their own.
            let mut tried: Vec<Circuit> = Vec::new();
            let mut upto: Vec<usize> = Vec::new();
            let mut next = circuit.clone();
            let mut taken = 0;
            for edge in &undecided {
                if tried.len() == ahead {
                    break;
                }
                next.edges.remove(edge);
                taken += 1;
                if read.contains(&edge.to) {
                    tried.push(next.clone());
                    upto.push(taken);
                }
            }
            if tried.is_empty() {
                circuit = next;
                decided += taken;
                undecided.drain(..taken);
                (watch.progress)(decided, bench.edges.len());
                continue;
            }
            let Some(values) = bench.values(&tried, watch)? else { return stopped(circuit, decided) };
            let values: Vec<f64> = values.iter().map(|values| mean(values)).collect();
            let mut before = now;
            let mut kept = None;
            for (i, &after) in values.iter().enumerate() {
                if change(before, after) >= threshold {
                    kept = Some(i);
                    break;
                }
                before = after;
            }
            now = before;
            let taken = match kept {
                None => {
                    circuit = tried.pop().expect("something was tried");
                    ahead = (2 * ahead).min(MOST_AHEAD);
                    upto[upto.len() - 1]
                }
                Some(i) => {
                    // All before it are cut, and edges of no account among them; it stays.
                    let kept = undecided[upto[i] - 1];
                    circuit = tried.swap_remove(i);
                    circuit.edges.insert(kept);
                    ahead = (i + 1).clamp(FIRST_AHEAD, MOST_AHEAD);
                    upto[i]
                }
            };
            decided += taken;
            undecided.drain(..taken);
            (watch.progress)(decided, bench.edges.len());
        }
    }
    Ok((Progress { circuit, decided }, true))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::circuit::graph::Mlps;

    #[test]
    fn edges_are_decided_from_the_top_each_once_and_no_lot_reads_itself() {
        let graph = Graph { n_layers: 2, n_heads: 2, mlps: Mlps::Present };
        let order = stages(&graph).concat();
        assert_eq!(order.iter().collect::<BTreeSet<_>>(), graph.edges().iter().collect());
        assert_eq!(order.len(), graph.edges().len());
        let names: Vec<String> = order.iter().take(8).map(Edge::to_string).collect();
        let expected = [
            "m1->logits",
            "a1.h1->logits",
            "a1.h0->logits",
            "m0->logits",
            "a0.h1->logits",
            "a0.h0->logits",
            "input->logits",
            "a1.h1->m1",
        ];
        assert_eq!(names, expected);
        for stage in stages(&graph) {
            let read: BTreeSet<Node> = stage.iter().map(|edge| edge.from).collect();
            assert!(stage.iter().all(|edge| !read.contains(&edge.to)));
        }
    }
}
