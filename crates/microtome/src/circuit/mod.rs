//! A model as a graph of components, what its edges are worth, and circuits: parts of it.
//!
//! Names are those of the EAP and MIB files: nodes `input`, `a5.h1`, `m3`, `logits`; an edge `a5.h1->a8.h6<v>` goes from
//! what writes to the residual stream to what reads it, a head at its query, key or value input.

pub mod eap_json;
pub mod edge_attribution;
pub mod graph;
pub mod induction;
pub mod path_patch;
pub mod planted;
pub mod receiver;
pub mod scores;
pub mod wiring;

pub use graph::{Circuit, Edge, Graph, Node, Port};
pub use receiver::Receiver;
pub use scores::EdgeScores;
