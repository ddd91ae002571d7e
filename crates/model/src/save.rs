//! From a model in memory to the files that [`load`](crate::load()) reads.

use candle_core::{DType, Tensor};

use crate::cache::to_safetensors;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::family;
use crate::weights::Weights;

/// The files of a checkpoint, by name: `config.json` and `model.safetensors`, in Hugging Face's GPT-2
/// layout if that can express the model, else in TransformerLens's. A `tokenizer.json` belongs beside
/// them.
///
/// # Errors
/// [`Error::SaveOverflow`] where a number does not fit `dtype`; [`Error::SaveDtype`] for another `dtype` than `F32`, `F16`, `BF16`, `F64`; [`Error::WeightShape`] where
/// the weights are not of that configuration.
pub fn checkpoint_files(
    config: &Config,
    weights: &Weights,
    bos: Option<u32>,
    dtype: DType,
) -> Result<[(&'static str, Vec<u8>); 2]> {
    let mut checkpoint = family::write(config, weights)?;
    let name = convert_to_store(&mut checkpoint.tensors, dtype)?;
    checkpoint.settings.insert("torch_dtype".to_owned(), name.into());
    if let Some(bos) = bos {
        checkpoint.settings.insert("bos_token_id".to_owned(), bos.into());
        checkpoint.settings.insert("eos_token_id".to_owned(), bos.into());
    }
    let mut settings = format!("{:#}", serde_json::Value::Object(checkpoint.settings)).into_bytes();
    settings.push(b'\n');
    Ok([("config.json", settings), ("model.safetensors", to_safetensors(&checkpoint.tensors)?)])
}

/// Gives tensors the type they are to be stored in, and says what PyTorch calls it: `float16`.
///
/// # Errors
/// [`Error::SaveOverflow`] where a number does not fit `dtype`; [`Error::SaveDtype`] for another `dtype` than `F32`, `F16`, `BF16`, `F64`.
pub fn convert_to_store(tensors: &mut [(String, Tensor)], dtype: DType) -> Result<&'static str> {
    let name = match dtype {
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::F64 => "float64",
        other => return Err(Error::SaveDtype { found: format!("{other:?}") }),
    };
    for (tensor, values) in tensors {
        let written = values.to_dtype(dtype)?;
        let largest = |values: &Tensor| values.abs()?.to_dtype(DType::F64)?.max_all()?.to_scalar::<f64>();
        if largest(&written)?.is_infinite() && largest(values)?.is_finite() {
            return Err(Error::SaveOverflow { tensor: tensor.clone(), dtype: name });
        }
        *values = written;
    }
    Ok(name)
}
