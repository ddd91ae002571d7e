//! Rewired runs: what each receiver sees of each sender is this run's, or another run's.
//!
//! Everything that writes to the residual stream is a *sender*: the embeddings, every head, every MLP. Everything that
//! reads it is a receiver: a head at its query, key and value input, an MLP, the final LayerNorm. A [`Rewire`] at a
//! receiver's input, before its LayerNorm, replaces a share of what senders below wrote into it:
//!
//! ```text
//! input_v + sum over senders u below v of share(u, v) (other_u - own_u)
//! ```
//!
//! `own_u` is what `u` writes in the run that is rewired, itself a result of what was rewired below. With share 0 on the
//! edges of a circuit and 1 on all others, the run is that of the circuit, everything else resampled (`other` a corrupt
//! prompt's run), zeroed or at its mean: the evaluation of ACDC (Conmy et al. 2023) and of EAP-IG (Hanna et al. 2024).
//! Biases of attention layers belong to no sender and stay.
//!
//! While a pass walks up, a [`Ledger`] per group of lanes holds `other_u - own_u` of every sender so far, so that a
//! receiver costs one product over senders, and a whole circuit is one lane of one pass.
//!
//! Left out: derivatives through a rewired run.

use std::sync::Arc;

use candle_core::Tensor;

use crate::cache::Cache;
use crate::config::Config;
use crate::device::moved;
use crate::error::{Error, Result};
use crate::hook::{Hook, Site};
use crate::run::select;
use crate::walk::BaseValues;

/// What is replaced at one input, for [`Change::Rewire`](crate::Change::Rewire).
#[derive(Debug, Clone)]
pub struct Rewire {
    /// `[unit, sender]`: how much of each sender below the input is the other run's, from 0 to 1. A unit is a head at
    /// an input of heads; elsewhere there is one. Senders stand as in [`SenderOutputs`]; there are
    /// [`senders_below`] of them.
    pub shares: Tensor,
    /// The other run. One lane has one.
    pub from: Arc<SenderOutputs>,
}

/// What every sender writes in one run.
///
/// Senders stand from the input up: the embeddings (token and position), then of every layer its heads and its MLP,
/// where there are MLPs.
#[derive(Debug, Clone)]
pub struct SenderOutputs {
    /// `[pos, sender, d_model]`
    values: Tensor,
}

/// Senders that write at one hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderBlock {
    /// Where what they write can be read and changed: with a head axis for the heads of a layer, without for the others.
    pub hook: Hook,
    /// The place of the first among all senders.
    pub first: usize,
    /// How many there are.
    pub count: usize,
}

impl SenderOutputs {
    /// All senders, by the hook at which they write.
    pub fn blocks(config: &Config) -> Vec<SenderBlock> {
        blocks(config)
    }

    /// The hooks a run must keep, at all positions, to tell what its senders write.
    pub fn hooks(config: &Config) -> Vec<Hook> {
        blocks(config).into_iter().map(|block| block.hook).collect()
    }

    /// The outputs of a run that kept [`SenderOutputs::hooks`].
    ///
    /// # Errors
    /// [`Error::NotCached`] for a hook that was not kept.
    pub fn of_cache(config: &Config, cache: &Cache) -> Result<SenderOutputs> {
        let of = |block: SenderBlock| by_sender(cache.get(block.hook)?);
        let parts = blocks(config).into_iter().map(of).collect::<Result<Vec<_>>>()?;
        Ok(SenderOutputs { values: Tensor::cat(&parts, 1)?.contiguous()? })
    }

    /// Senders that write nothing, beside others of the same prompt.
    ///
    /// # Errors
    /// [`Error::Tensor`] where memory fails.
    pub fn zeros_like(&self) -> Result<SenderOutputs> {
        Ok(SenderOutputs { values: self.values.zeros_like()? })
    }

    /// A share of the way to what another run's senders write: 1 / n takes the mean of n - 1 runs to that of n.
    ///
    /// # Errors
    /// [`Error::Tensor`] where lengths differ.
    pub fn towards(&self, other: &SenderOutputs, share: f64) -> Result<SenderOutputs> {
        let way = ((&other.values - &self.values)? * share)?;
        Ok(SenderOutputs { values: (&self.values + way)? })
    }

    /// The values, `[pos, sender, d_model]`.
    pub fn values(&self) -> &Tensor {
        &self.values
    }
}

/// How many senders write below the input at `hook`, in firing order; `None` where no [`Rewire`] may stand.
pub fn senders_below(hook: Hook, config: &Config) -> Option<usize> {
    let per_layer = config.n_heads + usize::from(config.mlp.is_some());
    let below_layer = 1 + hook.layer * per_layer;
    match hook.site {
        Site::QInput | Site::KInput | Site::VInput => Some(below_layer),
        Site::MlpIn => Some(below_layer + config.n_heads),
        Site::ResidPost if hook.layer + 1 == config.n_layers => Some(below_layer + per_layer),
        _ => None,
    }
}

/// All senders, by the hook at which they write.
fn blocks(config: &Config) -> Vec<SenderBlock> {
    let mut first = 1;
    let mut blocks = vec![SenderBlock { hook: Site::ResidPre.at(0), first: 0, count: 1 }];
    for layer in 0..config.n_layers {
        blocks.push(SenderBlock { hook: Site::Result.at(layer), first, count: config.n_heads });
        first += config.n_heads;
        if config.mlp.is_some() {
            blocks.push(SenderBlock { hook: Site::MlpOut.at(layer), first, count: 1 });
            first += 1;
        }
    }
    blocks
}

/// The senders that write at this hook.
fn block_at(hook: Hook, config: &Config) -> Option<SenderBlock> {
    let may = matches!(hook.site, Site::Result | Site::MlpOut) || hook == Site::ResidPre.at(0);
    if may { blocks(config).into_iter().find(|block| block.hook == hook) } else { None }
}

/// The hooks at which the first `n_senders` write.
pub(crate) fn hooks_of_first(n_senders: usize, config: &Config) -> Vec<Hook> {
    let needed = |block: &SenderBlock| block.first < n_senders;
    blocks(config).into_iter().filter(needed).map(|block| block.hook).collect()
}

/// Whether some of the first `n_senders` write at this hook.
pub(crate) fn writes_below(hook: Hook, n_senders: usize, config: &Config) -> bool {
    block_at(hook, config).is_some_and(|block| block.first < n_senders)
}

/// `[.., d_model]` of one sender or of several as `[.., sender, d_model]`.
fn by_sender(value: &Tensor) -> Result<Tensor> {
    Ok(if value.rank() == 2 { value.unsqueeze(1)? } else { value.clone() })
}

impl Rewire {
    /// Checks it against a hook and a prompt of `len` tokens.
    pub(crate) fn check(&self, hook: Hook, config: &Config, len: usize) -> Result<()> {
        let Some(n_senders) = senders_below(hook, config) else {
            return Err(Error::NotAnInput { hook: hook.to_string() });
        };
        let n_units = if hook.site.has_heads() { config.n_heads } else { 1 };
        let fits = |found: &Tensor, expected: Vec<usize>| match found.dims() == expected {
            true => Ok(()),
            false => {
                Err(Error::ValueShape { hook: hook.to_string(), expected, found: found.dims().to_vec() })
            }
        };
        fits(&self.shares, vec![n_units, n_senders])?;
        let all = blocks(config).last().map_or(0, |block| block.first + block.count);
        fits(&self.from.values, vec![len, all, config.d_model])
    }

    /// What is added to `x`, `[1, pos, head, d_model]` or `[1, pos, d_model]`, where the lane's `differences` between
    /// the other run and its own are `[pos, sender, d_model]`.
    pub(crate) fn added(&self, x: &Tensor, differences: &Tensor) -> Result<Tensor> {
        let (n_units, n_senders) = self.shares.dims2()?;
        let n_pos = differences.dim(0)?;
        let shares = moved(&self.shares.to_dtype(x.dtype())?, x.device())?;
        let shares = shares.unsqueeze(0)?.broadcast_as((n_pos, n_units, n_senders))?;
        Ok(shares.matmul(&differences.narrow(1, 0, n_senders)?)?.reshape(x.shape())?) // [pos, unit, d_model]
    }

    /// Floating-point operations of `rows` rows, as a product of rows: `(rows, in, out)`.
    pub(crate) fn product(&self, rows: usize) -> Result<(usize, usize, usize)> {
        let (n_units, n_senders) = self.shares.dims2()?;
        Ok((rows * n_units, n_senders, self.from.values.dim(2)?))
    }
}

/// Of every lane of a group, what the other run's senders write less what the lane's own do, as far as the walk has come.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Positions of the rows, all or those that are read.
    positions: Vec<usize>,
    /// By lane of the group, `[pos, sender, d_model]`; `None` for a lane that is not rewired.
    lanes: Vec<Option<Tensor>>,
    /// By lane, the other run's, at the same positions.
    others: Vec<Option<Tensor>>,
}

impl Ledger {
    /// A ledger of lanes that all still are their base, `base` where they have one. `others` is by lane.
    pub fn new(
        config: &Config,
        positions: &[usize],
        others: &[Option<Arc<SenderOutputs>>],
        base: Option<&BaseValues>,
    ) -> Result<Ledger> {
        let mut ledger = Ledger { positions: positions.to_vec(), lanes: vec![], others: vec![] };
        for other in others {
            let Some(other) = other else {
                ledger.lanes.push(None);
                ledger.others.push(None);
                continue;
            };
            let other = select(&other.values, positions, 0)?.contiguous()?;
            // A copy of its own: the lane writes into it.
            let mine = other.zeros_like()?;
            for block in blocks(config) {
                if let Some(value) = base.and_then(|base| base.values.get(&block.hook)) {
                    let own = by_sender(&select(value, positions, 0)?)?;
                    mine.slice_set(
                        &(other.narrow(1, block.first, block.count)? - own)?.contiguous()?,
                        1,
                        block.first,
                    )?;
                }
            }
            ledger.lanes.push(Some(mine));
            ledger.others.push(Some(other));
        }
        Ok(ledger)
    }

    /// Takes down what the senders at `hook` write in the lanes that have joined, `[lane, pos, ..]`.
    pub fn record(&mut self, hook: Hook, config: &Config, positions: &[usize], x: &Tensor) -> Result<()> {
        let Some(SenderBlock { first, count, .. }) = block_at(hook, config) else { return Ok(()) };
        self.narrow(positions)?;
        for index in 0..x.dim(0)? {
            let (Some(Some(mine)), Some(Some(other))) = (self.lanes.get(index), self.others.get(index))
            else {
                continue;
            };
            let own = by_sender(&x.get(index)?)?;
            mine.slice_set(&(other.narrow(1, first, count)? - own)?.contiguous()?, 1, first)?;
        }
        Ok(())
    }

    /// A lane's differences at these positions, `[pos, sender, d_model]`.
    pub fn differences(&mut self, lane: usize, positions: &[usize]) -> Result<Option<Tensor>> {
        self.narrow(positions)?;
        Ok(self.lanes.get(lane).cloned().flatten())
    }

    /// Drops the rows that the walk has dropped.
    fn narrow(&mut self, positions: &[usize]) -> Result<()> {
        if self.positions == positions {
            return Ok(());
        }
        // Rows only ever become fewer, so each is found.
        let row = |pos: &usize| self.positions.iter().position(|mine| mine == pos);
        let rows: Vec<usize> = positions.iter().map(row).collect::<Option<_>>().ok_or(Error::EmptyPrompt)?;
        for tensor in self.lanes.iter_mut().chain(&mut self.others).flatten() {
            *tensor = select(tensor, &rows, 0)?;
        }
        self.positions = positions.to_vec();
        Ok(())
    }
}
