//! What training asks of the forward pass: all logits of a batch in one matrix, with a path back to the
//! weights where these are variables, and dropout where GPT-2 has it.
//!
//! Dropout is nothing of its own: a change at the hooks it acts on (the summed embeddings, the pattern,
//! `attn_out`, `mlp_out`), drawn from a seed, so that a step repeated is the same step.

use candle_core::Tensor;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::axes::Positions;
use crate::error::{Error, Result};
use crate::fire::Hooks;
use crate::hook::{Hook, Site};
use crate::model::Model;
use crate::ops;
use crate::ops::learning::GradientSink;

/// Activations set to 0 at random while training, the rest scaled up by `1 / (1 - rate)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of the values set to 0, at least 0 and below 1.
    pub rate: f64,
    /// What the choice depends on: another one for every step.
    pub seed: u64,
}

impl Dropout {
    /// Whether values are dropped here.
    pub(crate) fn acts_at(&self, hook: Hook) -> bool {
        match hook.site {
            Site::ResidPre => hook.layer == 0,
            Site::Pattern | Site::AttnOut | Site::MlpOut => true,
            _ => false,
        }
    }

    /// `x` with some of its values dropped, others for each hook.
    pub(crate) fn apply(&self, hook: Hook, x: &Tensor) -> Result<Tensor> {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..].copy_from_slice(&blake3::hash(hook.to_string().as_bytes()).as_bytes()[..24]);
        let mut rng = ChaCha8Rng::from_seed(key);
        let (bar, kept) = ((self.rate * (1u64 << 32) as f64) as u64, (1.0 / (1.0 - self.rate)) as f32);
        let mask: Vec<f32> =
            (0..x.elem_count()).map(|_| if u64::from(rng.next_u32()) < bar { 0.0 } else { kept }).collect();
        let mask = Tensor::from_vec(mask, x.shape(), &candle_core::Device::Cpu)?;
        Ok((x * mask.to_dtype(x.dtype())?.to_device(x.device())?)?)
    }
}

impl Model {
    /// The logits of a batch of windows, `[window * pos, d_vocab]`: window after window in the order given
    /// if all have one length. They lead back to the weights where these are variables.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn batch_logits<P: AsRef<[u32]>>(&self, windows: &[P], dropout: Option<Dropout>) -> Result<Tensor> {
        self.logits_of_batch(windows, dropout, None)
    }

    /// The same for a derivative that is taken once: what it is in a variable is in part left in `sink`, the rest
    /// where the tensor library has it. Quicker, and the same bits.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn batch_logits_to_learn<P: AsRef<[u32]>>(
        &self,
        windows: &[P],
        dropout: Option<Dropout>,
        sink: &GradientSink,
    ) -> Result<Tensor> {
        self.logits_of_batch(windows, dropout, Some(sink.clone()))
    }

    fn logits_of_batch<P: AsRef<[u32]>>(
        &self,
        windows: &[P],
        dropout: Option<Dropout>,
        sink: Option<GradientSink>,
    ) -> Result<Tensor> {
        let mut hooks = Hooks::new([])?;
        hooks.sink = sink;
        hooks.dropout = dropout.filter(|dropout| dropout.rate > 0.0);
        let mut walk = self.plain_walk(windows, &Positions::All, hooks)?;
        let resid = walk.blocks(self.config().n_layers)?.ok_or(Error::EmptyPrompt)?;
        let input = walk.unembed_in(resid)?;
        walk.logits(&input)
    }
}

/// The mean over rows of `-log softmax(logits)[target]`, in nats: a scalar tensor that can be derived
/// in the logits `[rows, d_vocab]`.
///
/// # Errors
/// [`Error::UnknownToken`] for a target outside the vocabulary; [`Error::Tensor`] where the number of
/// targets is not that of the rows.
pub fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let d_vocab = logits.dim(1)?;
    if let Some(&id) = targets.iter().find(|&&id| id as usize >= d_vocab) {
        return Err(Error::UnknownToken { id, d_vocab });
    }
    let targets = Tensor::new(targets, logits.device())?;
    ops::cross_entropy(logits, &targets)
}
