//! From a sparse autoencoder to the files SAELens writes: `cfg.json` with the keys of version 6, and
//! `sae_weights.safetensors`.
//!
//! What was read from files of another spelling (keys of before version 6, `batchtopk`) is written as this crate runs
//! it, which is what SAELens makes of those files as well.

use std::path::Path;

use microtome_model::{DType, Tensor, convert_to_store, to_safetensors};
use serde_json::{Map, Value, json};

use super::config::{Architecture, SaeConfig, TrainedOn};
use super::error::SaeError;
use super::transcoder::Transcoder;
use super::{CONFIG_FILE, Kind, Sae, WEIGHTS_FILE};
use crate::error::Result;
use crate::whole_file::write_whole;

/// The version of SAELens whose keys these are: without one it takes them for those of before version 6 and
/// drops the metadata.
const KEYS_OF: &str = "6.0.0";

impl Sae {
    /// Writes the two files into a folder, which is made where there is none: each whole or not at all, the weights
    /// first.
    ///
    /// # Errors
    /// [`SaeError::Write`], as [`crate::Error::Sae`]; those of [`Sae::files`].
    pub fn save(&self, folder: &Path, dtype: DType) -> Result<()> {
        let failed = |path: &Path, error: std::io::Error| SaeError::Write {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let files = self.files(dtype)?;
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        for (name, bytes) in files.iter().rev() {
            let path = folder.join(name);
            write_whole(&path, bytes).map_err(|error| failed(&path, error))?;
        }
        Ok(())
    }

    /// The two files by name, numbers stored as F32, F16, BF16 or F64.
    ///
    /// # Errors
    /// [`microtome_model::Error::SaveOverflow`] where a number does not fit `dtype`, and
    /// [`microtome_model::Error::SaveDtype`] for another, as [`crate::Error::Model`].
    pub fn files(&self, dtype: DType) -> Result<[(&'static str, Vec<u8>); 2]> {
        let mut tensors = self.tensors();
        let stored = convert_to_store(&mut tensors, dtype)?;
        let mut config = format!("{:#}", self.config.to_json(stored)).into_bytes();
        config.push(b'\n');
        Ok([(CONFIG_FILE, config), (WEIGHTS_FILE, to_safetensors(&tensors)?)])
    }

    /// Tensors under the names of the files.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let weights = &self.weights;
        let shared = [("W_enc", &weights.w_enc), ("W_dec", &weights.w_dec), ("b_dec", &weights.b_dec)];
        let skip = weights.skip.iter().map(|skip| ("W_skip", skip));
        let own = match &weights.kind {
            Kind::Standard { b_enc } | Kind::TopK { b_enc, .. } => vec![("b_enc", b_enc)],
            Kind::JumpRelu { b_enc, threshold } => vec![("b_enc", b_enc), ("threshold", threshold)],
            Kind::Gated { b_gate, r_mag, b_mag } => {
                vec![("b_gate", b_gate), ("r_mag", r_mag), ("b_mag", b_mag)]
            }
        };
        shared
            .into_iter()
            .chain(own)
            .chain(skip)
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()))
            .collect()
    }
}

impl SaeConfig {
    /// `cfg.json` with numbers stored as `dtype` (`float32`); [`SaeConfig::parse`] reads it back the same.
    pub fn to_json(&self, dtype: &str) -> Value {
        let mut json = Map::new();
        let mut put = |key: &str, value: Value| json.insert(key.to_owned(), value);
        put("architecture", self.architecture_name().into());
        put("d_in", self.d_in.into());
        if let Some(Transcoder { d_out, .. }) = self.transcoder {
            put("d_out", d_out.into());
        }
        put("d_sae", self.d_sae.into());
        put("dtype", dtype.into());
        put("device", "cpu".into());
        put("apply_b_dec_to_input", self.subtract_b_dec.into());
        put("normalize_activations", self.normalization.name().into());
        put("reshape_activations", if self.hook.site.has_heads() { "hook_z" } else { "none" }.into());
        if let Architecture::TopK { k, by_decoder_norm } = self.architecture {
            put("k", k.into());
            put("rescale_acts_by_decoder_norm", by_decoder_norm.into());
        }
        put("metadata", self.metadata());
        Value::Object(json)
    }

    fn metadata(&self) -> Value {
        let TrainedOn { model, centred, value_biases_folded, norm_folded, prepend_bos, context_size } =
            &self.trained_on;
        let mut json = Map::new();
        let mut put = |key: &str, value: Value| json.insert(key.to_owned(), value);
        put("sae_lens_version", KEYS_OF.into());
        put("microtome_version", env!("CARGO_PKG_VERSION").into());
        put("hook_name", self.hook.to_string().into());
        if let Some(Transcoder { hook, .. }) = self.transcoder {
            put("hook_name_out", hook.to_string().into());
        }
        if let Some(model) = model {
            put("model_name", model.clone().into());
        }
        let kwargs = json!({ "center_writing_weights": centred, "fold_value_biases": value_biases_folded,
            "fold_ln": norm_folded });
        put("model_from_pretrained_kwargs", kwargs);
        put("prepend_bos", (*prepend_bos).into());
        if let Some(size) = context_size {
            put("context_size", (*size).into());
        }
        if let Some(id) = &self.neuronpedia_id {
            put("neuronpedia_id", id.clone().into());
        }
        Value::Object(json)
    }
}
