//! Whole circuits as lanes: every edge outside a circuit carries another run's value.
//!
//! A circuit becomes one [`Change::Rewire`] at every input that loses an edge; nothing is changed at an input all of whose
//! edges are in the circuit. The other run is a corrupt prompt's (resample), one where nothing is written (zero) or a mean.
//! Conmy et al. 2023; Hanna, Pezzelle and Belinkov 2024 (`evaluate_graph`).

use std::collections::BTreeMap;
use std::sync::Arc;

use microtome_model::{
    Change, Config, Device, Edit, Hook, Positions, Rewire, RunOptions, SenderOutputs, Site, Tensor,
    senders_below,
};

use super::graph::{Circuit, Edge, Node, Port};
use crate::error::Result;
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
    circuit.edges.iter().try_for_each(|&edge| circuit.graph.check(edge))?;
    let senders = circuit.graph.senders();
    // By hook, the receivers that read there, in the order of its units.
    let mut inputs: BTreeMap<(usize, Site), (Hook, Vec<(Node, Port)>)> = BTreeMap::new();
    for (node, port) in circuit.graph.receivers() {
        let hook = Edge::new(Node::Input, node, port).hook(config.n_layers);
        inputs.entry((hook.layer, hook.site)).or_insert((hook, vec![])).1.push((node, port));
    }
    let mut edits = Vec::new();
    for (hook, receivers) in inputs.into_values() {
        let Some(count) = senders_below(hook, config) else { continue };
        let mut shares = Vec::with_capacity(receivers.len() * count);
        for &(node, port) in &receivers {
            let kept = |from: &Node| circuit.edges.contains(&Edge::new(*from, node, port));
            shares.extend(senders[..count].iter().map(|from| if kept(from) { 0.0f32 } else { 1.0 }));
        }
        if shares.iter().any(|share| *share != 0.0) {
            let shares = Tensor::from_vec(shares, (receivers.len(), count), &Device::Cpu)?;
            edits.push(Edit::new(hook, Change::Rewire(Rewire { shares, from: others.clone() })));
        }
    }
    Ok(edits)
}
