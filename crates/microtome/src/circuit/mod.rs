//! A model as a graph of components, what its edges are worth, and circuits: parts of it.
//!
//! Names are those of the EAP and MIB files: nodes `input`, `a5.h1`, `m3`, `logits`; an edge `a5.h1->a8.h6<v>` goes from
//! what writes to the residual stream to what reads it, a head at its query, key or value input.

mod acdc;
pub mod attribution_graph;
mod circuit_tables;
pub mod compare;
pub mod curve;
pub mod dot;
pub mod eap_json;
pub mod edge_attribution;
pub(crate) mod evaluate;
pub mod factual_recall;
mod faithfulness;
pub mod graph;
pub mod induction;
pub mod judge;
pub mod path_patch;
mod picture;
pub mod planted;
mod rank;
pub mod receiver;
pub mod scores;
pub mod search;
pub mod wiring;

pub use evaluate::Rest;
pub use graph::{Circuit, Edge, Graph, Node, Port};
pub use rank::Pick;
pub use receiver::Receiver;
pub use scores::EdgeScores;
