//! A TransformerLens state dict (`.pth`, or `.safetensors` with the same names).
//!
//! Sizes are read off the shapes. What shapes cannot tell comes from a JSON file beside the weights
//! with `HookedTransformerConfig`'s keys: `normalization_type`, `act_fn`, `eps`. Attention-only and
//! norm-free toys are the same family with tensors absent.
//!
//! Weights without LayerNorm gains are either folded (`LNPre`: the normalisation still runs) or
//! from a model that never had any (`None`). The numbers differ and the tensors do not show it, so
//! that case needs the configuration.

use std::path::Path;

use candle_core::{DType, Tensor};
use serde_json::{Map, Value, json};

use super::{Blocks, Checkpoint, Opened, Reader, Settings, block_index};
use crate::archive::TensorArchive;
use crate::config::{Activation, Config, MlpConfig, NormConfig};
use crate::error::{Error, Result};
use crate::weight_hash::canonical_tensors;
use crate::weights::{Affine, BlockWeights, Ends, Linear, MlpWeights, Weights};

/// Name in records.
pub const NAME: &str = "transformerlens";

const DEFAULT_EPS: f64 = 1e-5;

/// Whether the tensors are named as in a TransformerLens state dict.
pub fn recognises(archive: &TensorArchive) -> bool {
    archive.contains("embed.W_E")
}

/// Whether a configuration file is a `HookedTransformerConfig`.
pub fn recognises_settings(settings: &Settings) -> bool {
    !settings.has("model_type")
        && ["normalization_type", "act_fn", "d_model"].into_iter().any(|key| settings.has(key))
}

/// Reads the configuration and what lies outside the blocks; `settings` is the configuration beside the weights, if any.
///
/// # Errors
/// [`Error::ConfigMissing`] if the weights have no LayerNorm gains and no configuration says
/// `normalization_type`; [`Error::ConfigValue`] if the configuration contradicts the shapes or asks
/// for another architecture; the errors of [`TensorArchive::tensor`]; [`Error::TensorShape`],
/// [`Error::LeftoverTensors`].
pub(crate) fn open<'a>(
    archive: &'a TensorArchive,
    settings: Option<&Settings>,
    activation: Option<Activation>,
    dtype: DType,
) -> Result<Opened<'a>> {
    let mut assumptions = vec![];
    let reader = Reader::new(archive, "", dtype);
    let config = config(&reader, settings, activation, &mut assumptions)?;
    let d = config.d_model;
    let embed = reader.tensor("embed.W_E", &[config.d_vocab, d])?;
    let pos_embed = reader.tensor("pos_embed.W_pos", &[config.n_ctx, d])?;
    let ln_final = affine(&reader, "ln_final", d)?;
    let unembed = Linear {
        w: reader.tensor("unembed.W_U", &[d, config.d_vocab])?,
        b: reader.tensor_or_zeros("unembed.b_U", &[config.d_vocab])?,
    };
    let ends = Ends { embed, pos_embed, ln_final, unembed };
    let blocks = Blocks { family: NAME, reader, block, is_buffer };
    Ok(Opened { config, assumptions, ends, blocks })
}

fn block(reader: &Reader, config: &Config, layer: usize) -> Result<BlockWeights> {
    let (d, attn) = (config.d_model, config.d_attn());
    let name = |part: &str| format!("blocks.{layer}.{part}");
    let head_shape = [config.n_heads, d, config.d_head];
    let projection = |letter: &str| -> Result<Tensor> {
        let w = reader.tensor(&name(&format!("attn.W_{letter}")), &head_shape)?;
        Ok(w.permute((1, 0, 2))?.reshape((d, attn))?)
    };
    let bias = |letter: &str| -> Result<Tensor> {
        let b =
            reader.tensor_or_zeros(&name(&format!("attn.b_{letter}")), &[config.n_heads, config.d_head])?;
        Ok(b.reshape(attn)?)
    };
    let qkv = Linear {
        w: Tensor::cat(&[projection("Q")?, projection("K")?, projection("V")?], 1)?,
        b: Tensor::cat(&[bias("Q")?, bias("K")?, bias("V")?], 0)?,
    };
    let w_o = reader.tensor(&name("attn.W_O"), &[config.n_heads, config.d_head, d])?;
    let out = Linear { w: w_o.reshape((attn, d))?, b: reader.tensor_or_zeros(&name("attn.b_O"), &[d])? };
    let mlp = config.mlp.map(|mlp| -> Result<MlpWeights> {
        let linear = |side: &str, inputs: usize, outputs: usize| -> Result<Linear> {
            Ok(Linear {
                w: reader.tensor(&name(&format!("mlp.W_{side}")), &[inputs, outputs])?,
                b: reader.tensor_or_zeros(&name(&format!("mlp.b_{side}")), &[outputs])?,
            })
        };
        Ok(MlpWeights { input: linear("in", d, mlp.d_mlp)?, output: linear("out", mlp.d_mlp, d)? })
    });
    let ln2 = if config.mlp.is_some() { affine(reader, &name("ln2"), d)? } else { None };
    Ok(BlockWeights { ln1: affine(reader, &name("ln1"), d)?, qkv, out, ln2, mlp: mlp.transpose()? })
}

/// The model as TransformerLens lays it out, which expresses every model there is.
///
/// # Errors
/// [`Error::Tensor`] where a tensor cannot be turned.
pub fn write(config: &Config, weights: &Weights) -> Result<Checkpoint> {
    let tensors = canonical_tensors(config, weights)?;
    let normalization = match (config.norm, &weights.ln_final) {
        (None, _) => Value::Null,
        (Some(_), None) => json!("LNPre"),
        (Some(_), Some(_)) => json!("LN"),
    };
    let mut settings: Map<String, Value> = [
        ("n_layers", json!(config.n_layers)),
        ("n_heads", json!(config.n_heads)),
        ("d_model", json!(config.d_model)),
        ("d_head", json!(config.d_head)),
        ("d_vocab", json!(config.d_vocab)),
        ("n_ctx", json!(config.n_ctx)),
        ("attn_only", json!(config.mlp.is_none())),
        ("normalization_type", normalization),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect();
    if let Some(mlp) = config.mlp {
        settings.insert("d_mlp".to_owned(), json!(mlp.d_mlp));
        settings.insert("act_fn".to_owned(), json!(mlp.activation.name()));
    }
    if let Some(norm) = config.norm {
        settings.insert("eps".to_owned(), json!(norm.eps));
    }
    Ok(Checkpoint { family: NAME, tensors, settings })
}

/// A LayerNorm's gain and bias; `None` where the file has neither.
fn affine(reader: &Reader, name: &str, width: usize) -> Result<Option<Affine>> {
    let (w, b) = (format!("{name}.w"), format!("{name}.b"));
    if !reader.has(&w) && !reader.has(&b) {
        return Ok(None);
    }
    Ok(Some(Affine { w: reader.tensor(&w, &[width])?, b: reader.tensor_or_zeros(&b, &[width])? }))
}

/// Masks and the constant that fills them.
fn is_buffer(name: &str) -> bool {
    name.starts_with("blocks.") && (name.ends_with(".attn.mask") || name.ends_with(".attn.IGNORE"))
}

fn config(
    reader: &Reader,
    settings: Option<&Settings>,
    activation: Option<Activation>,
    assumptions: &mut Vec<String>,
) -> Result<Config> {
    let [d_vocab, d_model] = axes(reader, "embed.W_E", ["d_vocab", "d_model"])?;
    let [n_ctx, _] = axes(reader, "pos_embed.W_pos", ["n_ctx", "d_model"])?;
    let [n_heads, _, d_head] = axes(reader, "blocks.0.attn.W_Q", ["n_heads", "d_model", "d_head"])?;
    let n_layers = reader
        .archive
        .names()
        .filter_map(|n| block_index(n, "blocks."))
        .max()
        .map_or(0, |l| l.saturating_add(1));
    let mlp = if reader.has("blocks.0.mlp.W_in") {
        let [_, d_mlp] = axes(reader, "blocks.0.mlp.W_in", ["d_model", "d_mlp"])?;
        let activation = match (activation, settings.map(|s| s.activation("act_fn")).transpose()?.flatten()) {
            (_, Some(said)) => said,
            (Some(asked), None) => asked,
            (None, None) => {
                assumptions
                    .push("activation is gelu_new; no configuration beside the weights says".to_owned());
                Activation::GeluNew
            }
        };
        Some(MlpConfig { d_mlp, activation })
    } else {
        None
    };
    let norm = norm(reader, settings, assumptions)?;
    let config = Config { n_layers, n_heads, d_model, d_head, d_vocab, n_ctx, mlp, norm };
    if let Some(settings) = settings {
        check_settings(settings, &config)?;
    }
    Ok(config)
}

fn norm(
    reader: &Reader,
    settings: Option<&Settings>,
    assumptions: &mut Vec<String>,
) -> Result<Option<NormConfig>> {
    let has_gains = reader.has("ln_final.w") || reader.has("blocks.0.ln1.w");
    let said = settings.and_then(|s| Some((s, s.values.get("normalization_type")?)));
    // JSON null is Python's None: a model without LayerNorm.
    let kind = said.map(|(_, value)| value.as_str().unwrap_or(if value.is_null() { "None" } else { "?" }));
    match (kind, has_gains) {
        (Some("None"), false) => return Ok(None),
        (Some("LNPre"), false) | (Some("LN"), true) | (None, true) => {}
        (None, false) => {
            let path = settings.map_or_else(|| config_path(reader.path()), |s| s.path().to_owned());
            return Err(Error::ConfigMissing {
                path,
                key: "normalization_type".to_owned(),
                expected: "\"LNPre\" (LayerNorm folded into the weights) or null (no LayerNorm), since \
                           the weights have no LayerNorm gains"
                    .to_owned(),
            });
        }
        (Some(_), _) => {
            let expected = if has_gains {
                "\"LN\", since the weights have LayerNorm gains"
            } else {
                "\"LNPre\" or null, since the weights have no LayerNorm gains"
            };
            let settings = said.map(|(s, _)| s);
            return Err(settings.map_or_else(
                || Error::ConfigMissing {
                    path: reader.path().to_owned(),
                    key: "normalization_type".to_owned(),
                    expected: expected.to_owned(),
                },
                |s| s.value_error("normalization_type", expected),
            ));
        }
    }
    let eps = settings.map(|s| s.number("eps")).transpose()?.flatten();
    if eps.is_none() {
        assumptions.push("LayerNorm eps is 1e-5; no configuration beside the weights says".to_owned());
    }
    Ok(Some(NormConfig { eps: eps.unwrap_or(DEFAULT_EPS) }))
}

/// The sizes a configuration gives must be those of the tensors, and what it switches on must be
/// something this crate computes.
fn check_settings(settings: &Settings, config: &Config) -> Result<()> {
    let mut sizes = vec![
        ("n_layers", config.n_layers),
        ("n_heads", config.n_heads),
        ("d_model", config.d_model),
        ("d_head", config.d_head),
        ("d_vocab", config.d_vocab),
        ("n_ctx", config.n_ctx),
    ];
    if let Some(mlp) = config.mlp {
        sizes.push(("d_mlp", mlp.d_mlp));
    }
    for (key, size) in sizes {
        if settings.size(key)?.is_some_and(|n| n != size) {
            return Err(settings.value_error(key, &format!("{size}, as in the weights")));
        }
    }
    if settings.has("attn_only") {
        settings.require_flag("attn_only", config.mlp.is_none())?;
    }
    for (key, supported) in [
        ("use_attn_scale", true),
        ("scale_attn_by_inverse_layer_idx", false),
        ("parallel_attn_mlp", false),
        ("use_local_attn", false),
        ("gated_mlp", false),
        ("final_rms", false),
        ("post_embedding_ln", false),
        ("use_normalization_before_and_after", false),
    ] {
        settings.require_flag(key, supported)?;
    }
    for (key, supported) in [("positional_embedding_type", "standard"), ("attention_dir", "causal")] {
        if settings.get(key).is_some_and(|v| v != supported) {
            return Err(settings.value_error(key, &format!("`{supported}`")));
        }
    }
    if let Some(scale) = settings.number("attn_scale")? {
        // TransformerLens writes -1 for the usual choice, then replaces it by the root of d_head.
        let usual = (config.d_head as f64).sqrt();
        if scale > 0.0 && (scale - usual).abs() > 1e-6 * usual {
            return Err(settings.value_error("attn_scale", &format!("{usual}, the square root of d_head")));
        }
    }
    if let Some(cap) = settings.number("attn_scores_soft_cap")?.filter(|&cap| cap > 0.0) {
        return Err(settings.value_error("attn_scores_soft_cap", &format!("-1 (none), not {cap}")));
    }
    Ok(())
}

/// A tensor's shape with a given number of axes, none of them empty.
fn axes<const N: usize>(reader: &Reader, name: &str, axis_names: [&str; N]) -> Result<[usize; N]> {
    let shape = reader.shape(name)?;
    match <[usize; N]>::try_from(shape) {
        Ok(axes) if !axes.contains(&0) => Ok(axes),
        _ => Err(Error::Damaged {
            path: reader.path().to_owned(),
            part: format!("tensor `{name}`"),
            problem: format!("its shape is {shape:?}, not [{}]", axis_names.join(", ")),
        }),
    }
}

/// Where the configuration of a weight file is looked for first.
fn config_path(weights: &Path) -> std::path::PathBuf {
    weights.with_file_name("config.json")
}
