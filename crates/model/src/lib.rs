//! GPT-2-family transformers, opened up.
//!
//! Every activation has a name, a shape and one place where it can be read, edited or differentiated:
//! a [`Hook`]. A [`Model`] runs prompts ([`Model::run`]), many small variants of prompts at once
//! ([`LaneRun`]), derivatives ([`Model::gradients`]) and generations ([`Stream`]), all through one
//! forward pass. The crate knows tokens and tensors; questions asked of a model live in `microtome`.

mod axes;
mod cache;
mod config;
mod edit;
mod error;
mod fire;
mod fold;
mod grad;
mod hook;
mod init;
mod lanes;
mod layers;
mod model;
mod ops;
mod run;
mod stream;
mod walk;
mod weights;

pub use axes::{Positions, Units};
pub use cache::Cache;
pub use candle_core::{DType, Device, Tensor};
pub use config::{Activation, Config, MlpConfig, NormConfig};
pub use edit::{Change, Edit, Value};
pub use error::{Error, Result};
pub use grad::Gradients;
pub use hook::{Axis, Hook, Site, nearest};
pub use lanes::{Lane, LaneEvent, LaneOptions, LaneRun};
pub use model::{Model, Processing};
pub use run::{Run, RunOptions, with_rows};
pub use stream::Stream;
pub use walk::Work;
pub use weights::{Affine, BlockWeights, Linear, MlpWeights, Weights};
