//! From a folder to a sparse autoencoder: every tensor used, of the right shape, finite.

use std::collections::HashMap;
use std::path::Path;

use microtome_model::{DType, Tensor, load_safetensors};

use super::config::{Architecture, SaeConfig};
use super::error::SaeError;
use super::{Kind, Sae, Weights};
use crate::error::Result;

impl Sae {
    /// Reads `cfg.json` and `sae_weights.safetensors` of a folder.
    ///
    /// # Errors
    /// [`SaeError`], as [`crate::Error::Sae`]: files that are missing or broken, a configuration this crate does not
    /// run, tensors that do not fit it.
    pub fn load(folder: &Path) -> Result<Sae> {
        let path = folder.join("cfg.json");
        let name = path.display().to_string();
        let json = std::fs::read_to_string(&path)
            .map_err(|error| SaeError::File { path: name.clone(), reason: error.to_string() })?;
        let config = SaeConfig::parse(&json, &name)?;
        let path = folder.join("sae_weights.safetensors");
        let name = path.display().to_string();
        let tensors = load_safetensors(&path)
            .map_err(|error| SaeError::File { path: name.clone(), reason: error.to_string() })?;
        Sae::new(config, tensors, &name)
    }

    /// An autoencoder of these tensors, named as in SAELens's files; `path` is for errors.
    ///
    /// # Errors
    /// [`SaeError::Weights`] where one is missing, not expected, of another shape, or not finite.
    pub fn new(config: SaeConfig, tensors: HashMap<String, Tensor>, path: &str) -> Result<Sae> {
        let mut tensors = Tensors { tensors, path };
        let SaeConfig { d_in, d_sae, .. } = config;
        let w_enc = tensors.take("W_enc", &[d_in, d_sae])?;
        let w_dec = tensors.take("W_dec", &[d_sae, d_in])?;
        let b_dec = tensors.take("b_dec", &[d_in])?;
        let mut row = |name: &str| tensors.take(name, &[d_sae]);
        let kind = match config.architecture {
            Architecture::Standard => Kind::Standard { b_enc: row("b_enc")? },
            Architecture::TopK { k, by_decoder_norm } => {
                let norms = w_dec.sqr()?.sum(1)?.sqrt()?;
                Kind::TopK { b_enc: row("b_enc")?, k, norms: by_decoder_norm.then_some(norms) }
            }
            Architecture::JumpRelu => Kind::JumpRelu { b_enc: row("b_enc")?, threshold: row("threshold")? },
            Architecture::Gated => {
                Kind::Gated { b_gate: row("b_gate")?, r_mag: row("r_mag")?, b_mag: row("b_mag")? }
            }
        };
        if let Some(name) = tensors.tensors.keys().min() {
            let problem = format!(
                "is not part of an autoencoder of architecture {:?}; cfg.json says another than the file was saved by",
                config.architecture
            );
            return Err(SaeError::Weights { path: path.to_owned(), tensor: name.clone(), problem }.into());
        }
        Ok(Sae { config, weights: Weights { w_enc, w_dec, b_dec, kind } })
    }
}

struct Tensors<'a> {
    tensors: HashMap<String, Tensor>,
    path: &'a str,
}

impl Tensors<'_> {
    /// A tensor in f32, which is then no longer among them.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let wrong = |problem: String| SaeError::Weights {
            path: self.path.to_owned(),
            tensor: name.to_owned(),
            problem,
        };
        let Some(tensor) = self.tensors.remove(name) else {
            return Err(wrong("is missing".to_owned()).into());
        };
        if tensor.dims() != shape {
            return Err(wrong(format!("has shape {:?}; expected {shape:?}", tensor.dims())).into());
        }
        let tensor = tensor.to_dtype(DType::F32)?.contiguous()?;
        // A NaN or an infinity anywhere makes the sum of zeros NaN.
        if (&tensor * 0.0)?.sum_all()?.to_scalar::<f32>()?.is_nan() {
            return Err(wrong("holds NaN or infinity".to_owned()).into());
        }
        Ok(tensor)
    }
}
