//! Mechanistic interpretability of GPT-2-family transformers: experiments on a model.
//!
//! An [`Experiment`] is a question as data: a model, prompts, a [`Method`], metrics, a seed. Running it
//! on a [`TextModel`] gives a [`Record`]: the answer in [`Table`]s that say their unit and baseline,
//! with enough beside them to ask again and compare. What every number means stands in one place:
//! metrics in [`metric`], methods in [`method`].

mod check;
mod component;
mod error;
mod experiment;
mod measure;
pub mod method;
pub mod metric;
mod pairs;
pub mod plot;
pub mod published;
mod record;
mod stats;
mod text_model;

pub use check::{ProcessingCheck, check_processing};
pub use component::Component;
pub use error::{Error, Result};
pub use experiment::{DEFAULT_BUDGET, Experiment, Method, Prompt, Watch};
pub use microtome_model as model;
pub use pairs::read_pairs;
pub use record::{
    Axis, Basis, MetricValue, ModelReport, PromptReport, Quantity, Record, Results, RunReport, Table,
    TokenLabel, TokenProb,
};
pub use stats::Spread;
pub use text_model::{About, Answer, Bos, Text, TextModel, Tokens};
