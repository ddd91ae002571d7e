//! GPT-2-family transformers, opened up.
//!
//! Every activation has a name, a shape and one place where it can be read, edited or differentiated:
//! a [`Hook`]. A [`Model`] runs prompts ([`Model::run`]), many small variants of prompts at once
//! ([`LaneRun`]), derivatives ([`Model::gradients`]) and generations ([`Stream`]), all through one
//! forward pass. The crate knows tokens and tensors; questions asked of a model live in `microtome`.

pub mod archive;
mod axes;
mod cache;
mod config;
mod edit;
mod error;
pub mod family;
mod fire;
mod fold;
mod grad;
mod hook;
pub mod hub;
mod init;
mod lanes;
mod layers;
pub mod load;
mod model;
mod ops;
pub mod pickle;
mod run;
mod stream;
pub mod tokenizer;
mod walk;
pub mod weight_hash;
mod weights;

pub use archive::TensorArchive;
pub use axes::{Positions, Units};
pub use cache::{Cache, load_safetensors, to_safetensors};
pub use candle_core::{DType, Device, Error as TensorError, Tensor};
pub use config::{Activation, Config, MlpConfig, NormConfig};
pub use edit::{Change, Edit, Value};
pub use error::{Error, Result};
pub use grad::Gradients;
pub use hook::{Axis, Hook, Site, nearest};
pub use hub::{DownloadProgress, Hub, HubError, HubSettings};
pub use lanes::{Lane, LaneEvent, LaneOptions, LaneRun};
pub use load::{LoadOptions, Loaded, Source, load};
pub use model::{Model, Processing};
pub use run::{Run, RunOptions, with_rows};
pub use stream::Stream;
pub use tokenizer::Tokenizer;
pub use walk::Work;
pub use weight_hash::weight_hash;
pub use weights::{Affine, BlockWeights, Linear, MlpWeights, Weights};
