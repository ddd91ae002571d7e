//! Tuned lenses learnt for a model that is there already: `learner.rs` makes updates, `run.rs` is the loop with its evaluations and
//! checkpoints, `fit.rs` says how near the output a lens comes.
//!
//! Each translator begins at the identity, where the tuned lens is the logit lens, and learns by itself to lower
//! `KL(model's output || lens)` at its layer. No two translators share anything, so all learn at once from the same windows.

mod config;
mod draw;
mod fit;
mod learner;
mod run;

pub use config::{LensLearning, LensTraining};
pub use fit::{LensFit, lens_fit};
pub use learner::LensLearner;
pub use run::{LensEvaluation, LensLine, LensObserver, LensRecord, LensState, LensSummary, train_lens};
