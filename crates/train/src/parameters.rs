//! The weights of a model as variables that an optimiser may change in place.
//!
//! A new model begins as nanoGPT's does: matrices and embeddings normal with standard deviation 0.02, the
//! two matrices of a block that write to the residual stream with `0.02 / sqrt(2 n_layers)`, biases 0, gains
//! one. The unembedding is the embedding turned, one variable, unless the model is untied; then it has one
//! of its own.

use microtome_model::{
    Affine, BlockWeights, Config, DType, Device, Linear, MlpWeights, Model, Processing, Tensor, Var, Weights,
};
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::random::generator;

/// How a new model begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Init {
    /// Standard deviation of matrices and embeddings.
    pub std: f64,
    /// Position embeddings.
    pub positions: InitPositions,
    /// The unembedding, where it is not the embedding.
    pub unembed: InitUnembed,
}

/// How position embeddings begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitPositions {
    /// Normal, as every embedding.
    #[default]
    Normal,
    /// Sines and cosines of wavelengths from two tokens to the length of the context, in geometric steps.
    Sinusoidal,
}

/// How an unembedding of its own begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitUnembed {
    /// Normal, with nothing in common with the embedding.
    #[default]
    Normal,
    /// The embedding turned, its dimensions shifted by half of them: one linear map leads from a token's
    /// embedding to its logit whatever the token, so that copying need not be learnt token by token. Not
    /// shifted, that map would be the residual stream itself and every token predict itself.
    Shifted,
}

impl Default for Init {
    /// nanoGPT's.
    fn default() -> Init {
        Init { std: 0.02, positions: InitPositions::Normal, unembed: InitUnembed::Normal }
    }
}

/// A variable.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// `blocks.0.attn.qkv.w`
    pub name: String,
    /// Its values.
    pub var: Var,
}

impl Parameter {
    /// Whether weight decay acts on it: matrices, not biases and gains.
    pub fn decays(&self) -> bool {
        self.var.rank() >= 2
    }
}

/// All variables of a model, and the model they make.
#[derive(Debug)]
pub struct Parameters {
    list: Vec<Parameter>,
    learning: Model,
    frozen: Model,
}

/// What of a model is not learnt, or not by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ties {
    /// The unembedding is the embedding.
    pub unembed: bool,
    /// Biases stay as they are.
    pub biases_fixed: bool,
}

impl Parameters {
    /// Variables that start at these weights.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) where the weights do not fit the configuration.
    pub fn new(config: &Config, weights: &Weights, ties: Ties) -> Result<Parameters> {
        weights.check(config)?;
        let mut list = Vec::new();
        let mut variable = |name: String, start: &Tensor| -> Result<Tensor> {
            let var = Var::from_tensor(&start.to_dtype(DType::F32)?.contiguous()?)?;
            let tensor = var.as_tensor().clone();
            list.push(Parameter { name, var });
            Ok(tensor)
        };
        let embed = variable("embed".to_owned(), &weights.embed)?;
        let pos_embed = variable("pos_embed".to_owned(), &weights.pos_embed)?;
        let mut pair = |name: String, w: &Tensor, b: &Tensor| -> Result<(Tensor, Tensor)> {
            let w = variable(format!("{name}.w"), w)?;
            let b = if ties.biases_fixed { b.clone() } else { variable(format!("{name}.b"), b)? };
            Ok((w, b))
        };
        let mut blocks = Vec::new();
        for (layer, block) in weights.blocks.iter().enumerate() {
            let name = |part: &str| format!("blocks.{layer}.{part}");
            let ln1 = block.ln1.as_ref().map(|n| pair(name("ln1"), &n.w, &n.b)).transpose()?;
            let qkv = pair(name("attn.qkv"), &block.qkv.w, &block.qkv.b)?;
            let out = pair(name("attn.out"), &block.out.w, &block.out.b)?;
            let ln2 = block.ln2.as_ref().map(|n| pair(name("ln2"), &n.w, &n.b)).transpose()?;
            let mlp = match &block.mlp {
                Some(mlp) => {
                    let (w, b) = pair(name("mlp.in"), &mlp.input.w, &mlp.input.b)?;
                    let input = Linear { w, b };
                    let (w, b) = pair(name("mlp.out"), &mlp.output.w, &mlp.output.b)?;
                    Some(MlpWeights { input, output: Linear { w, b } })
                }
                None => None,
            };
            let affine = |pair: Option<(Tensor, Tensor)>| pair.map(|(w, b)| Affine { w, b });
            blocks.push(BlockWeights {
                ln1: affine(ln1),
                qkv: Linear { w: qkv.0, b: qkv.1 },
                out: Linear { w: out.0, b: out.1 },
                ln2: affine(ln2),
                mlp,
            });
        }
        let ln_final =
            weights.ln_final.as_ref().map(|n| pair("ln_final".to_owned(), &n.w, &n.b)).transpose()?;
        let unembed =
            if ties.unembed { embed.t()? } else { variable("unembed".to_owned(), &weights.unembed.w)? };
        let weights = Weights {
            embed,
            pos_embed,
            blocks,
            ln_final: ln_final.map(|(w, b)| Affine { w, b }),
            // No GPT-2 has a bias here; one that a checkpoint brings stays as it is.
            unembed: Linear { w: unembed, b: weights.unembed.b.clone() },
        };
        let frozen = Model::new(config.clone(), detached(&weights), Processing::Raw)?;
        let learning = Model::new(config.clone(), weights, Processing::Raw)?;
        Ok(Parameters { list, learning, frozen })
    }

    /// The variables, always in the same order.
    pub fn list(&self) -> &[Parameter] {
        &self.list
    }

    /// The model whose logits lead back to the variables.
    pub fn learning(&self) -> &Model {
        &self.learning
    }

    /// The same numbers without a way back, for measuring.
    pub fn frozen(&self) -> &Model {
        &self.frozen
    }

    /// How many numbers are learnt.
    pub fn count(&self) -> usize {
        self.list.iter().map(|parameter| parameter.var.elem_count()).sum()
    }
}

/// Weights of a new model.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) where a tensor cannot be made.
pub fn new_weights(config: &Config, seed: u64, tied: bool, init: Init) -> Result<Weights> {
    let std = init.std;
    let normal = |name: &str, shape: (usize, usize), std: f64| -> Result<Tensor> {
        let mut rng = generator(seed, &format!("weights {name}"), 0);
        let draw = |_| {
            let x: f64 = StandardNormal.sample(&mut rng);
            (std * x) as f32
        };
        let values: Vec<f32> = (0..shape.0 * shape.1).map(draw).collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    };
    let linear = |name: String, d_in: usize, d_out: usize, std: f64| -> Result<Linear> {
        let b = Tensor::zeros(d_out, DType::F32, &Device::Cpu)?;
        Ok(Linear { w: normal(&name, (d_in, d_out), std)?, b })
    };
    let norm = || -> Result<Option<Affine>> {
        let ones = Tensor::ones(config.d_model, DType::F32, &Device::Cpu)?;
        Ok(config.norm.map(|_| ones.zeros_like().map(|b| Affine { w: ones, b })).transpose()?)
    };
    let written = std / (2.0 * config.n_layers as f64).sqrt();
    let block = |layer: usize| -> Result<BlockWeights> {
        let name = |part: &str| format!("blocks.{layer}.{part}");
        let mlp = config.mlp.map(|sizes| -> Result<MlpWeights> {
            Ok(MlpWeights {
                input: linear(name("mlp.in"), config.d_model, sizes.d_mlp, std)?,
                output: linear(name("mlp.out"), sizes.d_mlp, config.d_model, written)?,
            })
        });
        Ok(BlockWeights {
            ln1: norm()?,
            qkv: linear(name("attn.qkv"), config.d_model, 3 * config.d_attn(), std)?,
            out: linear(name("attn.out"), config.d_attn(), config.d_model, written)?,
            ln2: if config.mlp.is_some() { norm()? } else { None },
            mlp: mlp.transpose()?,
        })
    };
    let embed = normal("embed", (config.d_vocab, config.d_model), std)?;
    let unembed = match (tied, init.unembed) {
        (true, _) => embed.t()?,
        (false, InitUnembed::Normal) => normal("unembed", (config.d_model, config.d_vocab), std)?,
        (false, InitUnembed::Shifted) => {
            let half = config.d_model / 2;
            let (low, high) = (embed.narrow(1, 0, half)?, embed.narrow(1, half, config.d_model - half)?);
            Tensor::cat(&[high, low], 1)?.t()?.contiguous()?
        }
    };
    Ok(Weights {
        pos_embed: match init.positions {
            InitPositions::Normal => normal("pos_embed", (config.n_ctx, config.d_model), std)?,
            InitPositions::Sinusoidal => sinusoids(config.n_ctx, config.d_model, std)?,
        },
        blocks: (0..config.n_layers).map(block).collect::<Result<_>>()?,
        ln_final: norm()?,
        unembed: Linear { w: unembed, b: Tensor::zeros(config.d_vocab, DType::F32, &Device::Cpu)? },
        embed,
    })
}

/// The weights of a model made larger: more blocks behind those it has, or MLPs where it had none. What is
/// new is drawn as in [`new_weights`], but writes nothing to the residual stream at first, so that the model
/// says what it said.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) where a tensor cannot be made.
pub fn grown_weights(weights: Weights, larger: &Config, seed: u64, std: f64) -> Result<Weights> {
    let init = Init { std, ..Init::default() };
    let silent = |map: Linear| -> Result<Linear> { Ok(Linear { w: map.w.zeros_like()?, b: map.b }) };
    let mut old = weights.blocks.into_iter();
    let mut blocks = Vec::new();
    for new in new_weights(larger, seed, true, init)?.blocks {
        let mlp = |mlp: Option<MlpWeights>| -> Result<Option<MlpWeights>> {
            mlp.map(|mlp| Ok(MlpWeights { input: mlp.input, output: silent(mlp.output)? })).transpose()
        };
        blocks.push(match old.next() {
            Some(block) if block.mlp.is_some() => block,
            Some(block) => BlockWeights { ln2: new.ln2, mlp: mlp(new.mlp)?, ..block },
            None => BlockWeights { out: silent(new.out)?, mlp: mlp(new.mlp)?, ..new },
        });
    }
    Ok(Weights { blocks, ..weights })
}

/// `[n_ctx, d_model]` of mean square `std^2`: column `2i` is a sine, `2i + 1` its cosine.
fn sinusoids(n_ctx: usize, d_model: usize, std: f64) -> Result<Tensor> {
    let n_waves = d_model.div_ceil(2);
    let value = |at: usize| {
        let (pos, column) = (at / d_model, at % d_model);
        let share = (column / 2) as f64 / (n_waves - 1).max(1) as f64;
        let wavelength = 2.0 * (n_ctx as f64 / 2.0).max(1.0).powf(share);
        let quarter = (column % 2) as f64 * std::f64::consts::FRAC_PI_2;
        let angle = std::f64::consts::TAU * pos as f64 / wavelength + quarter;
        (std * std::f64::consts::SQRT_2 * angle.sin()) as f32
    };
    let values: Vec<f32> = (0..n_ctx * d_model).map(value).collect();
    Ok(Tensor::from_vec(values, (n_ctx, d_model), &Device::Cpu)?)
}

/// The same storage without a way back to the variables.
fn detached(weights: &Weights) -> Weights {
    let linear = |map: &Linear| Linear { w: map.w.detach(), b: map.b.detach() };
    let affine = |norm: &Option<Affine>| norm.as_ref().map(|n| Affine { w: n.w.detach(), b: n.b.detach() });
    let block = |block: &BlockWeights| BlockWeights {
        ln1: affine(&block.ln1),
        qkv: linear(&block.qkv),
        out: linear(&block.out),
        ln2: affine(&block.ln2),
        mlp: block
            .mlp
            .as_ref()
            .map(|mlp| MlpWeights { input: linear(&mlp.input), output: linear(&mlp.output) }),
    };
    Weights {
        embed: weights.embed.detach(),
        pos_embed: weights.pos_embed.detach(),
        blocks: weights.blocks.iter().map(block).collect(),
        ln_final: affine(&weights.ln_final),
        unembed: linear(&weights.unembed),
    }
}
