//! From an opened checkpoint to a model ready to run, a block at a time.
//!
//! 1. What lies outside the blocks is hashed, processed and packed; the unembedding first, since what it is made
//!    of is large.
//! 2. Each block is read, hashed, processed, packed, and let go.
//!
//! So no more than one block is held as it was read, the memory it took serves the next, and its numbers are still
//! in the processor's cache when they are packed. The result has the bits of [`Model::new`] and
//! [`Model::packed`] on all weights.

use crate::config::Config;
use crate::error::Result;
use crate::family::Opened;
use crate::fold::{fold_block, fold_embed, fold_unembed};
use crate::linear_map::LinearMap;
use crate::model::{Model, Preparation, Processing};
use crate::weight_hash::{TensorDigest, digests, hash_of, tensors_after, tensors_before, tensors_of_block};
use crate::weights::{BlockWeights, Ends, Weights};

/// A model, and what is known of its weights as they were read.
pub(crate) struct Prepared {
    pub model: Model,
    pub n_parameters: usize,
    pub weight_hash: String,
}

/// Reads, processes and packs.
pub(crate) fn prepare(opened: Opened, prepared: Preparation) -> Result<Prepared> {
    let Opened { config, ends, blocks: source, .. } = opened;
    ends.check(&config)?;
    let mut n_parameters = ends.n_parameters()?;
    let (known, packed) = rayon::join(|| digests_of_ends(&ends), || form_ends(&config, &ends, prepared));
    drop(ends);
    let ([before, after], packed) = (known?, packed?);
    let mut of_blocks = Vec::new();
    let mut blocks = Vec::new();
    for layer in 0..config.n_layers {
        let block = source.read(&config, layer)?;
        block.check(&config, layer)?;
        n_parameters += block.n_parameters()?;
        let tensors = tensors_of_block(&config, layer, &block)?;
        let (known, packed) = rayon::join(|| digests(&tensors), || form_block(&config, block, prepared));
        of_blocks.extend(known?);
        blocks.push(packed?);
    }
    source.finish()?;
    let weight_hash = hash_of(before.iter().chain(&of_blocks).chain(&after));
    let model = Model::of_packed(config, Weights::of(packed, blocks), prepared);
    Ok(Prepared { model, n_parameters, weight_hash })
}

/// Of the tensors before the blocks and of those after them.
fn digests_of_ends(ends: &Ends) -> Result<[Vec<TensorDigest>; 2]> {
    let (before, after) = rayon::join(|| digests(&tensors_before(ends)), || digests(&tensors_after(ends)));
    Ok([before?, after?])
}

fn form_ends(config: &Config, ends: &Ends, prepared: Preparation) -> Result<Ends<LinearMap>> {
    let Preparation { processing, precision } = prepared;
    let Ends { embed, pos_embed, ln_final, unembed } = ends.clone();
    Ok(match processing {
        Processing::Raw => Ends { unembed: LinearMap::pack(unembed, precision)?, embed, pos_embed, ln_final },
        Processing::Folded => Ends {
            unembed: LinearMap::pack(fold_unembed(config, unembed, ln_final.as_ref())?, precision)?,
            embed: fold_embed(config, embed)?,
            pos_embed: fold_embed(config, pos_embed)?,
            ln_final: ln_final.filter(|_| config.norm.is_none()),
        },
    })
}

fn form_block(
    config: &Config,
    block: BlockWeights,
    prepared: Preparation,
) -> Result<BlockWeights<LinearMap>> {
    let block = match prepared.processing {
        Processing::Raw => block,
        Processing::Folded => fold_block(config, block)?,
    };
    block.with_maps(|map| LinearMap::pack(map, prepared.precision))
}
