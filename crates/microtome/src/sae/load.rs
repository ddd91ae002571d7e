//! From files to a sparse autoencoder: every tensor used, of the right shape, finite.

use std::collections::HashMap;
use std::path::Path;

use microtome_model::{DType, Tensor, load_safetensors, parse_safetensors, with_rows};

use super::choice::SaeChoice;
use super::config::{Architecture, Normalization, SaeConfig};
use super::error::SaeError;
use super::releases::Entry;
use super::transcoder::Transcoder;
use super::{CONFIG_FILE, Kind, Sae, WEIGHTS_FILE, Weights};
use crate::error::Result;

impl Sae {
    /// Reads `cfg.json` and `sae_weights.safetensors` of a folder.
    ///
    /// # Errors
    /// [`SaeError`], as [`crate::Error::Sae`]: files that are missing or broken, a configuration this crate does not
    /// run, tensors that do not fit it.
    pub fn load(folder: &Path) -> Result<Sae> {
        let sae = Sae::load_files(&folder.join(CONFIG_FILE), &folder.join(WEIGHTS_FILE))?;
        Ok(sae.named(SaeChoice(folder.display().to_string())))
    }

    /// The same of two files wherever they lie.
    pub(super) fn load_files(config: &Path, weights: &Path) -> Result<Sae> {
        let name = config.display().to_string();
        let json = std::fs::read_to_string(config)
            .map_err(|error| SaeError::File { path: name.clone(), reason: error.to_string() })?;
        let config = SaeConfig::parse(&json, &name)?;
        let name = weights.display().to_string();
        let tensors = load_safetensors(weights)
            .map_err(|error| SaeError::File { path: name.clone(), reason: error.to_string() })?;
        Sae::new(config, tensors, &name)
    }

    /// The same of the files' contents; `name` is what it is called, in errors too.
    ///
    /// # Errors
    /// As [`Sae::load`].
    pub fn from_bytes(name: &SaeChoice, config: &str, weights: &[u8]) -> Result<Sae> {
        let file = |file: &str| format!("{name}/{file}");
        let config = SaeConfig::parse(config, &file(CONFIG_FILE))?;
        let tensors = parse_safetensors(weights)
            .map_err(|error| SaeError::File { path: file(WEIGHTS_FILE), reason: error.to_string() })?;
        Ok(Sae::new(config, tensors, &file(WEIGHTS_FILE))?.named(name.clone()))
    }

    /// What the release it belongs to says beside its files.
    pub(super) fn of_release(mut self, entry: &Entry) -> Result<Sae> {
        if self.config.neuronpedia_id.is_none() {
            self.config.neuronpedia_id.clone_from(&entry.neuronpedia);
        }
        if let Some(factor) = entry.factor
            && self.config.normalization == Normalization::ExpectedAverageOnlyIn
        {
            let Weights { w_enc, w_dec, b_dec, .. } = &mut self.weights;
            (*w_enc, *w_dec, *b_dec) = ((&*w_enc * factor)?, (&*w_dec / factor)?, (&*b_dec / factor)?);
            self.config.normalization = Normalization::None;
        }
        Ok(self)
    }

    /// An autoencoder of these tensors, named as in SAELens's files; `path` is for errors.
    ///
    /// # Errors
    /// [`SaeError::Weights`] where one is missing, not expected, of another shape, or not finite.
    pub fn new(config: SaeConfig, tensors: HashMap<String, Tensor>, path: &str) -> Result<Sae> {
        let hash = fingerprint(&tensors)?;
        let mut tensors = Tensors { tensors, path };
        let (d_in, d_sae, d_out) = (config.d_in, config.d_sae, config.d_out());
        let w_enc = tensors.take("W_enc", &[d_in, d_sae])?;
        let w_dec = tensors.take("W_dec", &[d_sae, d_out])?;
        let b_dec = tensors.take("b_dec", &[d_out])?;
        let skip = match config.transcoder {
            Some(Transcoder { skip: true, .. }) => Some(tensors.take("W_skip", &[d_out, d_in])?),
            _ => None,
        };
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
                "is not part of an autoencoder of architecture {}; cfg.json says another than the file was saved by",
                config.architecture_name()
            );
            return Err(SaeError::Weights { path: path.to_owned(), tensor: name.clone(), problem }.into());
        }
        let name = SaeChoice(path.to_owned());
        Ok(Sae { name, hash, config, weights: Weights { w_enc, w_dec, b_dec, skip, kind } })
    }
}

/// Fingerprint of tensors by name, whatever type they are stored as: of each its name, sizes, and values as f32.
fn fingerprint(tensors: &HashMap<String, Tensor>) -> Result<String> {
    let mut names: Vec<&String> = tensors.keys().collect();
    names.sort();
    let mut hasher = blake3::Hasher::new();
    for name in names {
        let tensor = &tensors[name];
        hasher.update(name.as_bytes()).update(&[0]);
        for &size in tensor.dims() {
            hasher.update(&(size as u64).to_le_bytes());
        }
        with_rows(tensor, |values| {
            for piece in values.chunks(4096) {
                let bytes: Vec<u8> = piece.iter().flat_map(|x| x.to_le_bytes()).collect();
                hasher.update(&bytes);
            }
        })?;
    }
    Ok(hasher.finalize().to_hex().to_string())
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
