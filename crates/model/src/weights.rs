//! The weights of a model in the one layout the forward pass uses.
//!
//! Whatever a file calls its tensors and however it turns them, a family (`family/`) delivers this:
//! every linear map as `[in, out]`, the three attention projections fused side by side (all heads'
//! queries, then keys, then values), every bias present (zeros where the file has none). A model holds the
//! same with [`LinearMap`]s, which may be packed for the processor.

use candle_core::{DType, Tensor};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::linear_map::LinearMap;

/// All tensors of a model. The names in comments are TransformerLens's.
#[derive(Debug, Clone)]
pub struct Weights<M = Linear> {
    /// `W_E`, `[d_vocab, d_model]`.
    pub embed: Tensor,
    /// `W_pos`, `[n_ctx, d_model]`.
    pub pos_embed: Tensor,
    /// One entry per layer.
    pub blocks: Vec<BlockWeights<M>>,
    /// Gain and bias of the final LayerNorm; `None` where it has none (folded, or no LayerNorm).
    pub ln_final: Option<Affine>,
    /// `W_U` `[d_model, d_vocab]` and `b_U`.
    pub unembed: M,
}

/// The tensors of one block.
#[derive(Debug, Clone)]
pub struct BlockWeights<M = Linear> {
    /// Gain and bias of the LayerNorm before attention.
    pub ln1: Option<Affine>,
    /// `W_Q | W_K | W_V`, `[d_model, 3 * n_heads * d_head]`, heads in order inside each third.
    pub qkv: M,
    /// `W_O`, `[n_heads * d_head, d_model]`, and `b_O`.
    pub out: M,
    /// Gain and bias of the LayerNorm before the MLP.
    pub ln2: Option<Affine>,
    /// `None` in attention-only models.
    pub mlp: Option<MlpWeights<M>>,
}

/// The two linear maps of an MLP.
#[derive(Debug, Clone)]
pub struct MlpWeights<M = Linear> {
    /// `W_in`, `[d_model, d_mlp]`, and `b_in`.
    pub input: M,
    /// `W_out`, `[d_mlp, d_model]`, and `b_out`.
    pub output: M,
}

/// A linear map `x W + b` with its weight stored `[in, out]`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[in, out]`.
    pub w: Tensor,
    /// `[out]`.
    pub b: Tensor,
}

/// A LayerNorm's gain and bias, both `[d_model]`.
#[derive(Debug, Clone)]
pub struct Affine {
    /// Gain.
    pub w: Tensor,
    /// Bias.
    pub b: Tensor,
}

impl<M> Weights<M> {
    /// The same with every linear map made into another form of it.
    ///
    /// # Errors
    /// What `form` returns.
    pub(crate) fn with_maps<N>(self, mut form: impl FnMut(M) -> Result<N>) -> Result<Weights<N>> {
        let mut block = |block: BlockWeights<M>| -> Result<BlockWeights<N>> {
            let BlockWeights { ln1, qkv, out, ln2, mlp } = block;
            let (qkv, out) = (form(qkv)?, form(out)?);
            let mlp = match mlp {
                Some(mlp) => Some(MlpWeights { input: form(mlp.input)?, output: form(mlp.output)? }),
                None => None,
            };
            Ok(BlockWeights { ln1, qkv, out, ln2, mlp })
        };
        let Weights { embed, pos_embed, blocks, ln_final, unembed } = self;
        let blocks = blocks.into_iter().map(&mut block).collect::<Result<_>>()?;
        Ok(Weights { embed, pos_embed, blocks, ln_final, unembed: form(unembed)? })
    }
}

impl Weights<LinearMap> {
    /// The same with every matrix as a tensor, copied where it is packed.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the tensor library cannot make one.
    pub fn unpacked(&self) -> Result<Weights> {
        self.clone().with_maps(|map| map.unpacked())
    }

    /// How many numbers the weights hold. An unembedding tied to the embedding counts once, and biases
    /// that are all 0 (absent in the file) not at all.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the tensors cannot be compared.
    pub fn n_parameters(&self) -> Result<usize> {
        let of =
            |w: usize, b: &Tensor| -> Result<usize> { Ok(w + if is_zero(b)? { 0 } else { b.elem_count() }) };
        let linear = |map: &LinearMap| of(map.d_in() * map.d_out(), map.bias());
        let affine = |norm: &Option<Affine>| norm.as_ref().map_or(Ok(0), |n| of(n.w.elem_count(), &n.b));
        let mut count = self.embed.elem_count() + self.pos_embed.elem_count() + affine(&self.ln_final)?;
        for block in &self.blocks {
            count += linear(&block.qkv)? + linear(&block.out)? + affine(&block.ln1)? + affine(&block.ln2)?;
            if let Some(mlp) = &block.mlp {
                count += linear(&mlp.input)? + linear(&mlp.output)?;
            }
        }
        let unembed = linear(&self.unembed)?;
        let tied = if self.is_tied()? { self.unembed.d_in() * self.unembed.d_out() } else { 0 };
        Ok(count + unembed - tied)
    }

    /// Whether the unembedding is the embedding, looked at some columns at a time, so that little is unpacked.
    fn is_tied(&self) -> Result<bool> {
        const COLUMNS: usize = 1024;
        let d_vocab = self.unembed.d_out();
        for first in (0..d_vocab).step_by(COLUMNS) {
            let count = COLUMNS.min(d_vocab - first);
            let difference =
                (self.embed.narrow(0, first, count)?.t()? - self.unembed.columns(first..first + count)?)?;
            if !is_zero(&difference)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Weights {
    /// Checks every tensor's shape against a configuration.
    ///
    /// # Errors
    /// [`Error::WeightShape`] naming the first tensor that does not fit.
    pub fn check(&self, config: &Config) -> Result<()> {
        let Config { n_layers, d_model, d_vocab, n_ctx, .. } = *config;
        let width = config.d_attn();
        shape("embed.W_E", &self.embed, &[d_vocab, d_model])?;
        shape("pos_embed.W_pos", &self.pos_embed, &[n_ctx, d_model])?;
        if self.blocks.len() != n_layers {
            let (expected, found) = (vec![n_layers], vec![self.blocks.len()]);
            return Err(Error::WeightShape { name: "blocks".into(), expected, found });
        }
        for (layer, block) in self.blocks.iter().enumerate() {
            let name = |part: &str| format!("blocks.{layer}.{part}");
            linear(&name("attn.W_QKV"), &block.qkv, d_model, 3 * width)?;
            linear(&name("attn.W_O"), &block.out, width, d_model)?;
            affine(&name("ln1"), block.ln1.as_ref(), d_model)?;
            affine(&name("ln2"), block.ln2.as_ref(), d_model)?;
            match (&block.mlp, config.mlp) {
                (Some(mlp), Some(sizes)) => {
                    linear(&name("mlp.W_in"), &mlp.input, d_model, sizes.d_mlp)?;
                    linear(&name("mlp.W_out"), &mlp.output, sizes.d_mlp, d_model)?;
                }
                (None, None) => {}
                (mlp, _) => {
                    let found = vec![usize::from(mlp.is_some())];
                    let expected = vec![usize::from(mlp.is_none())];
                    return Err(Error::WeightShape { name: name("mlp"), expected, found });
                }
            }
        }
        affine("ln_final", self.ln_final.as_ref(), d_model)?;
        linear("unembed.W_U", &self.unembed, d_model, d_vocab)
    }

    /// The same weights in another float type.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the tensor library cannot convert.
    pub fn to_dtype(&self, dtype: DType) -> Result<Weights> {
        let tensor = |t: &Tensor| -> Result<Tensor> { Ok(t.to_dtype(dtype)?) };
        let linear =
            |map: &Linear| -> Result<Linear> { Ok(Linear { w: tensor(&map.w)?, b: tensor(&map.b)? }) };
        let affine = |norm: &Option<Affine>| -> Result<Option<Affine>> {
            norm.as_ref().map(|n| Ok(Affine { w: tensor(&n.w)?, b: tensor(&n.b)? })).transpose()
        };
        let block = |block: &BlockWeights| -> Result<BlockWeights> {
            let mlp = block.mlp.as_ref();
            Ok(BlockWeights {
                ln1: affine(&block.ln1)?,
                qkv: linear(&block.qkv)?,
                out: linear(&block.out)?,
                ln2: affine(&block.ln2)?,
                mlp: mlp
                    .map(|mlp| -> Result<MlpWeights> {
                        Ok(MlpWeights { input: linear(&mlp.input)?, output: linear(&mlp.output)? })
                    })
                    .transpose()?,
            })
        };
        Ok(Weights {
            embed: tensor(&self.embed)?,
            pos_embed: tensor(&self.pos_embed)?,
            blocks: self.blocks.iter().map(block).collect::<Result<_>>()?,
            ln_final: affine(&self.ln_final)?,
            unembed: linear(&self.unembed)?,
        })
    }
}

pub(crate) fn is_zero(x: &Tensor) -> Result<bool> {
    Ok(x.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()? == 0.0)
}

fn shape(name: &str, tensor: &Tensor, expected: &[usize]) -> Result<()> {
    if tensor.dims() == expected {
        return Ok(());
    }
    let (expected, found) = (expected.to_vec(), tensor.dims().to_vec());
    Err(Error::WeightShape { name: name.to_owned(), expected, found })
}

fn linear(name: &str, map: &Linear, d_in: usize, d_out: usize) -> Result<()> {
    shape(name, &map.w, &[d_in, d_out])?;
    shape(&format!("{name} (its bias)"), &map.b, &[d_out])
}

fn affine(name: &str, norm: Option<&Affine>, d_model: usize) -> Result<()> {
    let Some(norm) = norm else { return Ok(()) };
    shape(&format!("{name}.w"), &norm.w, &[d_model])?;
    shape(&format!("{name}.b"), &norm.b, &[d_model])
}
