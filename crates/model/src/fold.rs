//! Weight processing: the four steps TransformerLens calls `fold_ln`, `center_writing_weights`,
//! `center_unembed` and `fold_value_biases`.
//!
//! 1. A LayerNorm's gain and bias move into the linear map that reads it: `W' = w W`, `b' = b + b_ln W`.
//!    The normalised input has mean 0, so the mean over inputs of every column of `W'` can be taken off.
//! 2. What is written to the residual stream loses its mean over `d_model`, which every reader's
//!    LayerNorm removes anyway. Without LayerNorm it matters, so the step is left out there.
//! 3. The unembedding loses its mean over the vocabulary, which the softmax removes.
//! 4. Attention weights sum to 1, so a value bias adds a constant `b_V W_O` to the output: it moves
//!    into `b_O`.
//!
//! Next-token probabilities stay the same; activations do not.

use candle_core::{DType, Tensor, WithDType};
use rayon::prelude::*;

use crate::config::Config;
use crate::error::Result;
use crate::weights::{Affine, BlockWeights, Ends, Linear, Weights};

/// The processed weights.
pub(crate) fn fold(config: &Config, weights: Weights) -> Result<Weights> {
    let (ends, blocks) = weights.into_parts();
    let blocks = blocks.into_iter().map(|block| fold_block(config, block)).collect::<Result<_>>()?;
    let Ends { embed, pos_embed, ln_final, unembed } = ends;
    let unembed = fold_unembed(config, unembed, ln_final.as_ref())?;
    let [embed, pos_embed] = [embed, pos_embed].map(|embed| fold_embed(config, embed));
    let ln_final = ln_final.filter(|_| config.norm.is_none());
    let ends = Ends { embed: embed?, pos_embed: pos_embed?, ln_final, unembed };
    Ok(Weights::of(ends, blocks))
}

/// An embedding, processed.
pub(crate) fn fold_embed(config: &Config, embed: Tensor) -> Result<Tensor> {
    match config.norm {
        Some(_) => center_last(&embed),
        None => Ok(embed),
    }
}

/// The unembedding, processed, with the LayerNorm before it.
pub(crate) fn fold_unembed(config: &Config, unembed: Linear, norm: Option<&Affine>) -> Result<Linear> {
    match config.norm {
        Some(_) => center_writing(&fold_norm(&unembed, norm)?),
        None => center_writing(&unembed),
    }
}

/// A block, processed.
pub(crate) fn fold_block(config: &Config, mut block: BlockWeights) -> Result<BlockWeights> {
    if config.norm.is_some() {
        block.qkv = fold_norm(&block.qkv, block.ln1.take().as_ref())?;
        block.out = center_writing(&block.out)?;
        if let Some(mlp) = &mut block.mlp {
            mlp.input = fold_norm(&mlp.input, block.ln2.take().as_ref())?;
            mlp.output = center_writing(&mlp.output)?;
        }
    }
    let width = config.d_attn();
    let value_bias = block.qkv.b.narrow(0, 2 * width, width)?;
    let constant = value_bias.unsqueeze(0)?.matmul(&block.out.w)?.squeeze(0)?; // [d_model]
    block.out.b = (&block.out.b + constant)?;
    let zero = value_bias.zeros_like()?;
    block.qkv.b = Tensor::cat(&[&block.qkv.b.narrow(0, 0, 2 * width)?, &zero], 0)?;
    Ok(block)
}

/// Step 1 for one linear map.
fn fold_norm(map: &Linear, norm: Option<&Affine>) -> Result<Linear> {
    let b = match norm {
        Some(norm) => (norm.b.unsqueeze(0)?.matmul(&map.w)?.squeeze(0)? + &map.b)?,
        None => map.b.clone(),
    };
    let gain = norm.map(|norm| numbers(&norm.w)).transpose()?;
    let w = with_lines(&map.w, |lines| {
        if let Some(gain) = &gain {
            lines.scale_rows(gain);
        }
        lines.center_columns();
    })?;
    Ok(Linear { w, b })
}

/// Steps 2 and 3 for one linear map: every row of `W`, and `b`, loses its mean over the outputs.
fn center_writing(map: &Linear) -> Result<Linear> {
    Ok(Linear { w: center_last(&map.w)?, b: center_last(&map.b.unsqueeze(0)?)?.squeeze(0)? })
}

fn center_last(x: &Tensor) -> Result<Tensor> {
    with_lines(x, |lines| lines.center_rows())
}

/// A matrix to be changed in place: `len` neighbouring values are a row, or a column where it is `turned`.
struct Lines<T> {
    values: Vec<T>,
    len: usize,
    turned: bool,
}

/// What a change does to a matrix, whatever its numbers are.
trait Change {
    /// Row `i` times `factors[i]`.
    fn scale_rows(&mut self, factors: &[f64]);
    /// Takes its mean off every column.
    fn center_columns(&mut self);
    /// Takes its mean off every row.
    fn center_rows(&mut self);
}

/// A copy of a matrix, changed; laid out in memory as the matrix was.
fn with_lines(x: &Tensor, change: impl Fn(&mut dyn Change)) -> Result<Tensor> {
    match x.dtype() {
        DType::F64 => changed::<f64>(x, change),
        _ => changed::<f32>(x, change),
    }
}

fn changed<T: Number>(x: &Tensor, change: impl Fn(&mut dyn Change)) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let turned = rows > 1 && x.stride() == [1, rows];
    let straight = if turned { x.t()? } else { x.contiguous()? };
    let values = straight.flatten_all()?.to_vec1::<T>()?;
    let mut lines = Lines { values, len: if turned { rows } else { columns }, turned };
    change(&mut lines);
    let y = Tensor::from_vec(lines.values, straight.dims(), x.device())?;
    Ok(if turned { y.t()? } else { y })
}

/// f32 or f64. Sums are f64.
trait Number: WithDType + Send + Sync {}

impl Number for f32 {}
impl Number for f64 {}

/// Lines one thread takes at a time.
const LINES: usize = 64;

impl<T: Number> Lines<T> {
    /// Takes its mean off every line.
    fn center_lines(&mut self) {
        self.values.par_chunks_mut(self.len).with_min_len(LINES).for_each(|line| {
            let mean = line.iter().map(|x| x.to_f64()).sum::<f64>() / line.len() as f64;
            line.iter_mut().for_each(|x| *x = T::from_f64(x.to_f64() - mean));
        });
    }

    /// Takes off every place in a line its mean over the lines.
    fn center_across(&mut self) {
        let len = self.len;
        let of_lines = |lines: &[T]| {
            let mut sums = vec![0.0; len];
            for line in lines.chunks_exact(len) {
                sums.iter_mut().zip(line).for_each(|(sum, x)| *sum += x.to_f64());
            }
            sums
        };
        // In chunks of one size added in their order, so that the number of threads changes nothing.
        let parts: Vec<Vec<f64>> = self.values.par_chunks(LINES * len).map(of_lines).collect();
        let mut means = vec![0.0; len];
        for part in parts {
            means.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        let n_lines = (self.values.len() / len) as f64;
        means.iter_mut().for_each(|mean| *mean /= n_lines);
        self.values.par_chunks_mut(len).with_min_len(LINES).for_each(|line| {
            line.iter_mut().zip(&means).for_each(|(x, mean)| *x = T::from_f64(x.to_f64() - mean));
        });
    }
}

impl<T: Number> Change for Lines<T> {
    fn scale_rows(&mut self, factors: &[f64]) {
        let turned = self.turned;
        self.values.par_chunks_mut(self.len).with_min_len(LINES).enumerate().for_each(
            |(i, line)| match turned {
                true => line.iter_mut().zip(factors).for_each(|(x, f)| *x = T::from_f64(x.to_f64() * f)),
                false => line.iter_mut().for_each(|x| *x = T::from_f64(x.to_f64() * factors[i])),
            },
        );
    }

    fn center_columns(&mut self) {
        if self.turned { self.center_lines() } else { self.center_across() }
    }

    fn center_rows(&mut self) {
        if self.turned { self.center_across() } else { self.center_lines() }
    }
}

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.to_vec1()?)
}
