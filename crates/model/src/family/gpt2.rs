//! Hugging Face GPT-2: `config.json` and `model.safetensors` or `pytorch_model.bin`.
//!
//! Covers gpt2, its medium, large and xl sizes, distilgpt2, and every other checkpoint of the same
//! architecture. `Conv1D` stores its weight `[in, out]` and `c_attn` is the fused q, k, v already,
//! so nothing is turned. The unembedding is the token embedding unless the file has an `lm_head`.

use candle_core::{DType, Tensor};
use serde_json::{Map, Value, json};

use super::{Blocks, Checkpoint, Opened, Reader, Settings, head_width, same_values, unembed_from};
use crate::archive::TensorArchive;
use crate::config::{Activation, Config, MlpConfig, NormConfig};
use crate::error::{Error, Result};
use crate::weights::{BlockWeights, Ends, MlpWeights, Weights, is_zero};

/// Name in records.
pub const NAME: &str = "gpt2";

const PREFIX: &str = "transformer.";

/// Whether the tensors are named as in a GPT-2 checkpoint.
pub fn recognises(archive: &TensorArchive) -> bool {
    archive.contains("wte.weight") || archive.contains("transformer.wte.weight")
}

/// Reads the configuration and what lies outside the blocks.
///
/// # Errors
/// [`Error::ConfigMissing`], [`Error::ConfigValue`] for configurations of another architecture;
/// the errors of [`TensorArchive::tensor`]; [`Error::TensorShape`], [`Error::LeftoverTensors`].
pub(crate) fn open<'a>(archive: &'a TensorArchive, settings: &Settings, dtype: DType) -> Result<Opened<'a>> {
    let config = config(settings)?;
    let prefix = if archive.contains("transformer.wte.weight") { PREFIX } else { "" };
    let reader = Reader::new(archive, prefix, dtype);
    let d = config.d_model;
    let embed = reader.tensor("wte.weight", &[config.d_vocab, d])?;
    let pos_embed = reader.tensor("wpe.weight", &[config.n_ctx, d])?;
    let ln_final = Some(reader.affine("ln_f", d)?);
    let mut assumptions = vec![];
    let tied = settings.flag("tie_word_embeddings", true)?;
    // `lm_head` belongs to the wrapping class and never carries the prefix.
    let head = Reader::new(archive, "", dtype);
    let unembed = if archive.contains("lm_head.weight") {
        let w = head.tensor("lm_head.weight", &[config.d_vocab, d])?;
        reader.mark_used("lm_head.weight".to_owned());
        if tied && !same_values(&w, &embed)? {
            assumptions.push(
                "lm_head.weight differs from wte.weight although tie_word_embeddings is true; \
                 lm_head.weight is used"
                    .to_owned(),
            );
        }
        unembed_from(&w)?
    } else if tied {
        unembed_from(&embed)?
    } else {
        return Err(Error::MissingTensor {
            path: archive.path().to_owned(),
            tensor: "lm_head.weight".to_owned(),
            suggestion: None,
        });
    };
    let ends = Ends { embed, pos_embed, ln_final, unembed };
    let blocks = Blocks { family: NAME, reader, block, is_buffer };
    Ok(Opened { config, assumptions, ends, blocks })
}

fn block(reader: &Reader, config: &Config, layer: usize) -> Result<BlockWeights> {
    let (d, mlp) = (config.d_model, config.d_mlp());
    let name = |part: &str| format!("h.{layer}.{part}");
    Ok(BlockWeights {
        ln1: Some(reader.affine(&name("ln_1"), d)?),
        qkv: reader.linear(&name("attn.c_attn"), d, 3 * d)?,
        out: reader.linear(&name("attn.c_proj"), d, d)?,
        ln2: Some(reader.affine(&name("ln_2"), d)?),
        mlp: Some(MlpWeights {
            input: reader.linear(&name("mlp.c_fc"), d, mlp)?,
            output: reader.linear(&name("mlp.c_proj"), mlp, d)?,
        }),
    })
}

/// The model as Hugging Face lays it out; `None` where the layout cannot express it: no MLP, no LayerNorm or
/// one without gains, heads that do not fill the width, an unembedding with biases.
///
/// # Errors
/// [`Error::Tensor`] where a tensor cannot be turned.
pub fn write(config: &Config, weights: &Weights) -> Result<Option<Checkpoint>> {
    let (Some(mlp), Some(norm)) = (config.mlp, config.norm) else { return Ok(None) };
    if config.d_attn() != config.d_model || !is_zero(&weights.unembed.b)? {
        return Ok(None);
    }
    let mut tensors = vec![tensor("wte.weight", &weights.embed), tensor("wpe.weight", &weights.pos_embed)];
    for (layer, block) in weights.blocks.iter().enumerate() {
        let (Some(ln1), Some(ln2), Some(mlp)) = (&block.ln1, &block.ln2, &block.mlp) else { return Ok(None) };
        let parts = [
            ("ln_1", &ln1.w, &ln1.b),
            ("attn.c_attn", &block.qkv.w, &block.qkv.b),
            ("attn.c_proj", &block.out.w, &block.out.b),
            ("ln_2", &ln2.w, &ln2.b),
            ("mlp.c_fc", &mlp.input.w, &mlp.input.b),
            ("mlp.c_proj", &mlp.output.w, &mlp.output.b),
        ];
        for (part, w, b) in parts {
            tensors.push(tensor(&format!("h.{layer}.{part}.weight"), w));
            tensors.push(tensor(&format!("h.{layer}.{part}.bias"), b));
        }
    }
    let Some(ln_final) = &weights.ln_final else { return Ok(None) };
    tensors.push(tensor("ln_f.weight", &ln_final.w));
    tensors.push(tensor("ln_f.bias", &ln_final.b));
    let head = weights.unembed.w.t()?.contiguous()?;
    let tied = same_values(&head, &weights.embed)?;
    if !tied {
        tensors.push(("lm_head.weight".to_owned(), head));
    }
    let settings = [
        ("model_type", json!("gpt2")),
        ("architectures", json!(["GPT2LMHeadModel"])),
        ("activation_function", json!(mlp.activation.name())),
        ("n_layer", json!(config.n_layers)),
        ("n_head", json!(config.n_heads)),
        ("n_embd", json!(config.d_model)),
        ("n_inner", json!(mlp.d_mlp)),
        ("n_positions", json!(config.n_ctx)),
        ("vocab_size", json!(config.d_vocab)),
        ("layer_norm_epsilon", json!(norm.eps)),
        ("tie_word_embeddings", json!(tied)),
    ];
    let settings: Map<String, Value> =
        settings.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
    Ok(Some(Checkpoint { family: NAME, tensors, settings }))
}

fn tensor(name: &str, tensor: &Tensor) -> (String, Tensor) {
    (name.to_owned(), tensor.clone())
}

/// Causal masks that old versions saved with the weights.
fn is_buffer(name: &str) -> bool {
    name.starts_with("h.") && (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"))
}

fn config(settings: &Settings) -> Result<Config> {
    if settings.get("model_type").is_some_and(|t| t != "gpt2") {
        return Err(settings.value_error("model_type", "`gpt2`"));
    }
    settings.require_flag("scale_attn_weights", true)?;
    settings.require_flag("scale_attn_by_inverse_layer_idx", false)?;
    settings.require_flag("add_cross_attention", false)?;
    let d_model = settings.required_size("n_embd")?;
    let n_heads = settings.required_size("n_head")?;
    let n_ctx = match (settings.size("n_positions")?, settings.size("n_ctx")?) {
        (Some(n), _) | (None, Some(n)) => n,
        (None, None) => return Err(settings.missing("n_positions", "a positive integer")),
    };
    let mlp = MlpConfig {
        d_mlp: settings.size("n_inner")?.unwrap_or(4 * d_model),
        activation: settings.activation("activation_function")?.unwrap_or(Activation::GeluNew),
    };
    Ok(Config {
        n_layers: settings.required_size("n_layer")?,
        n_heads,
        d_model,
        d_head: head_width(settings.path(), "n_head", d_model, n_heads)?,
        d_vocab: settings.required_size("vocab_size")?,
        n_ctx,
        mlp: Some(mlp),
        norm: Some(NormConfig { eps: settings.number("layer_norm_epsilon")?.unwrap_or(1e-5) }),
    })
}
