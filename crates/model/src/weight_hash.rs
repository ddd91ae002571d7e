//! A fingerprint of a model's weights that does not depend on the file they came in.
//!
//! The same weights as Hugging Face safetensors, PyTorch zip or TransformerLens state dict have the
//! same fingerprint, so a record made from one can be checked against another. It is
//!
//! ```text
//! blake3( for each tensor, in forward order:
//!           name, 0x00, number of axes, sizes,      as little-endian u64
//!           blake3(values as little-endian f32, row-major) )
//! ```
//!
//! with TransformerLens's names and shapes (`blocks.0.attn.W_Q`, `[n_heads, d_model, d_head]`).
//! Tensors a model lacks are left out; biases a file lacks are zeros. The configuration is not part
//! of it: a model with another activation has the same weights.

use candle_core::{DType, Tensor};
use microtome_kernels::{Matrix, transposed};
use rayon::prelude::*;

use crate::config::Config;
use crate::error::Result;
use crate::run::with_rows;
use crate::weights::{Affine, BlockWeights, Ends, Linear, Weights};

/// Hexadecimal fingerprint of the weights.
///
/// # Errors
/// [`Error::Tensor`](crate::error::Error::Tensor) if the tensors do not have the shapes `config`
/// gives them.
pub fn weight_hash(config: &Config, weights: &Weights) -> Result<String> {
    Ok(hash_of(&digests(&canonical_tensors(config, weights)?)?))
}

/// What the fingerprint takes of one tensor.
pub(crate) struct TensorDigest {
    name: String,
    dims: Vec<usize>,
    digest: blake3::Hash,
}

/// The digests of tensors, in their order.
pub(crate) fn digests(tensors: &[(String, Tensor)]) -> Result<Vec<TensorDigest>> {
    let of = |(name, tensor): &(String, Tensor)| -> Result<TensorDigest> {
        Ok(TensorDigest { name: name.clone(), dims: tensor.dims().to_vec(), digest: digest(tensor)? })
    };
    tensors.par_iter().map(of).collect()
}

/// The fingerprint of all tensors in forward order.
pub(crate) fn hash_of<'a>(digests: impl IntoIterator<Item = &'a TensorDigest>) -> String {
    let mut hasher = blake3::Hasher::new();
    for TensorDigest { name, dims, digest } in digests {
        hasher.update(name.as_bytes()).update(&[0]);
        hasher.update(&(dims.len() as u64).to_le_bytes());
        for &size in dims {
            hasher.update(&(size as u64).to_le_bytes());
        }
        hasher.update(digest.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Every tensor under its TransformerLens name and in its TransformerLens shape.
///
/// # Errors
/// [`Error::Tensor`](crate::error::Error::Tensor) if the tensors do not have the shapes `config`
/// gives them.
pub fn canonical_tensors(config: &Config, weights: &Weights) -> Result<Vec<(String, Tensor)>> {
    let ends = weights.ends();
    let mut list = tensors_before(&ends);
    for (layer, block) in weights.blocks.iter().enumerate() {
        list.extend(tensors_of_block(config, layer, block)?);
    }
    list.extend(tensors_after(&ends));
    Ok(list)
}

/// Those that come before the blocks.
pub(crate) fn tensors_before(ends: &Ends) -> Vec<(String, Tensor)> {
    vec![("embed.W_E".to_owned(), ends.embed.clone()), ("pos_embed.W_pos".to_owned(), ends.pos_embed.clone())]
}

/// Those of a block.
pub(crate) fn tensors_of_block(
    config: &Config,
    layer: usize,
    block: &BlockWeights,
) -> Result<Vec<(String, Tensor)>> {
    let mut list = Vec::new();
    let mut push = |name: &str, tensor| list.push((format!("blocks.{layer}.{name}"), tensor));
    push_affine(&mut push, "ln1", block.ln1.as_ref());
    push_qkv(&mut push, config, &block.qkv)?;
    push("attn.W_O", block.out.w.reshape((config.n_heads, config.d_head, config.d_model))?);
    push("attn.b_O", block.out.b.clone());
    push_affine(&mut push, "ln2", block.ln2.as_ref());
    if let Some(mlp) = &block.mlp {
        push("mlp.W_in", mlp.input.w.clone());
        push("mlp.b_in", mlp.input.b.clone());
        push("mlp.W_out", mlp.output.w.clone());
        push("mlp.b_out", mlp.output.b.clone());
    }
    Ok(list)
}

/// Those that come after the blocks.
pub(crate) fn tensors_after(ends: &Ends) -> Vec<(String, Tensor)> {
    let mut list = Vec::new();
    let mut push = |name: &str, tensor| list.push((name.to_owned(), tensor));
    push_affine(&mut push, "ln_final", ends.ln_final.as_ref());
    push("unembed.W_U", ends.unembed.w.clone());
    push("unembed.b_U", ends.unembed.b.clone());
    list
}

fn push_affine(push: &mut dyn FnMut(&str, Tensor), name: &str, affine: Option<&Affine>) {
    if let Some(affine) = affine {
        push(&format!("{name}.w"), affine.w.clone());
        push(&format!("{name}.b"), affine.b.clone());
    }
}

fn push_qkv(push: &mut dyn FnMut(&str, Tensor), config: &Config, qkv: &Linear) -> Result<()> {
    let (width, heads, d_head) = (config.d_attn(), config.n_heads, config.d_head);
    let all = qkv.w.contiguous()?.reshape((config.d_model, 3, heads, d_head))?;
    for (i, letter) in ["Q", "K", "V"].into_iter().enumerate() {
        let w = all.narrow(1, i, 1)?.squeeze(1)?.transpose(0, 1)?; // [head, d_model, d_head]
        push(&format!("attn.W_{letter}"), w);
        let b = qkv.b.narrow(0, i * width, width)?.contiguous()?.reshape((heads, d_head))?;
        push(&format!("attn.b_{letter}"), b);
    }
    Ok(())
}

/// Values turned into bytes at a time.
const PIECE: usize = 1 << 16;

/// Rows of a turned matrix brought into order at a time.
const TURNED_ROWS: usize = 64;

fn digest(tensor: &Tensor) -> Result<blake3::Hash> {
    let tensor = tensor.to_dtype(DType::F32)?;
    let mut digest = Digest::default();
    match (tensor.dims(), tensor.stride()) {
        _ if tensor.is_contiguous() => digest.add_all(&tensor, |digest, values| digest.add(values))?,
        // The unembedding of a tied model is its embedding turned.
        (&[rows, columns], &[1, stride]) if stride == rows => {
            digest.add_all(&tensor.t()?, |digest, values| {
                let whole = Matrix::dense(values, columns, rows);
                for first in (0..rows).step_by(TURNED_ROWS) {
                    let slab = whole.part(0..columns, first..(first + TURNED_ROWS).min(rows));
                    digest.add(&transposed(slab));
                }
            })?
        }
        (&[first_axis, ..], _) => {
            for i in 0..first_axis {
                digest
                    .add_all(&tensor.narrow(0, i, 1)?.contiguous()?, |digest, values| digest.add(values))?;
            }
        }
        _ => digest.add_all(&tensor.contiguous()?, |digest, values| digest.add(values))?,
    }
    Ok(digest.hasher.finalize())
}

#[derive(Default)]
struct Digest {
    hasher: blake3::Hasher,
}

impl Digest {
    /// Lends the numbers from a tensor's first on.
    fn add_all(&mut self, tensor: &Tensor, add: impl FnOnce(&mut Digest, &[f32])) -> Result<()> {
        with_rows(tensor, |values| add(self, values))
    }

    fn add(&mut self, values: &[f32]) {
        // As they lie in memory, where that is the order asked for.
        if cfg!(target_endian = "little") {
            self.hasher.update_rayon(bytemuck::cast_slice(values));
            return;
        }
        for piece in values.chunks(PIECE) {
            let bytes: Vec<u8> = piece.iter().flat_map(|x| x.to_le_bytes()).collect();
            self.hasher.update_rayon(&bytes);
        }
    }
}
