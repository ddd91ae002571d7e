//! A plain run: prompts in, logits and activations out.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use crate::axes::Positions;
use crate::cache::Cache;
use crate::config::Config;
use crate::device::on_cpu;
use crate::edit::{CompiledEdit, Edit};
use crate::error::{Error, Result};
use crate::fire::Hooks;
use crate::hook::Hook;
use crate::layers::{norm, unembed};
use crate::model::Model;
use crate::ops;
use crate::walk::{Entry, Group, Walk, Walker};

/// What a run changes and what it keeps.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Changes, applied in this order where several meet at one hook.
    pub edits: Vec<Edit>,
    /// Activations to keep; [`Hook::matching`] gives them by name filter.
    pub reads: Vec<Hook>,
    /// Positions of the activations to keep.
    pub keep: Positions,
    /// Positions at which logits are wanted.
    pub logits: Positions,
    /// Run only the blocks below this one and return the residual stream there, without logits.
    pub stop_at_layer: Option<usize>,
}

/// What a run found, for one prompt.
#[derive(Debug, Clone)]
pub struct Run {
    /// `[pos, d_vocab]` at the positions asked for; `None` where the run stopped at a layer.
    pub logits: Option<Tensor>,
    /// `[pos, d_model]`, the residual stream entering the layer the run stopped at.
    pub resid: Option<Tensor>,
    /// The activations read.
    pub cache: Cache,
}

/// What the final LayerNorm does to rows that are read as logits. All are the same in a model without it.
#[derive(Debug, Clone, Copy)]
pub enum FinalNorm<'a> {
    /// It divides each row by the row's own deviation, then applies gain and bias.
    Own,
    /// It is left out.
    Skipped,
    /// It divides by these numbers, `[rows, 1]`, which another run had, then applies gain and bias: a linear map.
    Frozen(&'a Tensor),
    /// The same without gain and bias.
    FrozenScaleOnly(&'a Tensor),
}

impl Run {
    /// The logits, `[pos, d_vocab]`.
    ///
    /// # Errors
    /// [`Error::StoppedBeforeLogits`] where the run stopped at a layer.
    pub fn logits(&self) -> Result<&Tensor> {
        self.logits.as_ref().ok_or(Error::StoppedBeforeLogits)
    }
}

impl Model {
    /// Runs one prompt of token ids.
    ///
    /// # Errors
    /// Anything that does not exist (token, position, hook, head), and an edit that would never fire.
    pub fn run(&self, tokens: &[u32], options: &RunOptions) -> Result<Run> {
        Ok(self.run_batch(&[tokens], options)?.remove(0))
    }

    /// Runs several prompts, which may differ in length, as rows of the same products.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run_batch<P: AsRef<[u32]>>(&self, prompts: &[P], options: &RunOptions) -> Result<Vec<Run>> {
        let mut hooks = compile_hooks(self.config(), prompts, options)?;
        hooks.read(options.reads.iter().copied());
        let mut walk = self.plain_walk(prompts, &options.logits, hooks)?;
        let n_layers = self.config().n_layers;
        let stop_at = options.stop_at_layer.unwrap_or(n_layers);
        if stop_at > n_layers {
            return Err(Error::StopOutOfRange { stop: stop_at, n_layers });
        }
        let resid = walk.blocks(stop_at)?.ok_or(Error::EmptyPrompt)?;
        let mut runs: Vec<Run> =
            prompts.iter().map(|_| Run { logits: None, resid: None, cache: Cache::default() }).collect();
        if options.stop_at_layer.is_some() {
            for (lane, rows) in lanes_of_rows(&walk, &resid)? {
                runs[lane].resid = Some(rows);
            }
        } else {
            let input = walk.unembed_in(resid)?;
            let logits = walk.logits(&input)?;
            for (lane, rows) in lanes_of_rows(&walk, &logits)? {
                let kept = options.logits.resolve(prompts[lane].as_ref().len())?;
                // Rows may still be all positions, where something read more than the logits.
                let rows = if rows.dim(0)? == kept.len() { rows } else { select(&rows, &kept, 0)? };
                runs[lane].logits = Some(rows);
            }
        }
        for (lane, cache) in collect(&mut walk, options, prompts)? {
            runs[lane].cache = cache;
        }
        Ok(runs)
    }

    /// What rows of a residual stream would give as logits if no layer came after: the final LayerNorm and the
    /// unembedding, `[rows, d_vocab]` from `[rows, d_model]`.
    ///
    /// # Errors
    /// [`Error::Tensor`] where the rows do not have the model's width.
    pub fn logits_from_resid(&self, resid: &Tensor, norm: FinalNorm) -> Result<Tensor> {
        let mut walk = Walk::new(self, &[], vec![], Hooks::default());
        let affine = self.weights().ln_final.as_ref();
        let divided = |scale| ops::norm_divide(walk.arithmetic(), resid, scale);
        let input = match norm {
            FinalNorm::Own => norm::unhooked(&walk, resid, affine)?,
            _ if self.config().norm.is_none() => resid.clone(),
            FinalNorm::Skipped => resid.clone(),
            FinalNorm::Frozen(scale) => ops::affine(divided(scale)?, affine)?,
            FinalNorm::FrozenScaleOnly(scale) => divided(scale)?,
        };
        unembed::logits_unhooked(&mut walk, &input)
    }

    /// A walk of whole prompts, one lane each, those of equal length in one group.
    pub(crate) fn plain_walk<P: AsRef<[u32]>>(
        &self,
        prompts: &[P],
        read: &Positions,
        hooks: Hooks,
    ) -> Result<Walk<'_>> {
        let mut by_len: BTreeMap<usize, Vec<Walker>> = BTreeMap::new();
        for (lane, prompt) in prompts.iter().enumerate() {
            let tokens: Arc<[u32]> = prompt.as_ref().into();
            self.check_tokens(&tokens)?;
            by_len.entry(tokens.len()).or_default().push(Walker { lane, entry: Entry::Embed, tokens });
        }
        let groups = by_len
            .into_iter()
            .map(|(len, walkers)| Ok(Group::new(0, 0, walkers, read.resolve(len)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Walk::new(self, &[], groups, hooks))
    }
}

/// The rows of each lane, `[pos, ..]`.
pub(crate) fn lanes_of_rows(walk: &Walk, x: &Tensor) -> Result<Vec<(usize, Tensor)>> {
    let mut out = Vec::new();
    let mut first = 0;
    for group in walk.groups() {
        for &lane in &group.lanes()[..group.joined()] {
            out.push((lane, x.narrow(0, first, group.positions().len())?));
            first += group.positions().len();
        }
    }
    Ok(out)
}

/// Rows `positions` along `dim`.
pub(crate) fn select(x: &Tensor, positions: &[usize], dim: usize) -> Result<Tensor> {
    let index: Vec<u32> = positions.iter().map(|&pos| pos as u32).collect();
    Ok(x.contiguous()?.index_select(&Tensor::new(index, x.device())?, dim)?)
}

fn compile_hooks<P: AsRef<[u32]>>(config: &Config, prompts: &[P], options: &RunOptions) -> Result<Hooks> {
    let mut compiled: Vec<(usize, CompiledEdit)> = Vec::new();
    for (lane, prompt) in prompts.iter().enumerate() {
        for edit in &options.edits {
            compiled.push((lane, edit.compile(config, prompt.as_ref().len())?));
        }
    }
    if let Some(stop) = options.stop_at_layer {
        let edits = compiled.iter().map(|(_, edit)| edit.hook);
        if let Some(hook) = edits.chain(options.reads.iter().copied()).find(|hook| !hook.fires_below(stop)) {
            return Err(Error::HookAfterStop { hook: hook.to_string(), stop });
        }
    }
    for hook in &options.reads {
        hook.check(config)?;
    }
    Hooks::new(compiled)
}

/// Splits what was read by lane and keeps the positions asked for.
fn collect<P: AsRef<[u32]>>(
    walk: &mut Walk,
    options: &RunOptions,
    prompts: &[P],
) -> Result<Vec<(usize, Cache)>> {
    let values = std::mem::take(&mut walk.hooks.values);
    let mut caches: BTreeMap<usize, Cache> = BTreeMap::new();
    for (hook, group, value) in values {
        for (index, &lane) in walk.group(group).lanes().iter().enumerate() {
            let of_lane = value.narrow(0, index, 1)?.squeeze(0)?.contiguous()?;
            caches.entry(lane).or_default().values.insert(hook, of_lane);
        }
    }
    caches
        .into_iter()
        .map(|(lane, cache)| match &options.keep {
            Positions::All => Ok((lane, cache)),
            keep => Ok((lane, cache.at(keep, prompts[lane].as_ref().len())?)),
        })
        .collect()
}

/// Lends the numbers of a `[rows, columns]` tensor as f32, row after row, copying only where the tensor
/// is not laid out that way already.
///
/// # Errors
/// [`Error::Tensor`] where the tensor cannot be brought to f32.
pub fn with_rows<T>(x: &Tensor, lend: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let x = on_cpu(x)?.to_dtype(candle_core::DType::F32)?.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else {
        unreachable!("the tensor was just brought to the CPU")
    };
    let first = layout.start_offset();
    Ok(lend(&storage.as_slice::<f32>()?[first..first + layout.shape().elem_count()]))
}
