//! The layers of a block, each implemented once: embedding, LayerNorm, attention, MLP, unembedding.
//!
//! Every layer is a step of a [`Walk`](crate::walk::Walk): it takes rows (one per lane and position,
//! all lanes together), fires its hooks, and counts its work.

pub(crate) mod attention;
pub(crate) mod embed;
pub(crate) mod mlp;
pub(crate) mod norm;
pub(crate) mod unembed;
