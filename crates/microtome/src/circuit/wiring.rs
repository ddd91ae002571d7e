//! Whole circuits as lanes: every edge outside a circuit carries another run's value.
//!
//! A circuit becomes one [`Change::Rewire`] at every input that loses an edge; nothing is changed at an input all of whose
//! edges are in the circuit. The other run is a corrupt prompt's (resample), one where nothing is written (zero) or a mean.
//! Conmy et al. 2023; Hanna, Pezzelle and Belinkov 2024 (`evaluate_graph`).

use std::collections::HashMap;
use std::sync::Arc;

use microtome_model::{
    Change, Config, Device, Edit, Hook, Positions, Rewire, RunOptions, SenderOutputs, Tensor, senders_below,
};

use super::graph::{Circuit, Edge, Graph, Node, Port};
use crate::error::{Error, Result};
use crate::text_model::TextModel;

/// What every sender writes where a prompt is run as it is.
///
/// # Errors
/// A prompt that the model cannot run.
pub fn sender_outputs(model: &TextModel, tokens: &[u32]) -> Result<SenderOutputs> {
    let reads = SenderOutputs::hooks(model.config());
    let options = RunOptions { reads, logits: Positions::Last, ..Default::default() };
    let run = model.model().run(tokens, &options)?;
    Ok(SenderOutputs::of_cache(model.config(), &run.cache)?)
}

/// The edits of the lane that evaluates a circuit: each edge outside it carries what `others` has of its sender, each edge
/// inside what this lane's sender writes. No edits for the circuit of all edges.
///
/// `others` must come from a prompt of the lane's length; all circuits of one lane run may share it.
///
/// # Errors
/// A circuit of another model's graph.
pub fn circuit_edits(circuit: &Circuit, config: &Config, others: &Arc<SenderOutputs>) -> Result<Vec<Edit>> {
    let own = Graph::of(config);
    if circuit.graph != own {
        return Err(Error::OtherGraph { circuit: circuit.graph.to_string(), model: own.to_string() });
    }
    circuit.edges.iter().try_for_each(|&edge| own.check(edge))?;
    let cut: Vec<Edge> = own.edges().into_iter().filter(|edge| !circuit.edges.contains(edge)).collect();
    edits_without(&cut, &own, config, others)
}

/// The edits of the lane in which these edges, which the model has, carry what `others` has of their senders.
pub(crate) fn edits_without(
    cut: &[Edge],
    graph: &Graph,
    config: &Config,
    others: &Arc<SenderOutputs>,
) -> Result<Vec<Edit>> {
    Ok(Cut::new(cut, graph, config)?.edits(others))
}

/// Edges that are cut, as shares of what their receivers read; where the other values come from is not said yet.
#[derive(Debug, Clone)]
pub(crate) struct Cut(Vec<(Hook, Tensor)>);

impl Cut {
    /// These edges, which the model has.
    pub fn new(cut: &[Edge], graph: &Graph, config: &Config) -> Result<Cut> {
        // Hook, senders below it, shares `[unit, sender]`.
        let mut inputs: Vec<(Hook, usize, Vec<f32>)> = Vec::new();
        let mut place_of: HashMap<Hook, usize> = HashMap::new();
        for &edge in cut {
            let bad = || Error::BadEdge { text: edge.to_string() };
            let hook = edge.hook(config.n_layers);
            let below = senders_below(hook, config).ok_or_else(bad)?;
            let sender = graph.sender_index(edge.from).ok_or_else(bad)?;
            let (units, unit) = match (edge.port, edge.to) {
                (Port::Whole, _) => (1, 0),
                (_, Node::Head { head, .. }) => (config.n_heads, head),
                _ => return Err(bad()),
            };
            let place = *place_of.entry(hook).or_insert_with(|| {
                inputs.push((hook, below, vec![0.0; units * below]));
                inputs.len() - 1
            });
            inputs[place].2[unit * below + sender] = 1.0;
        }
        let shares = |(hook, below, shares): (Hook, usize, Vec<f32>)| -> Result<(Hook, Tensor)> {
            let units = shares.len() / below;
            Ok((hook, Tensor::from_vec(shares, (units, below), &Device::Cpu)?))
        };
        Ok(Cut(inputs.into_iter().map(shares).collect::<Result<_>>()?))
    }

    /// Everything outside a circuit of this graph.
    pub fn outside(circuit: &Circuit, edges: &[Edge], config: &Config) -> Result<Cut> {
        let cut: Vec<Edge> = edges.iter().filter(|edge| !circuit.edges.contains(edge)).copied().collect();
        Cut::new(&cut, &circuit.graph, config)
    }

    /// The edits of a lane in which they carry what `others` has of their senders.
    pub fn edits(&self, others: &Arc<SenderOutputs>) -> Vec<Edit> {
        let edit = |(hook, shares): &(Hook, Tensor)| {
            let rewire = Rewire { shares: shares.clone(), from: others.clone() };
            Edit::new(*hook, Change::Rewire(rewire))
        };
        self.0.iter().map(edit).collect()
    }
}
