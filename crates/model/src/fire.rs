//! What happens when a hook fires: edits change the value, dropout thins it,
//! probes make it differentiable, reads keep it.
//!
//! In that order, so a read sees the value as it goes on. Nothing else in the crate may change an
//! activation.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use candle_core::{Tensor, Var};

use crate::config::Config;
use crate::edit::{CompiledEdit, Place, Seen};
use crate::error::{Error, Result};
use crate::hook::{Hook, Site};
use crate::learn::Dropout;
use crate::ops::learning::GradientSink;
use crate::walk::BaseValues;
use crate::wiring::{Ledger, SenderOutputs, writes_below};

/// Everything a walk does at its hooks.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    edits: HashMap<Hook, Vec<(usize, CompiledEdit)>>,
    reads: HashSet<Hook>,
    probes: HashSet<Hook>,
    pub dropout: Option<Dropout>,
    /// Where derivatives in weights may be left, where the walk is to be learnt from.
    pub sink: Option<GradientSink>,
    /// What was read: hook, group, value `[lane, ..]`.
    pub values: Vec<(Hook, usize, Tensor)>,
    /// The zero variables added at probed hooks, in firing order.
    pub variables: Vec<(Hook, Var)>,
    /// The pattern of the layer below, per group, where an edit in this layer asks for it.
    previous: HashMap<usize, PreviousPattern>,
    /// Hooks that edits further on look at.
    looked_at: HashSet<Hook>,
    /// The rows there, per group.
    rows: HashMap<(usize, Hook), KeptRows>,
    /// The other run of each lane that is rewired.
    rewired: HashMap<usize, Arc<SenderOutputs>>,
    /// How many senders, from the input up, some rewiring looks at.
    senders: usize,
    /// What senders wrote so far, per group.
    ledgers: HashMap<usize, Ledger>,
}

/// Layers in which changes split the first LayerNorm's input by head, and those in which they change
/// that LayerNorm itself. One layer of one pass can do one of the two.
#[derive(Debug, Clone, Default)]
pub(crate) struct NormInputs {
    split: BTreeSet<usize>,
    norm: BTreeSet<usize>,
}

impl NormInputs {
    /// These and the layers of more changes.
    pub fn with(&self, changes: impl IntoIterator<Item = Hook>) -> NormInputs {
        let mut all = self.clone();
        for hook in changes {
            match hook.site {
                Site::AttnIn | Site::QInput | Site::KInput | Site::VInput => all.split.insert(hook.layer),
                Site::Ln1Scale | Site::Ln1Normalized => all.norm.insert(hook.layer),
                _ => false,
            };
        }
        all
    }

    /// A layer that would have to do both.
    pub fn conflict(&self) -> Option<usize> {
        self.split.intersection(&self.norm).next().copied()
    }

    /// # Errors
    /// [`Error::SplitInputWithNorm`] where one layer would have to do both.
    pub fn check(&self) -> Result<()> {
        match self.conflict() {
            Some(layer) => Err(Error::SplitInputWithNorm { layer }),
            None => Ok(()),
        }
    }
}

#[derive(Debug)]
struct PreviousPattern {
    layer: usize,
    positions: Vec<usize>,
    /// `[lane, head, query, key]`
    pattern: Tensor,
}

/// What a hook gave for an edit further on.
#[derive(Debug)]
struct KeptRows {
    positions: Vec<usize>,
    /// `[lane, pos, ..]`
    value: Tensor,
}

/// The lanes of one group at the moment a hook fires.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Firing<'a> {
    pub group: usize,
    /// Lane ids along the first axis of the value.
    pub lanes: &'a [usize],
    /// Lane ids of the whole group, those first.
    pub all_lanes: &'a [usize],
    pub place: Place<'a>,
    /// What the base prompt has, for lanes that joined above it.
    pub base: Option<&'a BaseValues>,
}

impl Hooks {
    /// Hooks of a walk whose lanes carry these edits.
    ///
    /// # Errors
    /// [`Error::SplitInputWithNorm`] where one layer splits its inputs by head and edits their norm,
    /// [`Error::TwoRewirings`] where one lane is rewired to two runs.
    pub fn new(edits: impl IntoIterator<Item = (usize, CompiledEdit)>) -> Result<Hooks> {
        let mut hooks = Hooks::default();
        for (lane, edit) in edits {
            if let Some(rewire) = edit.rewire() {
                let other = hooks.rewired.entry(lane).or_insert_with(|| rewire.from.clone());
                if !Arc::ptr_eq(other, &rewire.from) {
                    return Err(Error::TwoRewirings);
                }
                hooks.senders = hooks.senders.max(rewire.shares.dim(1)?);
            }
            hooks.looked_at.extend(edit.looks_at());
            hooks.edits.entry(edit.hook).or_default().push((lane, edit));
        }
        NormInputs::default().with(hooks.edits.keys().copied()).check()?;
        Ok(hooks)
    }

    pub fn read(&mut self, hooks: impl IntoIterator<Item = Hook>) {
        self.reads.extend(hooks);
    }

    /// Makes the value at these hooks a point where derivatives are taken.
    pub fn probe(&mut self, hooks: impl IntoIterator<Item = Hook>) -> Result<()> {
        self.probes.extend(hooks);
        if !self.rewired.is_empty() {
            return Err(Error::RewiredGradient);
        }
        if self.edits.values().flatten().any(|(_, edit)| edit.is_opaque()) {
            return Err(Error::OpaqueGradient);
        }
        NormInputs::default().with(self.edits.keys().chain(&self.probes).copied()).check()
    }

    /// Whether anything happens at this hook.
    pub fn wants(&self, hook: Hook, config: &Config) -> bool {
        self.reads.contains(&hook)
            || self.changes(hook)
            || self.looked_at.contains(&hook)
            || self.keeps_pattern(hook)
            || self.keeps_output(hook, config)
    }

    /// Whether a rewiring above needs what is written here.
    fn keeps_output(&self, hook: Hook, config: &Config) -> bool {
        self.senders > 0 && writes_below(hook, self.senders, config)
    }

    /// Whether somebody looks at all rows here: a read, or a derivative.
    pub fn observes(&self, hook: Hook) -> bool {
        self.reads.contains(&hook) || self.probes.contains(&hook)
    }

    /// Whether the value at this hook is replaced.
    pub fn changes(&self, hook: Hook) -> bool {
        self.edits.contains_key(&hook) || self.probes.contains(&hook) || self.drops(hook)
    }

    fn drops(&self, hook: Hook) -> bool {
        self.dropout.is_some_and(|dropout| dropout.acts_at(hook))
    }

    /// Whether an edit in the layer above needs this pattern.
    fn keeps_pattern(&self, hook: Hook) -> bool {
        let above = || self.edits.get(&Site::Pattern.at(hook.layer + 1));
        hook.site == Site::Pattern
            && above().is_some_and(|edits| edits.iter().any(|(_, edit)| edit.needs_previous_pattern()))
    }

    /// The products that rewirings at this hook take.
    pub fn products(&self, hook: Hook, firing: Firing) -> Result<Vec<(usize, usize, usize)>> {
        let edits = self.edits.get(&hook).into_iter().flatten();
        let rewired = edits.filter_map(|(lane, edit)| Some((lane, edit.rewire()?)));
        let joined = rewired.filter(|(lane, _)| firing.lanes.contains(lane));
        joined.map(|(_, rewire)| rewire.product(firing.place.positions.len())).collect()
    }

    /// Lets everything happen to one group's value `[lane, ..]` and returns what goes on.
    pub fn fire(&mut self, hook: Hook, config: &Config, firing: Firing, mut x: Tensor) -> Result<Tensor> {
        // Taken out for a while, so that an edit may look at what else the pass keeps.
        if let Some(edits) = self.edits.remove(&hook) {
            x = self.apply_edits(&edits, config, firing, x)?;
            self.edits.insert(hook, edits);
        }
        if let Some(dropout) = self.dropout.filter(|dropout| dropout.acts_at(hook)) {
            x = dropout.apply(hook, &x)?;
        }
        if self.probes.contains(&hook) {
            let variable = Var::zeros(x.shape(), x.dtype(), x.device())?;
            x = (x + variable.as_tensor())?;
            self.variables.push((hook, variable));
        }
        if self.reads.contains(&hook) {
            self.values.push((hook, firing.group, x.clone()));
        }
        if self.keeps_output(hook, config) {
            self.ledger(config, firing)?.record(hook, config, firing.place.positions, &x)?;
        }
        if self.looked_at.contains(&hook) {
            let positions = firing.place.positions.to_vec();
            self.rows.insert((firing.group, hook), KeptRows { positions, value: x.clone() });
        }
        if self.keeps_pattern(hook) {
            let positions = firing.place.positions.to_vec();
            let kept = PreviousPattern { layer: hook.layer, positions, pattern: x.clone() };
            self.previous.insert(firing.group, kept);
        }
        Ok(x)
    }

    /// Replaces the lanes that carry an edit here; the others are passed on in long runs.
    fn apply_edits(
        &mut self,
        edits: &[(usize, CompiledEdit)],
        config: &Config,
        firing: Firing,
        x: Tensor,
    ) -> Result<Tensor> {
        let mut pieces: Vec<Tensor> = Vec::new();
        let mut untouched = 0; // first lane of the run of unedited lanes in progress
        for (index, &lane) in firing.lanes.iter().enumerate() {
            let mine: Vec<&CompiledEdit> =
                edits.iter().filter(|(of, _)| *of == lane).map(|(_, edit)| edit).collect();
            if mine.is_empty() {
                continue;
            }
            if untouched < index {
                pieces.push(x.narrow(0, untouched, index - untouched)?);
            }
            untouched = index + 1;
            let mut value = x.narrow(0, index, 1)?.contiguous()?;
            for edit in mine {
                let mut seen = Seen::default();
                if edit.needs_previous_pattern() {
                    seen.previous = Some(self.previous_pattern(edit.hook.layer, index, firing)?);
                }
                if edit.rewire().is_some() {
                    let ledger = self.ledger(config, firing)?;
                    seen.differences = ledger.differences(index, firing.place.positions)?;
                }
                if let Some(from) = edit.looks_at() {
                    seen.rows = Some(self.rows_of(from, edit.hook, index, firing)?);
                }
                value = edit.apply(&value, firing.place, config, &seen)?;
            }
            pieces.push(value);
        }
        if pieces.is_empty() {
            return Ok(x);
        }
        if untouched < firing.lanes.len() {
            pieces.push(x.narrow(0, untouched, firing.lanes.len() - untouched)?);
        }
        Ok(if pieces.len() == 1 { pieces.remove(0) } else { Tensor::cat(&pieces, 0)? })
    }

    /// One lane's rows at `from`, at the positions that are there now, `[pos, ..]`.
    fn rows_of(&self, from: Hook, at: Hook, index: usize, firing: Firing) -> Result<Tensor> {
        let missing = || {
            let reason = format!("this pass did not compute `{from}` at the same positions");
            Error::RowMap { hook: at.to_string(), reason }
        };
        let kept = self.rows.get(&(firing.group, from)).ok_or_else(missing)?;
        if index >= kept.value.dim(0)? {
            return Err(missing());
        }
        let row_of = |pos: &usize| kept.positions.iter().position(|p| p == pos).map(|row| row as u32);
        let rows: Option<Vec<u32>> = firing.place.positions.iter().map(row_of).collect();
        let rows = Tensor::new(rows.ok_or_else(missing)?, kept.value.device())?;
        Ok(kept.value.get(index)?.contiguous()?.index_select(&rows, 0)?)
    }

    /// The ledger of the group whose hook fires.
    fn ledger(&mut self, config: &Config, firing: Firing) -> Result<&mut Ledger> {
        let new = |rewired: &HashMap<usize, Arc<SenderOutputs>>| {
            let others: Vec<_> = firing.all_lanes.iter().map(|lane| rewired.get(lane).cloned()).collect();
            Ledger::new(config, firing.place.positions, &others, firing.base)
        };
        Ok(match self.ledgers.entry(firing.group) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(empty) => empty.insert(new(&self.rewired)?),
        })
    }

    /// The pattern below `layer` for one lane, `[1, head, query, key]`: its own where it was walking
    /// there, else the base prompt's.
    fn previous_pattern(&self, layer: usize, index: usize, firing: Firing) -> Result<Tensor> {
        let rows = |of: &[usize]| -> Result<Vec<u32>> {
            let row_of = |pos: &usize| of.iter().position(|p| p == pos).map(|row| row as u32);
            firing.place.positions.iter().map(row_of).collect::<Option<_>>().ok_or(Error::NoPreviousLayer)
        };
        if let Some(kept) = self.previous.get(&firing.group)
            && kept.layer + 1 == layer
            && index < kept.pattern.dim(0)?
        {
            let rows = Tensor::new(rows(&kept.positions)?, kept.pattern.device())?;
            return Ok(kept.pattern.narrow(0, index, 1)?.contiguous()?.index_select(&rows, 2)?);
        }
        let base = firing.base.and_then(|base| base.values.get(&Site::Pattern.at(layer - 1)));
        let base = base.ok_or(Error::NoPreviousLayer)?;
        let all: Vec<usize> = (0..base.dim(1)?).collect();
        let rows = Tensor::new(rows(&all)?, base.device())?;
        Ok(base.index_select(&rows, 1)?.unsqueeze(0)?)
    }
}
