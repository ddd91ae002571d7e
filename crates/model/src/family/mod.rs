//! The checkpoints this crate reads, each as the differences from the one layout in
//! [`Weights`]: configuration keys, tensor names, which way a matrix is stored.
//!
//! | family | sizes from | linear maps | q, k, v | activation |
//! |---|---|---|---|---|
//! | [`gpt2`] (Hugging Face) | config.json | `[in, out]` | fused | config.json |
//! | [`nanogpt`] | `model_args` in the checkpoint | `[out, in]` | fused | `gelu` (erf) |
//! | [`tl`] (TransformerLens) | tensor shapes | per head | apart | config beside it |
//!
//! Every tensor of a file is either used, a known buffer, or an error: a weight that is silently
//! ignored is a wrong number.

pub mod gpt2;
pub mod nanogpt;
pub mod tl;
mod transpose;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::archive::TensorArchive;
use crate::config::{Activation, Config};
use crate::error::{Error, Result};
use crate::weights::{Affine, BlockWeights, Ends, Linear, Weights, is_zero};
use transpose::transposed;

/// What a family makes of a file.
#[derive(Debug)]
pub struct Model {
    /// Sizes and choices.
    pub config: Config,
    /// All tensors, in the one layout there is.
    pub weights: Weights,
    /// What the files leave open and this crate decided, one sentence each.
    pub assumptions: Vec<String>,
}

/// A checkpoint opened: what lies outside its blocks, and the blocks to be read one at a time.
pub(crate) struct Opened<'a> {
    pub config: Config,
    /// See [`Model::assumptions`].
    pub assumptions: Vec<String>,
    pub ends: Ends,
    pub blocks: Blocks<'a>,
}

/// The blocks of a checkpoint.
pub(crate) struct Blocks<'a> {
    family: &'static str,
    reader: Reader<'a>,
    block: fn(&Reader, &Config, usize) -> Result<BlockWeights>,
    is_buffer: fn(&str) -> bool,
}

impl Blocks<'_> {
    /// Name of the family.
    pub fn family(&self) -> &'static str {
        self.family
    }

    /// Reads one.
    pub fn read(&self, config: &Config, layer: usize) -> Result<BlockWeights> {
        (self.block)(&self.reader, config, layer)
    }

    /// Once all are read: whether anything is left in the file that should have been.
    pub fn finish(&self) -> Result<()> {
        self.reader.finish(self.family, self.is_buffer)
    }
}

impl Opened<'_> {
    /// Reads all of it.
    pub fn whole(self) -> Result<Model> {
        let Opened { config, assumptions, ends, blocks: source } = self;
        let blocks = (0..config.n_layers).into_par_iter().map(|layer| source.read(&config, layer));
        let blocks = blocks.collect::<Result<_>>()?;
        source.finish()?;
        Ok(Model { config, weights: Weights::of(ends, blocks), assumptions })
    }
}

/// A model as the tensors and the configuration of a file.
#[derive(Debug)]
pub struct Checkpoint {
    /// Name of the family whose layout it is.
    pub family: &'static str,
    /// For a safetensors file.
    pub tensors: Vec<(String, Tensor)>,
    /// For the `config.json` beside it.
    pub settings: Map<String, Value>,
}

/// A model in Hugging Face's GPT-2 layout if that can express it, else in TransformerLens's.
///
/// # Errors
/// [`Error::WeightShape`] where the weights are not of that configuration; [`Error::Tensor`] where a
/// tensor cannot be turned.
pub fn write(config: &Config, weights: &Weights) -> Result<Checkpoint> {
    weights.check(config)?;
    match gpt2::write(config, weights)? {
        Some(checkpoint) => Ok(checkpoint),
        None => tl::write(config, weights),
    }
}

/// Reads tensors of an archive and keeps account of which were used.
struct Reader<'a> {
    archive: &'a TensorArchive,
    /// Put before every name.
    prefix: &'static str,
    dtype: DType,
    used: Mutex<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    fn new(archive: &'a TensorArchive, prefix: &'static str, dtype: DType) -> Reader<'a> {
        Reader { archive, prefix, dtype, used: Mutex::default() }
    }

    fn path(&self) -> &'a Path {
        self.archive.path()
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn has(&self, name: &str) -> bool {
        self.archive.contains(&self.full(name))
    }

    fn shape(&self, name: &str) -> Result<&'a [usize]> {
        self.archive.shape(&self.full(name))
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let full = self.full(name);
        let found = self.archive.shape(&full)?;
        if found != shape {
            return Err(Error::TensorShape {
                path: self.path().to_owned(),
                tensor: full,
                expected: shape.to_vec(),
                found: found.to_vec(),
            });
        }
        let tensor = self.archive.tensor(&full, self.dtype)?;
        self.mark_used(full);
        Ok(tensor)
    }

    /// The tensor, or zeros where the file has none: how a checkpoint without biases says so.
    fn tensor_or_zeros(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        if self.has(name) { self.tensor(name, shape) } else { self.zeros(shape) }
    }

    fn zeros(&self, shape: &[usize]) -> Result<Tensor> {
        Ok(Tensor::zeros(shape, self.dtype, &Device::Cpu)?)
    }

    /// A linear map stored `[in, out]`.
    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let w = self.tensor(&format!("{name}.weight"), &[inputs, outputs])?;
        let b = self.tensor(&format!("{name}.bias"), &[outputs])?;
        Ok(Linear { w, b })
    }

    /// A linear map stored `[out, in]`, its bias optional.
    fn linear_transposed(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let w = transposed(&self.tensor(&format!("{name}.weight"), &[outputs, inputs])?)?;
        let b = self.tensor_or_zeros(&format!("{name}.bias"), &[outputs])?;
        Ok(Linear { w, b })
    }

    fn affine(&self, name: &str, width: usize) -> Result<Affine> {
        let w = self.tensor(&format!("{name}.weight"), &[width])?;
        let b = self.tensor_or_zeros(&format!("{name}.bias"), &[width])?;
        Ok(Affine { w, b })
    }

    fn mark_used(&self, full: String) {
        // A poisoned lock means another reading thread panicked; its panic is the one to report.
        self.used.lock().unwrap_or_else(|e| e.into_inner()).insert(full);
    }

    /// Checks that every tensor was used or is a buffer without information.
    fn finish(&self, family: &'static str, is_buffer: fn(&str) -> bool) -> Result<()> {
        let used = self.used.lock().unwrap_or_else(|e| e.into_inner());
        let is_left =
            |name: &&str| !used.contains(*name) && !is_buffer(name.strip_prefix(self.prefix).unwrap_or(name));
        let tensors: Vec<String> = self.archive.names().filter(is_left).map(str::to_owned).collect();
        if tensors.is_empty() {
            return Ok(());
        }
        Err(Error::LeftoverTensors { path: self.archive.path().to_owned(), family, tensors })
    }
}

/// `W_U` as `[d_model, d_vocab]` with zero biases: an embedding stored `[d_vocab, d_model]`, looked at from the
/// other side.
fn unembed_from(embedding: &Tensor) -> Result<Linear> {
    let b = Tensor::zeros(embedding.dim(0)?, embedding.dtype(), &Device::Cpu)?;
    Ok(Linear { w: embedding.t()?, b })
}

fn same_values(a: &Tensor, b: &Tensor) -> Result<bool> {
    Ok(a.dims() == b.dims() && is_zero(&(a - b)?)?)
}

/// A JSON configuration file, with errors that name the file and the key.
#[derive(Debug, Clone)]
pub struct Settings {
    path: PathBuf,
    values: Map<String, Value>,
}

impl Settings {
    /// Reads a file holding one JSON object.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Json`].
    pub fn read(path: &Path) -> Result<Settings> {
        let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Settings::parse(path, &bytes)
    }

    /// The settings in `bytes`, which are spoken of as `path`.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Settings> {
        let values =
            serde_json::from_slice(bytes).map_err(|source| Error::Json { path: path.to_owned(), source })?;
        Ok(Settings { path: path.to_owned(), values })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the key is there and not null.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The value under a key, if there is one and it is not null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|v| !v.is_null())
    }

    fn value_error(&self, key: &str, expected: &str) -> Error {
        Error::ConfigValue {
            path: self.path.clone(),
            key: key.to_owned(),
            found: self.get(key).map_or_else(|| "null".to_owned(), Value::to_string),
            expected: expected.to_owned(),
        }
    }

    fn missing(&self, key: &str, expected: &str) -> Error {
        Error::ConfigMissing { path: self.path.clone(), key: key.to_owned(), expected: expected.to_owned() }
    }

    /// A size: a positive integer small enough that products of sizes cannot overflow.
    fn size(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if (1..=MAX_SIZE).contains(&n) => Ok(Some(n as usize)),
            _ => Err(self.value_error(key, "a positive integer")),
        }
    }

    fn required_size(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.missing(key, "a positive integer"))
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.value_error(key, "a number"))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.value_error(key, "true or false"))
    }

    /// Refuses a flag whose other value is an architecture this crate does not compute.
    fn require_flag(&self, key: &str, supported: bool) -> Result<()> {
        if self.flag(key, supported)? == supported {
            return Ok(());
        }
        Err(self.value_error(key, &supported.to_string()))
    }

    fn activation(&self, key: &str) -> Result<Option<Activation>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let activation = value.as_str().and_then(Activation::from_name);
        activation.map(Some).ok_or_else(|| self.value_error(key, "`gelu_new`, `gelu`, `relu` or `silu`"))
    }
}

/// Above any vocabulary or width, below the cube root of 2^64.
const MAX_SIZE: u64 = 1 << 21;

/// The number after `prefix` and before the next dot, for counting blocks: 3 in `h.3.ln_1.weight`.
fn block_index(name: &str, prefix: &str) -> Option<usize> {
    name.strip_prefix(prefix)?.split('.').next()?.parse().ok()
}

/// Width of one head, if the heads divide the width evenly.
fn head_width(path: &Path, key: &str, d_model: usize, n_heads: usize) -> Result<usize> {
    if d_model.is_multiple_of(n_heads) {
        return Ok(d_model / n_heads);
    }
    Err(Error::ConfigValue {
        path: path.to_owned(),
        key: key.to_owned(),
        found: n_heads.to_string(),
        expected: format!("a divisor of the width {d_model}"),
    })
}
