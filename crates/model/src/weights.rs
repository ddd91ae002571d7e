//! The weights of a model in the one layout the forward pass uses.
//!
//! Whatever a file calls its tensors and however it turns them, a family (`family/`) delivers this:
//! every linear map as `[in, out]`, the three attention projections fused side by side (all heads'
//! queries, then keys, then values), every bias present (zeros where the file has none). A model holds the
//! same with [`LinearMap`]s, which may be packed for the processor.

use candle_core::{DType, Device, Tensor};

use crate::config::Config;
use crate::device::{as_f64, moved};
use crate::error::{Error, Result};
use crate::linear_map::LinearMap;
use crate::model::Precision;

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

/// The tensors outside the blocks.
#[derive(Debug, Clone)]
pub(crate) struct Ends<M = Linear> {
    pub embed: Tensor,
    pub pos_embed: Tensor,
    pub ln_final: Option<Affine>,
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

impl<M> BlockWeights<M> {
    /// The same with every linear map made into another form of it.
    ///
    /// # Errors
    /// What `form` returns.
    pub(crate) fn with_maps<N>(self, mut form: impl FnMut(M) -> Result<N>) -> Result<BlockWeights<N>> {
        let BlockWeights { ln1, qkv, out, ln2, mlp } = self;
        let (qkv, out) = (form(qkv)?, form(out)?);
        let mlp = match mlp {
            Some(mlp) => Some(MlpWeights { input: form(mlp.input)?, output: form(mlp.output)? }),
            None => None,
        };
        Ok(BlockWeights { ln1, qkv, out, ln2, mlp })
    }
}

impl<M> Weights<M> {
    pub(crate) fn of(ends: Ends<M>, blocks: Vec<BlockWeights<M>>) -> Weights<M> {
        let Ends { embed, pos_embed, ln_final, unembed } = ends;
        Weights { embed, pos_embed, blocks, ln_final, unembed }
    }

    pub(crate) fn into_parts(self) -> (Ends<M>, Vec<BlockWeights<M>>) {
        let Weights { embed, pos_embed, blocks, ln_final, unembed } = self;
        (Ends { embed, pos_embed, ln_final, unembed }, blocks)
    }

    /// The same with every linear map made into another form of it.
    ///
    /// # Errors
    /// What `form` returns.
    pub(crate) fn with_maps<N>(self, mut form: impl FnMut(M) -> Result<N>) -> Result<Weights<N>> {
        let Weights { embed, pos_embed, blocks, ln_final, unembed } = self;
        let blocks = blocks.into_iter().map(|block| block.with_maps(&mut form)).collect::<Result<_>>()?;
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

    /// The same as tensors on a device, matrices in the number type they are multiplied in there.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the device fails, or has not enough memory.
    pub(crate) fn on(&self, device: &Device, precision: Precision) -> Result<Weights<LinearMap>> {
        let tensor = |x: &Tensor| moved(&x.detach(), device);
        let affine = |norm: &Option<Affine>| -> Result<Option<Affine>> {
            norm.as_ref().map(|n| Ok(Affine { w: tensor(&n.w)?, b: tensor(&n.b)? })).transpose()
        };
        let map = |map: &LinearMap, multiplied: Precision| -> Result<LinearMap> {
            let Linear { w, b } = map.unpacked()?;
            let rounded = match (precision, multiplied) {
                (Precision::F32, _) => w,
                (Precision::Bf16, Precision::Bf16) => w.to_dtype(DType::BF16)?,
                (Precision::Bf16, Precision::F32) => w.to_dtype(DType::BF16)?.to_dtype(w.dtype())?,
            };
            Ok(LinearMap::Plain(Linear { w: tensor(&rounded)?, b: tensor(&b)? }))
        };
        let block = |block: &BlockWeights<LinearMap>| -> Result<BlockWeights<LinearMap>> {
            let of = |linear: &LinearMap| map(linear, precision);
            let mlp = |mlp: &MlpWeights<LinearMap>| -> Result<MlpWeights<LinearMap>> {
                Ok(MlpWeights { input: of(&mlp.input)?, output: of(&mlp.output)? })
            };
            Ok(BlockWeights {
                ln1: affine(&block.ln1)?,
                qkv: of(&block.qkv)?,
                out: of(&block.out)?,
                ln2: affine(&block.ln2)?,
                mlp: block.mlp.as_ref().map(mlp).transpose()?,
            })
        };
        Ok(Weights {
            embed: tensor(&self.embed)?,
            pos_embed: tensor(&self.pos_embed)?,
            blocks: self.blocks.iter().map(block).collect::<Result<_>>()?,
            ln_final: affine(&self.ln_final)?,
            // Logits reach hundreds, where bf16 counts in ones: they are not to be rounded.
            unembed: map(&self.unembed, Precision::F32)?,
        })
    }
}

impl Weights {
    /// Checks every tensor's shape against a configuration.
    ///
    /// # Errors
    /// [`Error::WeightShape`] naming the first tensor that does not fit.
    pub fn check(&self, config: &Config) -> Result<()> {
        if self.blocks.len() != config.n_layers {
            let (expected, found) = (vec![config.n_layers], vec![self.blocks.len()]);
            return Err(Error::WeightShape { name: "blocks".into(), expected, found });
        }
        for (layer, block) in self.blocks.iter().enumerate() {
            block.check(config, layer)?;
        }
        self.ends().check(config)
    }

    /// What lies outside the blocks.
    pub(crate) fn ends(&self) -> Ends {
        Ends {
            embed: self.embed.clone(),
            pos_embed: self.pos_embed.clone(),
            ln_final: self.ln_final.clone(),
            unembed: self.unembed.clone(),
        }
    }

    /// How many numbers these tensors hold. An unembedding tied to the embedding counts once, and biases
    /// that are all 0 (absent in the file) not at all.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the tensors cannot be compared.
    pub fn n_parameters(&self) -> Result<usize> {
        let blocks = self.blocks.iter().map(BlockWeights::n_parameters);
        Ok(self.ends().n_parameters()? + blocks.sum::<Result<usize>>()?)
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

impl Ends {
    /// As [`Weights::check`].
    pub fn check(&self, config: &Config) -> Result<()> {
        let Config { d_model, d_vocab, n_ctx, .. } = *config;
        shape("embed.W_E", &self.embed, &[d_vocab, d_model])?;
        shape("pos_embed.W_pos", &self.pos_embed, &[n_ctx, d_model])?;
        affine("ln_final", self.ln_final.as_ref(), d_model)?;
        linear("unembed.W_U", &self.unembed, d_model, d_vocab)
    }

    /// As [`Weights::n_parameters`].
    pub fn n_parameters(&self) -> Result<usize> {
        let count = self.embed.elem_count() + self.pos_embed.elem_count();
        let tied = is_turned(&self.embed, &self.unembed.w)?;
        let unembed = numbers_of(&self.unembed)? - if tied { self.unembed.w.elem_count() } else { 0 };
        Ok(count + numbers_of_norm(self.ln_final.as_ref())? + unembed)
    }
}

impl BlockWeights {
    /// As [`Weights::check`].
    pub(crate) fn check(&self, config: &Config, layer: usize) -> Result<()> {
        let (d_model, width) = (config.d_model, config.d_attn());
        let name = |part: &str| format!("blocks.{layer}.{part}");
        linear(&name("attn.W_QKV"), &self.qkv, d_model, 3 * width)?;
        linear(&name("attn.W_O"), &self.out, width, d_model)?;
        affine(&name("ln1"), self.ln1.as_ref(), d_model)?;
        affine(&name("ln2"), self.ln2.as_ref(), d_model)?;
        match (&self.mlp, config.mlp) {
            (Some(mlp), Some(sizes)) => {
                linear(&name("mlp.W_in"), &mlp.input, d_model, sizes.d_mlp)?;
                linear(&name("mlp.W_out"), &mlp.output, sizes.d_mlp, d_model)
            }
            (None, None) => Ok(()),
            (mlp, _) => {
                let found = vec![usize::from(mlp.is_some())];
                let expected = vec![usize::from(mlp.is_none())];
                Err(Error::WeightShape { name: name("mlp"), expected, found })
            }
        }
    }

    /// As [`Weights::n_parameters`].
    pub(crate) fn n_parameters(&self) -> Result<usize> {
        let mut count = numbers_of(&self.qkv)? + numbers_of(&self.out)?;
        count += numbers_of_norm(self.ln1.as_ref())? + numbers_of_norm(self.ln2.as_ref())?;
        if let Some(mlp) = &self.mlp {
            count += numbers_of(&mlp.input)? + numbers_of(&mlp.output)?;
        }
        Ok(count)
    }
}

fn numbers_of(map: &Linear) -> Result<usize> {
    let bias = if is_zero(&map.b)? { 0 } else { map.b.elem_count() };
    Ok(map.w.elem_count() + bias)
}

fn numbers_of_norm(norm: Option<&Affine>) -> Result<usize> {
    let Some(norm) = norm else { return Ok(0) };
    Ok(norm.w.elem_count() + if is_zero(&norm.b)? { 0 } else { norm.b.elem_count() })
}

/// Whether one matrix is the other with its axes exchanged. A view of the same numbers costs no look at them.
fn is_turned(a: &Tensor, b: &Tensor) -> Result<bool> {
    let turned = b.t()?;
    if a.dims() != turned.dims() {
        return Ok(false);
    }
    {
        let ((a_storage, a_layout), (b_storage, b_layout)) =
            (a.storage_and_layout(), turned.storage_and_layout());
        let same_layout =
            a_layout.stride() == b_layout.stride() && a_layout.start_offset() == b_layout.start_offset();
        if same_layout && std::ptr::eq(&raw const *a_storage, &raw const *b_storage) {
            return Ok(true);
        }
    }
    // What differs mostly differs in the first rows.
    const ROWS: usize = 1024;
    let n_rows = a.dim(0)?;
    for first in (0..n_rows).step_by(ROWS) {
        let count = ROWS.min(n_rows - first);
        if !is_zero(&(a.narrow(0, first, count)? - turned.narrow(0, first, count)?)?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(crate) fn is_zero(x: &Tensor) -> Result<bool> {
    Ok(as_f64(&x.abs()?.max_all()?)?.to_scalar::<f64>()? == 0.0)
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
