//! nanoGPT: one `ckpt.pt` with `model_args`, `model` and the optimiser's state.
//!
//! The names are GPT-2's, but `nn.Linear` stores its weight `[out, in]`, biases may be absent, a
//! compiled model puts `_orig_mod.` before every name, and the activation is `nn.GELU()`: the exact
//! one, where GPT-2 has the tanh approximation. The LayerNorm epsilon is 1e-5.

use candle_core::DType;

use super::{Blocks, MAX_SIZE, Opened, Reader, head_width, same_values, unembed_from};
use crate::archive::TensorArchive;
use crate::config::{Activation, Config, MlpConfig, NormConfig};
use crate::error::{Error, Result};
use crate::pickle::Value;
use crate::weights::{BlockWeights, Ends, MlpWeights};

/// Name in records.
pub const NAME: &str = "nanogpt";

const EPS: f64 = 1e-5;

const PREFIXES: [&str; 2] = ["", "_orig_mod."];

/// Keys of `model_args` in nanoGPT's own `train.py`.
const KNOWN_ARGS: [&str; 7] = ["n_layer", "n_head", "n_embd", "block_size", "bias", "vocab_size", "dropout"];

/// Whether this is a checkpoint with `model_args`.
pub fn recognises(archive: &TensorArchive) -> bool {
    archive.pickle().is_some_and(|p| p.root().get("model_args").is_some())
}

/// Reads the configuration and what lies outside the blocks.
///
/// # Errors
/// [`Error::ConfigMissing`], [`Error::ConfigValue`] for unusable `model_args`; the errors of
/// [`TensorArchive::tensor`]; [`Error::TensorShape`], [`Error::LeftoverTensors`].
pub(crate) fn open(
    archive: &TensorArchive,
    activation: Option<Activation>,
    dtype: DType,
) -> Result<Opened<'_>> {
    let mut assumptions = vec![];
    let args = Args { archive, values: archive.pickle().and_then(|p| p.root().get("model_args")) };
    let config = args.config(activation, &mut assumptions)?;
    let prefix = PREFIXES
        .into_iter()
        .find(|p| archive.contains(&format!("{p}transformer.wte.weight")))
        .unwrap_or_default();
    let reader = Reader::new(archive, prefix, dtype);
    let d = config.d_model;
    let embed = reader.tensor("transformer.wte.weight", &[config.d_vocab, d])?;
    let pos_embed = reader.tensor("transformer.wpe.weight", &[config.n_ctx, d])?;
    let ln_final = Some(reader.affine("transformer.ln_f", d)?);
    let unembed = if reader.has("lm_head.weight") {
        let w = reader.tensor("lm_head.weight", &[config.d_vocab, d])?;
        if !same_values(&w, &embed)? {
            assumptions.push("lm_head.weight differs from wte.weight; lm_head.weight is used".to_owned());
        }
        unembed_from(&w)?
    } else {
        unembed_from(&embed)?
    };
    let ends = Ends { embed, pos_embed, ln_final, unembed };
    let blocks = Blocks { family: NAME, reader, block, is_buffer };
    Ok(Opened { config, assumptions, ends, blocks })
}

fn block(reader: &Reader, config: &Config, layer: usize) -> Result<BlockWeights> {
    let (d, mlp) = (config.d_model, config.d_mlp());
    let name = |part: &str| format!("transformer.h.{layer}.{part}");
    Ok(BlockWeights {
        ln1: Some(reader.affine(&name("ln_1"), d)?),
        qkv: reader.linear_transposed(&name("attn.c_attn"), d, 3 * d)?,
        out: reader.linear_transposed(&name("attn.c_proj"), d, d)?,
        ln2: Some(reader.affine(&name("ln_2"), d)?),
        mlp: Some(MlpWeights {
            input: reader.linear_transposed(&name("mlp.c_fc"), d, mlp)?,
            output: reader.linear_transposed(&name("mlp.c_proj"), mlp, d)?,
        }),
    })
}

/// Causal masks, saved where PyTorch has no fused attention.
fn is_buffer(name: &str) -> bool {
    name.starts_with("transformer.h.") && name.ends_with(".attn.bias")
}

/// `model_args`, as far as there is one.
struct Args<'a> {
    archive: &'a TensorArchive,
    values: Option<Value<'a>>,
}

impl Args<'_> {
    fn config(&self, activation: Option<Activation>, assumptions: &mut Vec<String>) -> Result<Config> {
        let activation = activation.unwrap_or_else(|| {
            assumptions.push(
                "activation is the exact gelu (erf) of nanoGPT's model.py; the checkpoint does not say, \
                 and early copies of nanoGPT used gelu_new"
                    .to_owned(),
            );
            Activation::Gelu
        });
        for (key, _) in self.values.and_then(Value::entries).unwrap_or_default() {
            let Some(key) = key.as_str() else { continue };
            if !KNOWN_ARGS.contains(&key) {
                assumptions.push(format!("`{key}` in model_args is not nanoGPT's own and was not used"));
            }
        }
        let (d_model, n_heads) = (self.size("n_embd")?, self.size("n_head")?);
        Ok(Config {
            n_layers: self.size("n_layer")?,
            n_heads,
            d_model,
            d_head: head_width(self.archive.path(), "model_args.n_head", d_model, n_heads)?,
            d_vocab: self.size("vocab_size")?,
            n_ctx: self.size("block_size")?,
            mlp: Some(MlpConfig { d_mlp: 4 * d_model, activation }),
            norm: Some(NormConfig { eps: EPS }),
        })
    }

    fn size(&self, key: &str) -> Result<usize> {
        let path = || self.archive.path().to_owned();
        let expected = "a positive integer".to_owned();
        let Some(value) = self.values.and_then(|v| v.get(key)) else {
            return Err(Error::ConfigMissing { path: path(), key: format!("model_args.{key}"), expected });
        };
        match value.as_usize() {
            Some(n) if n >= 1 && n as u64 <= MAX_SIZE => Ok(n),
            _ => {
                let found = value.as_int().map_or_else(|| value.kind().to_owned(), |i| i.to_string());
                Err(Error::ConfigValue { path: path(), key: format!("model_args.{key}"), found, expected })
            }
        }
    }
}
