//! The lanes engine: many small changes to the same prompts, in one pass through every matrix.
//!
//! A [`Lane`] is one variant of a base prompt: a list of edits. The engine runs each base prompt once
//! and keeps what its lanes need of it; then all lanes walk up together. A lane joins just before the
//! first thing it changes, carries only positions from the first one it changes on, and in the last
//! layer only those whose logits are read. Lanes are cut into chunks by a memory budget; progress and
//! cancellation come between chunks; results come in order.
//!
//! A joining lane takes its base's values as they stand right before its first edit (its `z` before
//! `W_O`, say) and goes on from there like a full run. That repeats one small product per lane that
//! subtracting the old contribution and adding the new one would save (1.5 % of a head sweep), and in
//! return every lane is rounded exactly as a full run is, and one rule serves every kind of edit.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;

use crate::axes::Positions;
use crate::device::free_memory;
use crate::edit::{CompiledEdit, Edit};
use crate::error::{Error, Result};
use crate::fire::{Hooks, NormInputs};
use crate::hook::{Hook, Site};
use crate::model::Model;
use crate::walk::{BaseValues, Entry, Group, Walk, Walker, Work};
use crate::wiring::hooks_of_first;

/// One variant of a prompt.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Index of the base prompt.
    pub prompt: usize,
    /// What is changed; nothing makes the lane equal to its base.
    pub edits: Vec<Edit>,
}

/// Limits of a lane run.
#[derive(Debug, Clone, Copy)]
pub struct LaneOptions<'a> {
    /// About how many bytes of activations to hold at once. At least one lane is always run.
    pub memory_budget: usize,
    /// Set to true by anyone, it stops the run before the next chunk.
    pub cancel: Option<&'a AtomicBool>,
}

impl Default for LaneOptions<'_> {
    fn default() -> Self {
        LaneOptions { memory_budget: 512 << 20, cancel: None }
    }
}

/// What a lane run reports, in this order for every prompt: its base, its lanes' logits, their end.
#[derive(Debug)]
pub enum LaneEvent<'a> {
    /// The logits of an unedited prompt, `[positions, d_vocab]`.
    Base {
        /// Index of the prompt.
        prompt: usize,
        /// The positions read.
        positions: &'a [usize],
        /// `[positions, d_vocab]`
        logits: &'a Tensor,
    },
    /// Some rows of lanes' logits. Positions of a lane that never come are equal to its base's: they
    /// stand before the first position the lane changes.
    Rows {
        /// Lane and position of each row.
        rows: &'a [(usize, usize)],
        /// `[rows, d_vocab]`
        logits: &'a Tensor,
    },
    /// An activation of a lane that [`LaneRun::keeping`] asked for.
    Kept {
        /// The lane.
        lane: usize,
        /// Where.
        hook: Hook,
        /// The first position the lane changes; what stands before is the base's, and not here.
        start: usize,
        /// `[positions from start on, ..]`, a head axis in front at `attn_scores` and `pattern`.
        value: &'a Tensor,
    },
    /// All rows of these lanes have been reported.
    Finished {
        /// Lane indices.
        lanes: Range<usize>,
    },
}

/// Lanes checked and ready to run.
pub struct LaneRun<'m> {
    model: &'m Model,
    prompts: Vec<Arc<[u32]>>,
    lanes: Vec<Planned>,
    read: Vec<Vec<usize>>,
    keep: Vec<Hook>,
}

/// A lane with its place in the walk.
struct Planned {
    prompt: usize,
    edits: Vec<CompiledEdit>,
    entry: Entry,
    start: usize,
    /// How many senders, from the input up, its rewirings look at.
    senders: usize,
}

/// Rows (lanes times positions) in one chunk: enough that the products are as fast as they get, few enough that
/// progress and cancelling come several times a second at GPT-2 small's size, and that the allocator hands
/// the same memory out again.
const CHUNK_ROWS: usize = 768;

/// The same on a GPU, which needs more of them to be busy.
const GPU_CHUNK_ROWS: usize = 4096;

/// Rows of logits computed at once; enough to keep the product efficient.
const LOGIT_ROWS: usize = 192;

impl<'m> LaneRun<'m> {
    /// Checks lanes against a model and their prompts. `read` are the positions whose logits count.
    ///
    /// # Errors
    /// Anything that does not exist, and an edit that would never fire.
    pub fn new<P: AsRef<[u32]>>(
        model: &'m Model,
        prompts: &[P],
        lanes: &[Lane],
        read: &Positions,
    ) -> Result<LaneRun<'m>> {
        let prompts: Vec<Arc<[u32]>> = prompts.iter().map(|prompt| prompt.as_ref().into()).collect();
        for prompt in &prompts {
            model.check_tokens(prompt)?;
        }
        let read = prompts.iter().map(|prompt| read.resolve(prompt.len())).collect::<Result<Vec<_>>>()?;
        let plan = |lane: &Lane| -> Result<Planned> {
            let no_prompt = Error::NoSuchPrompt { prompt: lane.prompt, count: prompts.len() };
            let tokens = prompts.get(lane.prompt).ok_or(no_prompt)?;
            let config = model.config();
            let edits = lane.edits.iter().map(|edit| edit.compile(config, tokens.len()));
            let edits = edits.collect::<Result<Vec<_>>>()?;
            NormInputs::default().with(edits.iter().map(|edit| edit.hook)).check()?;
            // A lane that looks at another hook walks from there on, so that what it sees is its own.
            let first = |edit: &CompiledEdit| edit.looks_at().unwrap_or(edit.hook);
            let entries = edits.iter().map(|edit| Entry::before(first(edit), config));
            let entry = entries.min_by_key(|entry| entry.order()).unwrap_or(Entry::end(config));
            let start = edits.iter().map(|edit| edit.positions.first()).min().unwrap_or(0);
            let rewired = edits.iter().filter_map(CompiledEdit::rewire).map(|rewire| rewire.shares.dim(1));
            let senders = rewired.collect::<std::result::Result<Vec<_>, _>>()?.into_iter().max().unwrap_or(0);
            Ok(Planned { prompt: lane.prompt, edits, entry, start, senders })
        };
        let lanes = lanes.iter().map(plan).collect::<Result<Vec<_>>>()?;
        Ok(LaneRun { model, prompts, lanes, read, keep: vec![] })
    }

    /// The same run, which also reports every lane's activations at these hooks. Where a lane has not changed anything
    /// before a hook, or nothing that can reach a position read, it equals its base there and reports nothing.
    ///
    /// # Errors
    /// A hook that the model does not have.
    pub fn keeping(self, hooks: Vec<Hook>) -> Result<LaneRun<'m>> {
        hooks.iter().try_for_each(|hook| hook.check(self.model.config()))?;
        Ok(LaneRun { keep: hooks, ..self })
    }

    /// The positions of a prompt whose logits are read.
    pub fn read(&self, prompt: usize) -> &[usize] {
        &self.read[prompt]
    }

    /// Runs the base prompts and all lanes and reports to `sink`, which may stop the run.
    ///
    /// # Errors
    /// [`Error::Tensor`], or what `sink` returns.
    pub fn run<E: From<Error>>(
        &self,
        options: &LaneOptions,
        mut sink: impl FnMut(LaneEvent) -> Result<ControlFlow<()>, E>,
    ) -> Result<Work, E> {
        let mut work = Work::default();
        let mut bases = Bases::default();
        for lanes in self.chunks(self.budget(options.memory_budget)) {
            if options.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                return Ok(work);
            }
            for prompt in self.prompts_of(&lanes) {
                if !bases.known.contains(&prompt)
                    && self.run_base(prompt, &mut bases, &mut work, &mut sink)?.is_break()
                {
                    return Ok(work);
                }
            }
            if self.run_chunk(lanes.clone(), &bases, &mut work, &mut sink)?.is_break() {
                return Ok(work);
            }
            bases.forget(|prompt| self.lanes[lanes.end..].iter().any(|lane| lane.prompt == prompt));
            if sink(LaneEvent::Finished { lanes })?.is_break() {
                return Ok(work);
            }
        }
        for prompt in 0..self.prompts.len() {
            if !bases.known.contains(&prompt)
                && self.run_base(prompt, &mut bases, &mut work, &mut sink)?.is_break()
            {
                break;
            }
        }
        Ok(work)
    }

    /// At most half of what a GPU has free.
    fn budget(&self, asked: usize) -> usize {
        free_memory(self.model.device()).map_or(asked, |free| asked.min(free / 2))
    }

    /// Consecutive lanes that fit the budget, and one way of computing each layer's inputs, together.
    fn chunks(&self, budget: usize) -> Vec<Range<usize>> {
        let mut chunks = Vec::new();
        let (mut first, mut bytes, mut rows) = (0, 0, 0);
        let most_rows = if self.model.device().is_cpu() { CHUNK_ROWS } else { GPU_CHUNK_ROWS };
        let mut inputs = NormInputs::default();
        for (index, lane) in self.lanes.iter().enumerate() {
            let needs = self.bytes_of(lane);
            let with_lane = inputs.with(lane.edits.iter().map(|edit| edit.hook));
            let n_rows = self.prompts[lane.prompt].len() - lane.start;
            let is_full = bytes + needs > budget || rows + n_rows > most_rows;
            if index > first && (is_full || with_lane.conflict().is_some()) {
                chunks.push(first..index);
                (first, bytes, rows) = (index, 0, 0);
                inputs = NormInputs::default();
            }
            bytes += needs;
            rows += n_rows;
            inputs = inputs.with(lane.edits.iter().map(|edit| edit.hook));
        }
        if first < self.lanes.len() {
            chunks.push(first..self.lanes.len());
        }
        chunks
    }

    /// About how much one lane holds at the widest point of a layer.
    fn bytes_of(&self, lane: &Planned) -> usize {
        let config = self.model.config();
        let len = self.prompts[lane.prompt].len();
        let own = len - lane.start;
        let widths = 8 * config.d_model + 6 * config.d_attn() + 3 * config.d_mlp();
        let attention = 4 * config.n_heads * len;
        // Where a lane edits the logits, those of all its rows are held at once.
        let edits_logits = lane.edits.iter().any(|edit| edit.hook.site == Site::UnembedOut);
        let logits = if edits_logits { config.d_vocab } else { 0 };
        // Where a lane gives every head an input of its own: the inputs, edited and normalised. Where it is rewired: what
        // every sender writes.
        let split = lane
            .edits
            .iter()
            .any(|edit| matches!(edit.hook.site, Site::QInput | Site::KInput | Site::VInput));
        let inputs = if split { 4 * config.n_heads * config.d_model } else { 0 };
        let senders = 2 * lane.senders * config.d_model;
        let kept: usize =
            self.keep.iter().map(|hook| hook.shape(config, len).iter().product::<usize>() / len).sum();
        let numbers = own * (widths + attention + logits + inputs + senders + kept);
        numbers * self.model.weights().embed.dtype().size_in_bytes()
    }

    fn prompts_of(&self, lanes: &Range<usize>) -> Vec<usize> {
        let mut prompts: Vec<usize> = self.lanes[lanes.clone()].iter().map(|lane| lane.prompt).collect();
        prompts.sort_unstable();
        prompts.dedup();
        prompts
    }

    /// What the lanes of a prompt take from its base run.
    fn needs_of(&self, prompt: usize) -> HashSet<Hook> {
        let mut needs = HashSet::new();
        for lane in self.lanes.iter().filter(|lane| lane.prompt == prompt) {
            needs.extend(lane.entry.sources());
            if lane.start > 0 {
                let attends = (0..self.model.config().n_layers).filter(|&layer| lane.entry.attends_in(layer));
                needs.extend(attends.flat_map(|layer| [Site::K.at(layer), Site::V.at(layer)]));
            }
            let below = |edit: &CompiledEdit| Site::Pattern.at(edit.hook.layer - 1);
            needs.extend(lane.edits.iter().filter(|edit| edit.needs_previous_pattern()).map(below));
            needs.extend(hooks_of_first(lane.senders, self.model.config()));
        }
        needs
    }

    fn run_base<E: From<Error>>(
        &self,
        prompt: usize,
        bases: &mut Bases,
        work: &mut Work,
        sink: &mut impl FnMut(LaneEvent) -> Result<ControlFlow<()>, E>,
    ) -> Result<ControlFlow<()>, E> {
        let mut base = || -> Result<(BaseValues, Tensor)> {
            let mut hooks = Hooks::default();
            hooks.read(self.needs_of(prompt));
            let read = Positions::At(self.read[prompt].clone());
            let mut walk = self.model.plain_walk(&[&self.prompts[prompt]], &read, hooks)?;
            let resid = walk.blocks(self.model.config().n_layers)?.ok_or(Error::EmptyPrompt)?;
            let input = walk.unembed_in(resid)?;
            let logits = walk.logits(&input)?;
            work.add(&walk.work);
            let values = std::mem::take(&mut walk.hooks.values).into_iter();
            let values = values.map(|(hook, _, value)| Ok((hook, value.squeeze(0)?.contiguous()?)));
            Ok((BaseValues { values: values.collect::<Result<HashMap<_, _>>>()? }, logits))
        };
        let (values, logits) = base()?;
        bases.known.insert(prompt);
        bases.values.insert(prompt, values);
        sink(LaneEvent::Base { prompt, positions: &self.read[prompt], logits: &logits })
    }

    fn run_chunk<E: From<Error>>(
        &self,
        lanes: Range<usize>,
        bases: &Bases,
        work: &mut Work,
        sink: &mut impl FnMut(LaneEvent) -> Result<ControlFlow<()>, E>,
    ) -> Result<ControlFlow<()>, E> {
        let prompts = self.prompts_of(&lanes);
        let base_values: Vec<BaseValues> =
            prompts.iter().map(|prompt| bases.values.get(prompt).cloned().unwrap_or_default()).collect();
        let Some(mut walk) = self.chunk_walk(lanes, &prompts, &base_values)? else {
            return Ok(ControlFlow::Continue(()));
        };
        walk.hooks.read(self.keep.iter().copied());
        let resid = walk.blocks(self.model.config().n_layers)?.ok_or(Error::EmptyPrompt)?;
        let input = walk.unembed_in(resid)?;
        for (hook, group, value) in std::mem::take(&mut walk.hooks.values) {
            let group = walk.group(group);
            let start = group.n_keys() - group.own_len();
            for (index, &lane) in group.lanes().iter().take(value.dim(0).map_err(Error::from)?).enumerate() {
                let value = value.get(index).map_err(Error::from)?;
                if sink(LaneEvent::Kept { lane, hook, start, value: &value })?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        let mut rows = Vec::new();
        for group in walk.groups() {
            for &lane in group.lanes() {
                rows.extend(group.positions().iter().map(|&pos| (lane, pos)));
            }
        }
        let whole = match walk.wants(Site::UnembedOut.at(0)) {
            true => Some(walk.logits(&input)?),
            false => None,
        };
        for first in (0..rows.len()).step_by(LOGIT_ROWS) {
            let count = LOGIT_ROWS.min(rows.len() - first);
            let logits = match &whole {
                Some(whole) => whole.narrow(0, first, count).map_err(Error::from)?,
                None => walk.logits_of_rows(&input, first, count)?,
            };
            let event = LaneEvent::Rows { rows: &rows[first..first + count], logits: &logits };
            if sink(event)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        work.add(&walk.work);
        Ok(ControlFlow::Continue(()))
    }

    /// The walk of a chunk, `None` where no lane changes anything that is read.
    fn chunk_walk<'w>(
        &'w self,
        lanes: Range<usize>,
        prompts: &[usize],
        bases: &'w [BaseValues],
    ) -> Result<Option<Walk<'w>>> {
        let mut groups: BTreeMap<(usize, usize), Vec<Walker>> = BTreeMap::new();
        let mut edits = Vec::new();
        for index in lanes {
            let lane = &self.lanes[index];
            // Later positions never reach earlier ones: such a lane is equal to its base.
            if self.read[lane.prompt].iter().all(|&pos| pos < lane.start) {
                continue;
            }
            let tokens = self.prompts[lane.prompt].clone();
            let walker = Walker { lane: index, entry: lane.entry, tokens };
            groups.entry((lane.prompt, lane.start)).or_default().push(walker);
            edits.extend(lane.edits.iter().map(|edit| (index, edit.clone())));
        }
        if groups.is_empty() {
            return Ok(None);
        }
        let groups = groups
            .into_iter()
            .map(|((prompt, start), walkers)| {
                let base = prompts.iter().position(|&p| p == prompt).expect("prompts of this chunk");
                let read = self.read[prompt].iter().copied().filter(|&pos| pos >= start).collect();
                Group::new(base, start, walkers, read)
            })
            .collect();
        let hooks = Hooks::new(edits)?;
        Ok(Some(Walk::new(self.model, bases, groups, hooks)))
    }
}

/// Base runs that lanes still need, and all that have been run.
#[derive(Default)]
struct Bases {
    known: HashSet<usize>,
    values: HashMap<usize, BaseValues>,
}

impl Bases {
    fn forget(&mut self, still_needed: impl Fn(usize) -> bool) {
        self.values.retain(|&prompt, _| still_needed(prompt));
    }
}
