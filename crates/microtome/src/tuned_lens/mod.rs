//! The tuned lens (Belrose et al. 2023, "Eliciting Latent Predictions from Transformers with the Tuned Lens"): the residual stream
//! read as logits through an affine map of its own for each layer, learnt so that the result comes close to the model's output.
//!
//! ```text
//! logits = unembed(ln_final(x + x W_l^T + b_l))        x the stream entering layer l
//! ```
//!
//! With `W` and `b` 0 it is the logit lens. The output itself has no translator. Files are those of the package `tuned-lens`:
//! `config.json`, and `params.pt` with `{l}.weight`, `[d_model, d_model]`, and `{l}.bias`.
//!
//! Folded weights take the mean over dimensions off what is written to the stream. A translator whose rows each sum to 0 gives the
//! same logits on either stream, since the final LayerNorm takes the mean off what comes out; one that reads the mean is refused
//! with folded weights. What is trained on folded weights is saved with rows that sum to 0, so Python tools, which read raw streams, may
//! take it as it is.
//!
//! A lens names its model, which says little of two checkpoints of one run. So what is learnt here from a checkpoint keeps the
//! fingerprint of its weights too, in `config.json` under `weight_hash`, which that package passes over; a model of other weights is
//! refused.

mod demo;
mod error;

use std::path::Path;

use microtome_model::archive::to_torch;
use microtome_model::{DType, Device, Processing, Tensor, TensorArchive};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::sae::known_name;
use crate::text_model::TextModel;
use crate::whole_file::write_whole;
pub use error::TunedLensError;

/// The file of settings.
const CONFIG: &str = "config.json";

/// The file of translators.
const PARAMS: &str = "params.pt";

/// The one kind of translator there is.
const LENS_TYPE: &str = "linear_tuned_lens";

/// A row's sum below this share of its norm is 0: f32 rounding of sums of some thousand terms, or f16 of the files.
const SUMS_TO_0: f64 = 2e-3;

/// `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TunedLensConfig {
    /// The model it was trained for.
    pub base_model_name_or_path: String,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Translators: one for the stream entering each layer.
    pub num_hidden_layers: usize,
    /// Whether they have biases.
    #[serde(default = "yes")]
    pub bias: bool,
    /// Revision of the model.
    #[serde(default)]
    pub base_model_revision: Option<String>,
    /// Fingerprint of its unembedding, as that package computes it; kept, not checked.
    #[serde(default)]
    pub unembed_hash: Option<String>,
    /// Kind of translator.
    #[serde(default = "linear")]
    pub lens_type: String,
    /// Fingerprint of the model's weights before processing, as [`crate::About`] has it; none where the lens was made elsewhere, or
    /// for a model in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_hash: Option<String>,
}

fn yes() -> bool {
    true
}

fn linear() -> String {
    LENS_TYPE.to_owned()
}

/// An affine map that is added to what it reads.
#[derive(Debug, Clone)]
pub struct Translator {
    /// `W`, `[d_model, d_model]`: a row for each dimension of the result.
    pub weight: Tensor,
    /// `b`, `[d_model]`; 0 where there is none.
    pub bias: Tensor,
}

/// A tuned lens, in f32 on the processor.
#[derive(Debug, Clone)]
pub struct TunedLens {
    config: TunedLensConfig,
    translators: Vec<Translator>,
}

impl TunedLens {
    /// The lens that is the logit lens: nothing is translated.
    ///
    /// # Errors
    /// [`crate::Error::Tensor`] where a tensor cannot be made.
    pub fn identity(model: &TextModel) -> Result<TunedLens> {
        let (d_model, n_layers) = (model.config().d_model, model.config().n_layers);
        let zeros = || -> Result<Translator> {
            let weight = Tensor::zeros((d_model, d_model), DType::F32, &Device::Cpu)?;
            let bias = Tensor::zeros(d_model, DType::F32, &Device::Cpu)?;
            Ok(Translator { weight, bias })
        };
        let translators = (0..n_layers).map(|_| zeros()).collect::<Result<_>>()?;
        TunedLens::for_model(model, translators)
    }

    /// A lens for a model, of one translator for each of its layers.
    ///
    /// # Errors
    /// [`TunedLensError::Weights`], as [`crate::Error::TunedLens`], where one has another shape.
    pub fn for_model(model: &TextModel, translators: Vec<Translator>) -> Result<TunedLens> {
        let config = TunedLensConfig {
            base_model_name_or_path: model.about().model.clone(),
            d_model: model.config().d_model,
            num_hidden_layers: model.config().n_layers,
            bias: true,
            base_model_revision: None,
            unembed_hash: None,
            lens_type: linear(),
            weight_hash: model.about().checkpoint_hash().map(str::to_owned),
        };
        TunedLens::new(config, translators, "the tuned lens")
    }

    fn new(config: TunedLensConfig, translators: Vec<Translator>, path: &str) -> Result<TunedLens> {
        let (layers, width) = (config.num_hidden_layers, config.d_model);
        let wrong = |tensor: String, problem: String| TunedLensError::Weights {
            path: path.to_owned(),
            tensor,
            problem,
        };
        if translators.len() != layers {
            let problem =
                format!("is missing; there are {}, one for each of {layers} layers", translators.len());
            return Err(wrong(format!("{}.weight", translators.len().min(layers)), problem).into());
        }
        for (layer, Translator { weight, bias }) in translators.iter().enumerate() {
            let shapes = [("weight", weight, vec![width, width]), ("bias", bias, vec![width])];
            for (name, tensor, shape) in shapes {
                if tensor.dims() != shape {
                    let problem = format!("has shape {:?}; expected {shape:?}", tensor.dims());
                    return Err(wrong(format!("{layer}.{name}"), problem).into());
                }
            }
        }
        Ok(TunedLens { config, translators })
    }

    /// Opens what a name stands for: a folder, or `demo`, the one inside the program. A folder of that name is meant before it.
    ///
    /// # Errors
    /// As [`TunedLens::load`].
    pub fn open(name: &str) -> Result<TunedLens> {
        let folder = Path::new(name);
        if name == demo::NAME && !folder.is_dir() { TunedLens::demo() } else { TunedLens::load(folder) }
    }

    /// Reads `config.json` and `params.pt` of a folder.
    ///
    /// # Errors
    /// [`TunedLensError`], as [`crate::Error::TunedLens`]; [`crate::Error::Model`] where `params.pt` is broken or holds NaN or
    /// infinity.
    pub fn load(folder: &Path) -> Result<TunedLens> {
        let path = folder.join(CONFIG);
        let json = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        let params = folder.join(PARAMS);
        if !params.is_file() {
            return Err(unreadable(&params, &"no such file").into());
        }
        TunedLens::parse(&json, &path, || Ok(TensorArchive::open(&params)?))
    }

    /// A lens of what its two files say; `path` is that of the first.
    fn parse(json: &str, path: &Path, params: impl FnOnce() -> Result<TensorArchive>) -> Result<TunedLens> {
        let config: TunedLensConfig = serde_json::from_str(json).map_err(|error| unreadable(path, &error))?;
        if config.lens_type != LENS_TYPE {
            let (found, path) = (format!("`{}`", config.lens_type), path.display().to_string());
            return Err(TunedLensError::Config { path, key: "lens_type", found, expected: LENS_TYPE }.into());
        }
        let archive = params()?;
        let name = archive.path().display().to_string();
        let wrong = |tensor: &str, problem: &str| TunedLensError::Weights {
            path: name.clone(),
            tensor: tensor.to_owned(),
            problem: problem.to_owned(),
        };
        let mut names: Vec<&str> = archive.names().collect();
        let mut take = |name: &str| -> Result<Tensor> {
            let Some(at) = names.iter().position(|there| *there == name) else {
                return Err(wrong(name, "is missing").into());
            };
            names.swap_remove(at);
            Ok(archive.tensor(name, DType::F32)?)
        };
        let mut translators = Vec::new();
        for layer in 0..config.num_hidden_layers {
            let weight = take(&format!("{layer}.weight"))?;
            let bias = match config.bias {
                true => take(&format!("{layer}.bias"))?,
                false => Tensor::zeros(config.d_model, DType::F32, &Device::Cpu)?,
            };
            translators.push(Translator { weight, bias });
        }
        if let Some(left) = names.iter().min() {
            let problem =
                "is not part of a tuned lens of so many layers: `num_hidden_layers` or `bias` says otherwise";
            return Err(wrong(left, problem).into());
        }
        TunedLens::new(config, translators, &name)
    }

    /// Writes the two files into a folder, which is made where there is none: each whole or not at all, the translators first.
    ///
    /// # Errors
    /// [`TunedLensError::Write`], as [`crate::Error::TunedLens`].
    pub fn save(&self, folder: &Path) -> Result<()> {
        let failed = |path: &Path, error: std::io::Error| TunedLensError::Write {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let files = self.files()?;
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        for (name, bytes) in files.iter().rev() {
            let path = folder.join(name);
            write_whole(&path, bytes).map_err(|error| failed(&path, error))?;
        }
        Ok(())
    }

    /// The two files by name.
    ///
    /// # Errors
    /// [`crate::Error::Tensor`] where a tensor cannot be read.
    pub fn files(&self) -> Result<[(&'static str, Vec<u8>); 2]> {
        let mut tensors = vec![];
        for (layer, Translator { weight, bias }) in self.translators.iter().enumerate() {
            tensors.push((format!("{layer}.weight"), weight.clone()));
            if self.config.bias {
                tensors.push((format!("{layer}.bias"), bias.clone()));
            }
        }
        let unwritable =
            |e: serde_json::Error| TunedLensError::Write { path: CONFIG.to_owned(), reason: e.to_string() };
        let mut config = serde_json::to_vec_pretty(&self.config).map_err(unwritable)?;
        config.push(b'\n');
        Ok([(CONFIG, config), (PARAMS, to_torch(&tensors)?)])
    }

    /// What its files say.
    pub fn config(&self) -> &TunedLensConfig {
        &self.config
    }

    /// Its translators, that of the stream entering layer 0 first.
    pub fn translators(&self) -> &[Translator] {
        &self.translators
    }

    /// Checks that it can read a model: size, name where both are known ones, the fingerprint of its weights where that was kept, and how they
    /// were processed.
    ///
    /// # Errors
    /// [`TunedLensError`], as [`crate::Error::TunedLens`].
    pub fn check(&self, model: &TextModel) -> Result<()> {
        let (layers, width) = (self.config.num_hidden_layers, self.config.d_model);
        let (found_layers, found_width) = (model.config().n_layers, model.config().d_model);
        if (layers, width) != (found_layers, found_width) {
            return Err(TunedLensError::Shape { layers, width, found_layers, found_width }.into());
        }
        let (trained, given) = (&self.config.base_model_name_or_path, &model.about().model);
        if let (Some(a), Some(b)) = (known_name(trained), known_name(given))
            && a != b
        {
            return Err(TunedLensError::WrongModel { trained: trained.clone(), given: given.clone() }.into());
        }
        if let (Some(learnt), Some(found)) = (&self.config.weight_hash, model.about().checkpoint_hash())
            && learnt != found
        {
            let (trained, given) = (trained.clone(), given.clone());
            return Err(TunedLensError::OtherWeights { trained, given }.into());
        }
        if model.model().processing() == Processing::Folded && model.config().norm.is_some() {
            for (layer, Translator { weight, .. }) in self.translators.iter().enumerate() {
                let sums = weight.to_dtype(DType::F64)?.sum(1)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
                let squares = weight.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
                // A vector of ones has the norm sqrt(d_model).
                if sums.sqrt() > SUMS_TO_0 * (squares * width as f64).sqrt() {
                    return Err(TunedLensError::Centred { layer }.into());
                }
            }
        }
        Ok(())
    }

    /// The same with rows of every `W` that sum to 0: equal to this one on a stream whose mean over dimensions is 0, and not reading the
    /// mean of any other.
    ///
    /// # Errors
    /// [`crate::Error::Tensor`] where an operation fails.
    pub fn without_mean(&self) -> Result<TunedLens> {
        let centred = |translator: &Translator| -> Result<Translator> {
            let weight = translator.weight.to_dtype(DType::F64)?;
            let weight = weight.broadcast_sub(&weight.mean_keepdim(1)?)?.to_dtype(DType::F32)?;
            Ok(Translator { weight, bias: translator.bias.clone() })
        };
        let translators = self.translators.iter().map(centred).collect::<Result<_>>()?;
        Ok(TunedLens { config: self.config.clone(), translators })
    }

    /// What stands for rows of the stream entering a layer, `[rows, d_model]`; from the number of layers on the rows themselves,
    /// which are the model's output.
    ///
    /// # Errors
    /// [`crate::Error::Tensor`] where the rows have another width.
    pub fn translated(&self, layer: usize, rows: &Tensor) -> Result<Tensor> {
        let Some(Translator { weight, bias }) = self.translators.get(layer) else { return Ok(rows.clone()) };
        let as_rows = |tensor: &Tensor| tensor.to_device(rows.device())?.to_dtype(rows.dtype());
        let moved = rows.matmul(&as_rows(weight)?.t()?)?.broadcast_add(&as_rows(bias)?)?;
        Ok((rows + moved)?)
    }
}

fn unreadable(path: &Path, reason: &dyn std::fmt::Display) -> TunedLensError {
    TunedLensError::File { path: path.display().to_string(), reason: reason.to_string() }
}
