//! GPT-2-family transformers, opened up.
//!
//! Every activation has a name, a shape and one place where it can be read, edited or differentiated:
//! a [`Hook`]. A [`Model`] runs prompts ([`Model::run`]), many small variants of prompts at once
//! ([`LaneRun`]), derivatives ([`Model::gradients`]) and generations ([`Stream`]), all through one
//! forward pass. The crate knows tokens and tensors; questions asked of a model live in `microtome`.
//!
//! ```
//! use microtome_model::{Change, Config, Edit, Hook, Model, Processing, RunOptions, Site, Weights};
//!
//! # fn main() -> microtome_model::Result<()> {
//! let config =
//!     Config { n_layers: 2, n_heads: 2, d_model: 8, d_head: 4, d_vocab: 20, n_ctx: 8, mlp: None, norm: None };
//! let model = Model::new(config.clone(), Weights::random(&config, 0, 1.0)?, Processing::Raw)?;
//!
//! // Every attention pattern, with head 1 of layer 0 switched off.
//! let options = RunOptions {
//!     edits: vec![Edit::new(Site::Z.at(0), Change::Zero).units([1])],
//!     reads: Hook::matching(&config, "blocks.*.attn.hook_pattern")?,
//!     ..Default::default()
//! };
//! let run = model.run(&[3, 1, 4, 1], &options)?;
//! assert_eq!(run.logits()?.dims(), [4, 20]);
//! assert_eq!(run.cache.get(Site::Pattern.at(1))?.dims(), [2, 4, 4]);
//! # Ok(())
//! # }
//! ```

pub mod archive;
mod axes;
mod cache;
mod config;
pub mod demo;
mod device;
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
mod learn;
mod linear_map;
pub mod load;
mod model;
mod ops;
pub mod pickle;
mod prepare;
mod run;
mod save;
mod stream;
pub mod tokenizer;
mod walk;
pub mod weight_hash;
mod weights;
mod wiring;

pub use archive::TensorArchive;
pub use axes::{Positions, Units};
pub use cache::{Cache, load_safetensors, parse_safetensors, to_safetensors, to_safetensors_with};
pub use candle_core::{DType, Device, Error as TensorError, Tensor, Var};
pub use config::{Activation, Config, MlpConfig, NormConfig};
pub use device::{DeviceChoice, OpenDevice, as_f64, device_name, gpu_support, on_cpu};
pub use edit::{Change, Edit, RowMap, Value};
pub use error::{Error, Result};
pub use grad::Gradients;
pub use hook::{Axis, Hook, Site, nearest};
pub use hub::{DownloadProgress, Hub, HubError, HubSettings};
pub use lanes::{Lane, LaneEvent, LaneOptions, LaneRun};
pub use learn::{Dropout, cross_entropy};
pub use linear_map::{LinearMap, PackedLinear};
pub use load::{LoadOptions, Loaded, LoadedModel, Source, load, load_model};
pub use microtome_kernels::InstructionSet;
pub use model::{Model, Precision, Preparation, Processing};
pub use ops::learning::GradientSink;
pub use run::{FinalNorm, Run, RunOptions, with_rows};
pub use save::{checkpoint_files, convert_to_store};
pub use stream::Stream;
pub use tokenizer::Tokenizer;
pub use walk::Work;
pub use weight_hash::weight_hash;
pub use weights::{Affine, BlockWeights, Linear, MlpWeights, Weights};
pub use wiring::{Rewire, SenderBlock, SenderOutputs, senders_below};
