//! Mechanistic interpretability of GPT-2-family transformers: experiments on a model.
//!
//! An [`Experiment`] is a question as data: a model, prompts, a [`Method`], metrics, a seed. Running it
//! on a [`TextModel`] gives a [`Record`]: the answer in [`Table`]s that say their unit and baseline,
//! with enough beside them to ask again and compare. What every number means stands in one place:
//! metrics in [`metric`], methods in [`method`].
//!
//! Which heads does a prediction depend on? (A toy with random weights; [`TextModel::load`] loads a real
//! model, and prompts may then be text.)
//!
//! ```
//! use microtome::method::ablate::{Ablate, Targets};
//! use microtome::method::change::Replacement;
//! use microtome::model::{Activation, Config, MlpConfig, Model, NormConfig, Positions, Precision, Processing, Weights};
//! use microtome::{Answer, Bos, Experiment, Method, Prompt, Quantity, Text, TextModel};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config {
//!     n_layers: 2, n_heads: 4, d_model: 16, d_head: 4, d_vocab: 30, n_ctx: 16,
//!     mlp: Some(MlpConfig { d_mlp: 64, activation: Activation::GeluNew }),
//!     norm: Some(NormConfig { eps: 1e-5 }),
//! };
//! let weights = Weights::random(&config, 0, 1.0)?;
//! let model = TextModel::from_model("toy", Model::new(config, weights, Processing::Folded)?)?;
//!
//! let experiment = Experiment {
//!     model: "toy".into(),
//!     weights: Processing::Folded,
//!     precision: Precision::F32,
//!     bos: Bos::Omit,
//!     prompts: vec![Prompt {
//!         clean: Text::Ids(vec![3, 14, 15, 9, 26]),
//!         corrupt: None,
//!         answers: vec![Answer::Id(5)],
//!         wrong_answers: vec![],
//!     }],
//!     method: Method::Ablate(Ablate { clamp: None, targets: Targets::Heads, with: Replacement::Zero, at: Positions::All }),
//!     metrics: vec!["prob".parse()?],
//!     read_at: None,
//!     seed: 0,
//! };
//! let record = experiment.run_quietly(&model)?;
//! let table = record.table("prob", Quantity::Change).ok_or("measured")?;
//! assert_eq!(table.values.len(), 8);
//! for (head, change, _) in table.strongest(3) {
//!     println!("{head} {change:+.4}");
//! }
//! # Ok(())
//! # }
//! ```

mod check;
pub mod circuit;
mod component;
pub mod corpus_scan;
mod error;
pub mod examples;
mod experiment;
mod measure;
pub mod method;
pub mod metric;
mod pairs;
pub mod plot;
pub mod published;
mod record;
mod record_plots;
pub mod sae;
mod stats;
pub mod task;
mod text_model;
pub mod tuned_lens;
pub mod whole_file;

pub use check::{PrecisionCheck, ProcessingCheck, check_precision, check_processing};
pub use component::Component;
pub use error::{Error, Result};
pub use experiment::{DEFAULT_BUDGET, Experiment, Method, Partial, Prompt, TextStream, Watch};
pub use microtome_model as model;
pub use pairs::{pairs_as_csv, pairs_as_json, read_pairs};
pub use record::{
    Axis, Basis, MetricValue, ModelReport, PromptReport, Quantity, Record, Results, RunReport, Table,
    TokenLabel, TokenProb,
};
pub use stats::Spread;
pub use text_model::{About, Answer, Bos, Text, TextModel, Tokens};
