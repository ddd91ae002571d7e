//! Sparse autoencoders learnt from the activations of a model that is there already.
//!
//! `buffer.rs` streams activations of a text in an order without neighbours, `learner.rs` makes updates, `run.rs` is
//! the loop with its evaluations and checkpoints. What is learnt is in units in which the mean norm of the first buffer's
//! activations is `sqrt(d_in)`, so that learning rates and prices mean the same on every model; what is saved is in
//! the activation's own: with `s` that factor, `relu((s x - b_dec) W_enc + b_enc)` is `s` times
//! `relu((x - b_dec / s) W_enc + b_enc / s)`, so the biases are divided by it and decoder rows keep norm 1.
//!
//! Left out: training of jumprelu and gated autoencoders, and more than one hook at a time.

mod buffer;
mod config;
mod draw;
mod learner;
mod run;

pub use buffer::Cursor;
pub use config::{Keeping, Kind, Learning, Measuring, SaeTraining, Shape, Sparsity};
pub use learner::{Costs, Numbers, SaeLearner};
pub use run::{SaeEvaluation, SaeLine, SaeObserver, SaeRecord, SaeState, SaeSummary, train_sae};
