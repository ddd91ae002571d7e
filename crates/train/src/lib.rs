//! Training small GPT-2-family transformers and watching their circuits form.

mod adamw;
mod begin;
pub mod card;
mod checkpoint;
pub mod circuits;
mod config;
pub mod corpus;
mod data;
mod draw;
mod error;
mod evaluate;
mod learner;
pub mod lens;
mod open;
mod parameters;
mod random;
mod reading;
mod run_dir;
pub mod sae;
mod sample;
mod schedule;
mod settings;
mod steps;
pub mod study;
pub mod tasks;
mod telemetry;
mod train;
mod vocabulary;

pub use adamw::{AdamW, AdamWSettings, Moments, gradient_norm};
pub use checkpoint::{Best, State, write_model};
pub use config::{
    All, Batches, BpeConfig, CheckpointConfig, Config, CorpusConfig, DataConfig, EvaluationConfig,
    ModelConfig, SampleConfig, TokenizerConfig, TrainingConfig, Windows,
};
pub use data::{Data, Part, Texts};
pub use error::{Error, Result};
pub use evaluate::{
    Evaluation, RepeatLoss, edited_losses_by_position, in_context_score, losses_by_position, mean,
};
pub use learner::{Learner, Update};
pub use parameters::{
    Init, InitPositions, InitUnembed, Parameter, Parameters, Ties, grown_weights, new_weights,
};
pub use reading::{ModelChoice, Reading, ReadingConfig};
pub use schedule::Schedule;
pub use telemetry::Telemetry;
pub use train::{LossLine, Observer, Progress, RunRecord, Start, Summary, train};
pub use vocabulary::{Documents, Vocabulary};
