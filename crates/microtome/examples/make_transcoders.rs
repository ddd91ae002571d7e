//! Transcoders of the embedded model, one of every architecture, for another program to read.
//!
//!     cargo run -p microtome --example make_transcoders FOLDER
//!
//! Writes a folder for each. Their weights are those of the model's third MLP, with thresholds and a skip connection of made
//! numbers: they stand for its neurons as far as ReLU is like the model's own activation.

use std::error::Error;
use std::path::Path;

use microtome::model::{DType, Device, LoadOptions, Processing, Site, Tensor, demo};
use microtome::sae::{Sae, SaeConfig};
use microtome::{TextModel, model::Hook};
use serde_json::json;

const LAYER: usize = 2;

/// Architecture, normalisation, where it reads and writes, and how numbers are stored.
const MADE: [(&str, &str, Site, Site, DType); 4] = [
    ("transcoder", "none", Site::Ln2Normalized, Site::MlpOut, DType::F32),
    ("skip_transcoder", "layer_norm", Site::ResidMid, Site::MlpPost, DType::F32),
    ("jumprelu_transcoder", "constant_norm_rescale", Site::MlpIn, Site::MlpOut, DType::F16),
    ("jumprelu_skip_transcoder", "none", Site::Ln2Normalized, Site::ResidPost, DType::F32),
];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder] = &args[..] else { return Err("give a folder to write into".into()) };
    let model = TextModel::load(demo::NAME, Processing::Folded, &LoadOptions::default(), &mut ())?;
    for (architecture, normalization, reads, writes, dtype) in MADE {
        let (reads, writes) = (reads.at(LAYER), writes.at(LAYER));
        let sae = transcoder(&model, (architecture, normalization), (reads, writes))?;
        sae.save(&Path::new(folder).join(architecture), dtype)?;
    }
    Ok(())
}

fn transcoder(
    model: &TextModel,
    (architecture, normalization): (&str, &str),
    (reads, writes): (Hook, Hook),
) -> Result<Sae, Box<dyn Error>> {
    let width = |hook: Hook| hook.shape(model.config(), 1).iter().product::<usize>();
    let mlp = model.model().weights().blocks[LAYER].mlp.as_ref().ok_or("the model has no MLP")?;
    let (input, output) = (mlp.input.unpacked()?, mlp.output.unpacked()?);
    let (d_in, d_sae, d_out) = (width(reads), model.config().d_mlp(), width(writes));
    let config = json!({"architecture": architecture, "d_in": d_in, "d_out": d_out, "d_sae": d_sae,
        "apply_b_dec_to_input": false, "normalize_activations": normalization, "metadata": {
        "hook_name": reads.to_string(), "hook_name_out": writes.to_string(), "model_name": demo::NAME,
        "prepend_bos": true, "context_size": 128, "model_from_pretrained_kwargs": {"fold_ln": true,
        "center_writing_weights": true, "fold_value_biases": true}}});
    let decoder = if d_out == model.config().d_model { output.w } else { made(&[d_sae, d_out], 3.0)? };
    let bias = if d_out == model.config().d_model { output.b } else { made(&[d_out], 4.0)? };
    let mut tensors = vec![("W_enc", input.w), ("b_enc", input.b), ("W_dec", decoder), ("b_dec", bias)];
    if architecture.contains("jumprelu") {
        tensors.push(("threshold", made(&[d_sae], 1.0)?.abs()?));
    }
    if architecture.contains("skip") {
        tensors.push(("W_skip", made(&[d_out, d_in], 2.0)?));
    }
    let config = SaeConfig::parse(&config.to_string(), architecture)?;
    let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
    Ok(Sae::new(config, tensors, architecture)?)
}

/// Numbers around 0 that differ everywhere.
fn made(shape: &[usize], seed: f64) -> Result<Tensor, Box<dyn Error>> {
    let values = (0..shape.iter().product::<usize>())
        .map(|i| (0.2 * (i as f64 * 0.737 + seed).sin() * (i as f64 * 0.0131 + seed).cos()) as f32);
    Ok(Tensor::from_vec(values.collect(), shape, &Device::Cpu)?)
}
