//! Checkpoints: a folder that every command of the program loads, and with it, for going on, the optimiser's
//! moments (`optimiser.safetensors`) and where the run was (`state.json`).

use std::path::Path;

use microtome_model::{
    DType, Device, DownloadProgress, LoadOptions, Loaded, Model, Tensor, checkpoint_files, load,
    load_safetensors, to_safetensors,
};
use serde::{Deserialize, Serialize};

use crate::adamw::{AdamW, Moments};
use crate::error::{Error, Result};
use crate::learner::Learner;
use crate::parameters::Parameter;
use crate::run_dir::write_file;
use crate::vocabulary::Vocabulary;

/// Where a run was when a checkpoint was made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Updates made.
    pub step: u64,
    /// The last evaluation's step.
    pub evaluated: Option<u64>,
    /// The evaluation with the lowest validation loss.
    pub best: Option<Best>,
    /// Length of `losses.jsonl`.
    pub losses_bytes: u64,
    /// Length of `telemetry.jsonl`.
    pub telemetry_bytes: u64,
    /// Length of `samples.txt`.
    pub samples_bytes: u64,
    /// Fingerprint of the text.
    pub data_hash: Option<String>,
    /// Time spent on the run up to here.
    pub elapsed_secs: f64,
}

/// The best evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Updates made.
    pub step: u64,
    /// Its validation loss, in nats.
    pub validation_loss: f64,
}

/// Writes a model with its tokenizer into a folder.
///
/// # Errors
/// [`Error::Io`]; [`Error::Model`] where the model cannot be written.
pub fn write_model(
    dir: &Path,
    model: &Model,
    vocabulary: Option<&Vocabulary>,
    bos: Option<u32>,
) -> Result<()> {
    for (name, bytes) in checkpoint_files(model.config(), &model.weights().unpacked()?, bos, DType::F32)? {
        write_file(&dir.join(name), &bytes)?;
    }
    if let Some(tokenizer) = vocabulary.and_then(Vocabulary::json) {
        write_file(&dir.join("tokenizer.json"), tokenizer.as_bytes())?;
    }
    Ok(())
}

/// Writes what going on needs beside the model.
///
/// # Errors
/// [`Error::Io`].
pub fn write_state(dir: &Path, learner: &Learner, state: &State) -> Result<()> {
    let named = learner.parameters().list().iter().zip(&learner.optimiser.moments);
    let mut tensors = Vec::new();
    for (parameter, moments) in named {
        for (name, values) in [("first", &moments.first), ("second", &moments.second)] {
            let tensor = Tensor::from_slice(values, parameter.var.shape(), &Device::Cpu)?;
            tensors.push((format!("{}.{name}", parameter.name), tensor));
        }
    }
    write_file(&dir.join("optimiser.safetensors"), &to_safetensors(&tensors)?)?;
    write_file(&dir.join("state.json"), &json(state, &dir.join("state.json"))?)
}

/// Where the run was.
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`].
pub fn read_state(dir: &Path) -> Result<State> {
    let path = dir.join("state.json");
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::Damaged { problem: format!("cannot be read: {e}"), path })
}

/// The model of a checkpoint.
///
/// # Errors
/// [`Error::Model`].
pub fn read_model(spec: &str, progress: &mut dyn DownloadProgress) -> Result<Loaded> {
    Ok(load(spec, &LoadOptions::default(), progress)?)
}

/// Gives an optimiser the moments of a checkpoint after `updates` updates.
///
/// # Errors
/// [`Error::Damaged`] where they are not those of these parameters.
pub fn read_moments(dir: &Path, parameters: &[Parameter], optimiser: &mut AdamW, updates: u64) -> Result<()> {
    let path = dir.join("optimiser.safetensors");
    let mut tensors = load_safetensors(&path)?;
    let mut values = |parameter: &Parameter, name: &str| -> Result<Vec<f32>> {
        let name = format!("{}.{name}", parameter.name);
        match tensors.remove(&name) {
            Some(tensor) if tensor.dims() == parameter.var.dims() => {
                Ok(tensor.flatten_all()?.to_vec1::<f32>()?)
            }
            _ => {
                let problem = format!("has no `{name}` of shape {:?}", parameter.var.dims());
                Err(Error::Damaged { path: path.clone(), problem })
            }
        }
    };
    let moments = parameters.iter().map(|parameter| {
        Ok(Moments { first: values(parameter, "first")?, second: values(parameter, "second")? })
    });
    optimiser.moments = moments.collect::<Result<_>>()?;
    optimiser.updates = updates;
    Ok(())
}

/// A value as the text of a JSON file.
pub(crate) fn json(value: &impl Serialize, path: &Path) -> Result<Vec<u8>> {
    let failed = |e: serde_json::Error| Error::io("write", path)(std::io::Error::other(e));
    let mut bytes = serde_json::to_vec_pretty(value).map_err(failed)?;
    bytes.push(b'\n');
    Ok(bytes)
}
