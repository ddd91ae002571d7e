//! What may be changed at a hook point, and how a change is applied.
//!
//! An [`Edit`] names a hook, what of it (heads or neurons, positions) and a [`Change`]. All changes
//! reduce to one operation: where the selection is, take the new value; elsewhere keep the old one.
//! That keeps shape and dtype, is differentiable, and touches nothing outside the selection.
//!
//! At `attn_scores` and `pattern` positions select queries, and only keys a query may see are
//! touched, so no edit can let a token look into its future.
//!
//! Everything that could silently do nothing is an error before the run starts: a hook, head, neuron
//! or position that does not exist, a pattern change away from a pattern, the layer below layer 0.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

use crate::axes::{PositionSet, Positions, Units};
use crate::config::Config;
use crate::device::{as_f64, moved};
use crate::error::{Error, Result};
use crate::hook::{Axis, Hook, Site};
use crate::wiring::Rewire;

/// One change at one hook point.
#[derive(Debug, Clone)]
pub struct Edit {
    /// Where.
    pub hook: Hook,
    /// Which heads, neurons or dimensions.
    pub units: Units,
    /// Which positions; queries at `attn_scores` and `pattern`.
    pub positions: Positions,
    /// What happens to the selected values.
    pub change: Change,
}

/// What happens to the selected values.
#[derive(Debug, Clone)]
pub enum Change {
    /// They become 0.
    Zero,
    /// They become this: an ablation to a mean, a patch from another run.
    Set(Value),
    /// This is added to them: steering.
    Add(Value),
    /// They are multiplied by this.
    Scale(f64),
    /// Pattern only: equal weight on every key the query sees, `1 / (query + 1)`.
    Uniform,
    /// Pattern only: all weight on the query's own position.
    Identity,
    /// Pattern only: softmax of standard normal noise over the keys the query sees. The noise depends
    /// on the seed, layer, head and query alone, so longer prompts extend it.
    Random {
        /// Seed of the noise.
        seed: u64,
    },
    /// Pattern only: the pattern of the same head index one layer below, as it is in this run.
    Previous,
    /// These `(query, key)` pairs carry nothing. At `pattern` their weight becomes 0 and the rest
    /// stays; at `attn_scores` it becomes `-inf`, so the rest is renormalised.
    KnockOut(Vec<(usize, usize)>),
    /// Inputs of receivers only (`q_input`, `k_input`, `v_input`, `mlp_in`, the last `resid_post`): shares of what
    /// senders below wrote become those of another run.
    Rewire(Rewire),
    /// They become what a function makes of each position's values as they are in this run.
    Rows(RowMap),
}

/// A function of the rows of an activation, `[pos, ..]` as the hook has it, that gives rows of the same shape. A row must depend
/// on its own position alone, so that a run of one token after the other is the same.
#[derive(Clone)]
pub struct RowMap {
    /// Where else it looks.
    from: Option<Hook>,
    /// Of the rows there (here, where it looks at no other place) and the rows here.
    map: Arc<Map>,
}

type Map = dyn Fn(&Tensor, &Tensor) -> Result<Tensor, String> + Send + Sync;

impl RowMap {
    /// A map; its error is what a run that uses it fails with.
    pub fn new(map: impl Fn(&Tensor) -> Result<Tensor, String> + Send + Sync + 'static) -> RowMap {
        RowMap { from: None, map: Arc::new(move |_, here| map(here)) }
    }

    /// A map of the rows at another hook, one that fires no later, and of those here, both as they are in this run.
    pub fn reading(
        from: Hook,
        map: impl Fn(&Tensor, &Tensor) -> Result<Tensor, String> + Send + Sync + 'static,
    ) -> RowMap {
        RowMap { from: Some(from), map: Arc::new(map) }
    }
}

impl std::fmt::Debug for RowMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RowMap")
    }
}

/// A value for [`Change::Set`] and [`Change::Add`].
#[derive(Debug, Clone)]
pub enum Value {
    /// The same number everywhere.
    Scalar(f64),
    /// Of the hook's shape for this prompt, or without its first axis: the same at every position
    /// (for every head at `attn_scores` and `pattern`).
    Tensor(Tensor),
    /// A direction of the hook's shape without its first axis, times one number for each position of the prompt. Not at
    /// `attn_scores` and `pattern`.
    Along {
        /// What is multiplied.
        direction: Tensor,
        /// By how much at each position.
        amounts: Arc<[f64]>,
    },
}

impl Edit {
    /// A change of everything at `hook`; narrow it with [`Edit::units`] and [`Edit::positions`].
    pub fn new(hook: Hook, change: Change) -> Edit {
        Edit { hook, units: Units::All, positions: Positions::All, change }
    }

    /// The same change, of these heads (neurons, dimensions) only.
    #[must_use]
    pub fn units(self, units: impl Into<Vec<usize>>) -> Edit {
        Edit { units: Units::At(units.into()), ..self }
    }

    /// The same change, at these positions only.
    #[must_use]
    pub fn positions(self, positions: Positions) -> Edit {
        Edit { positions, ..self }
    }

    /// Checks the edit against a model and a prompt of `len` tokens and fixes its positions.
    pub(crate) fn compile(&self, config: &Config, len: usize) -> Result<CompiledEdit> {
        self.hook.check(config)?;
        let site = self.hook.site;
        let (count, of) = site.units(config);
        let units = self.units.resolve(count, of)?;
        let mut positions = self.positions.to_set(len)?;
        let pattern_only = match self.change {
            Change::Uniform | Change::Identity | Change::Random { .. } | Change::Previous => {
                site != Site::Pattern
            }
            Change::KnockOut(_) => !site.is_attention(),
            _ => false,
        };
        if pattern_only {
            return Err(Error::NotAPattern { hook: self.hook.to_string(), change: self.change.name() });
        }
        match &self.change {
            Change::Previous if self.hook.layer == 0 => return Err(Error::NoPreviousLayer),
            Change::KnockOut(edges) => {
                check_edges(edges, len)?;
                if let Some(&(query, key)) = edges.iter().find(|(query, _)| !positions.contains(*query)) {
                    return Err(Error::EdgeNotSelected { query, key });
                }
                positions = Positions::At(edges.iter().map(|&(query, _)| query).collect()).to_set(len)?;
                if site == Site::AttnScores {
                    check_some_key_left(edges, len)?;
                }
            }
            Change::Set(Value::Tensor(value)) | Change::Add(Value::Tensor(value)) => {
                let want = self.hook.shape(config, len);
                if value.dims() != want && value.dims() != &want[1..] {
                    return Err(Error::ValueShape {
                        hook: self.hook.to_string(),
                        expected: want,
                        found: value.dims().to_vec(),
                    });
                }
            }
            Change::Set(Value::Along { direction, amounts })
            | Change::Add(Value::Along { direction, amounts }) => {
                let want = self.hook.shape(config, len);
                if site.is_attention() || direction.dims() != &want[1..] || amounts.len() != len {
                    let found = std::iter::once(amounts.len()).chain(direction.dims().iter().copied());
                    return Err(Error::ValueShape {
                        hook: self.hook.to_string(),
                        expected: want,
                        found: found.collect(),
                    });
                }
                if let Some(&value) = amounts.iter().find(|x| !x.is_finite()) {
                    return Err(Error::NotFiniteEdit { hook: self.hook.to_string(), value });
                }
            }
            Change::Rows(RowMap { from, .. }) => {
                let both = || [Some(self.hook), *from].into_iter().flatten();
                if let Some(hook) = both().find(|hook| hook.site.is_attention()) {
                    return Err(Error::RowsOfAttention { hook: hook.to_string() });
                }
                if let Some(from) = from {
                    from.check(config)?;
                    if self.hook.fires_before(*from) {
                        let (hook, from) = (self.hook.to_string(), from.to_string());
                        return Err(Error::RowsFromLater { hook, from });
                    }
                }
            }
            Change::Rewire(rewire) => rewire.check(self.hook, config, len)?,
            Change::Set(Value::Scalar(x)) | Change::Add(Value::Scalar(x)) | Change::Scale(x)
                if !x.is_finite() =>
            {
                return Err(Error::NotFiniteEdit { hook: self.hook.to_string(), value: *x });
            }
            _ => {}
        }
        if site.axes().contains(&Axis::One) && self.change.makes_zero()? {
            return Err(Error::ZeroScale { hook: self.hook.to_string() });
        }
        Ok(CompiledEdit {
            hook: self.hook,
            units: (units.len() < count).then_some(units),
            positions,
            change: self.change.clone(),
        })
    }
}

impl Change {
    /// The change's name in messages and results.
    pub fn name(&self) -> &'static str {
        match self {
            Change::Zero => "zero",
            Change::Set(_) => "set",
            Change::Add(_) => "add",
            Change::Scale(_) => "scale",
            Change::Uniform => "uniform",
            Change::Identity => "identity",
            Change::Random { .. } => "random",
            Change::Previous => "previous",
            Change::KnockOut(_) => "knock-out",
            Change::Rewire(_) => "rewire",
            Change::Rows(_) => "rows",
        }
    }

    /// Whether a value becomes 0 whatever it was.
    fn makes_zero(&self) -> Result<bool> {
        Ok(match self {
            Change::Zero => true,
            Change::Set(Value::Scalar(x)) | Change::Scale(x) => *x == 0.0,
            Change::Set(Value::Tensor(t)) => as_f64(t)?.flatten_all()?.to_vec1::<f64>()?.contains(&0.0),
            _ => false,
        })
    }
}

fn check_edges(edges: &[(usize, usize)], len: usize) -> Result<()> {
    if edges.is_empty() {
        return Err(Error::EmptySelection { of: "edges" });
    }
    for &(query, key) in edges {
        if query >= len {
            return Err(Error::PositionOutOfRange { pos: query, len });
        }
        if key > query {
            return Err(Error::FutureKey { query, key });
        }
    }
    Ok(())
}

fn check_some_key_left(edges: &[(usize, usize)], len: usize) -> Result<()> {
    let mut cut = vec![std::collections::BTreeSet::new(); len];
    for &(query, key) in edges {
        cut[query].insert(key);
    }
    match (0..len).find(|&query| cut[query].len() == query + 1) {
        Some(query) => Err(Error::NoKeyLeft { query }),
        None => Ok(()),
    }
}

/// An edit that has been checked against a model and a prompt length.
#[derive(Debug, Clone)]
pub(crate) struct CompiledEdit {
    pub hook: Hook,
    /// `None` where all are selected.
    units: Option<Vec<usize>>,
    pub positions: PositionSet,
    change: Change,
}

/// Where a block of rows stands: which positions it holds, and how many keys they may look back on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Absolute position of each row (each query at a pattern).
    pub positions: &'a [usize],
    /// Number of keys: the length of the sequence so far.
    pub n_keys: usize,
}

/// What a change needs of the pass it is in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The pattern one layer below.
    pub previous: Option<Tensor>,
    /// What senders of the other run write less what this lane's do, `[pos, sender, d_model]`.
    pub differences: Option<Tensor>,
    /// The rows at the other hook that a function of rows looks at, `[pos, ..]`.
    pub rows: Option<Tensor>,
}

impl CompiledEdit {
    pub fn needs_previous_pattern(&self) -> bool {
        matches!(self.change, Change::Previous)
    }

    /// The rewiring it is, if it is one.
    pub fn rewire(&self) -> Option<&Rewire> {
        match &self.change {
            Change::Rewire(rewire) => Some(rewire),
            _ => None,
        }
    }

    /// The other hook whose rows it looks at.
    pub fn looks_at(&self) -> Option<Hook> {
        match &self.change {
            Change::Rows(RowMap { from, .. }) => from.filter(|&from| from != self.hook),
            _ => None,
        }
    }

    /// Whether derivatives pass through it as they are: not through a function of rows.
    pub fn is_opaque(&self) -> bool {
        matches!(self.change, Change::Rows(_))
    }

    /// The activation of one lane after the change.
    ///
    /// `x` is `[1, pos, ..]`, or `[1, head, query, key]` at `attn_scores` and `pattern`;
    /// `seen` has what the change needs of the pass.
    pub fn apply(&self, x: &Tensor, place: Place, config: &Config, seen: &Seen) -> Result<Tensor> {
        if !place.positions.iter().any(|&pos| self.positions.contains(pos)) {
            return Ok(x.clone());
        }
        let new = self.new_values(x, place, config, seen)?;
        let Some(mask) = self.mask(place, config)? else { return Ok(new) };
        let mask = mask.to_device(x.device())?.broadcast_as(x.shape())?.contiguous()?;
        Ok(mask.where_cond(&new, x)?)
    }

    /// What the whole activation would be if everything were selected.
    fn new_values(&self, x: &Tensor, place: Place, config: &Config, seen: &Seen) -> Result<Tensor> {
        let like_x = |t: Tensor| -> Result<Tensor> {
            // Apple's GPUs have no f64: the number's kind changes where it lies, and then it moves.
            Ok(moved(&t.to_dtype(x.dtype())?, x.device())?.broadcast_as(x.shape())?.contiguous()?)
        };
        let attention = |f: &dyn Fn(usize, usize, usize) -> f64, heads: usize| -> Result<Tensor> {
            let (n_queries, n_keys) = (place.positions.len(), place.n_keys);
            let mut values = Vec::with_capacity(heads * n_queries * n_keys);
            for head in 0..heads {
                for &query in place.positions {
                    values.extend((0..n_keys).map(|key| f(head, query, key)));
                }
            }
            like_x(Tensor::from_vec(values, (1, heads, n_queries, n_keys), &Device::Cpu)?)
        };
        match &self.change {
            Change::Zero => Ok(x.zeros_like()?),
            Change::Set(Value::Scalar(v)) => like_x(Tensor::new(*v, &Device::Cpu)?),
            Change::Set(Value::Tensor(v)) => like_x(self.rows_of(v, place)?),
            Change::Set(Value::Along { direction, amounts }) => like_x(along(direction, amounts, place)?),
            Change::Add(Value::Along { direction, amounts }) => {
                Ok((x + like_x(along(direction, amounts, place)?)?)?)
            }
            Change::Add(Value::Scalar(v)) => Ok((x + *v)?),
            Change::Add(Value::Tensor(v)) => Ok((x + like_x(self.rows_of(v, place)?)?)?),
            Change::Scale(s) => Ok((x * *s)?),
            Change::Uniform => attention(&|_, query, _| 1.0 / (query + 1) as f64, 1),
            Change::Identity => attention(&|_, query, key| f64::from(query == key), 1),
            Change::KnockOut(_) => {
                let cut = if self.hook.site == Site::Pattern { 0.0 } else { f64::NEG_INFINITY };
                like_x(Tensor::new(cut, &Device::Cpu)?)
            }
            Change::Rows(RowMap { map, .. }) => {
                let hook = || self.hook.to_string();
                let here = x.squeeze(0)?;
                let there = seen.rows.as_ref().unwrap_or(&here);
                let new = map(there, &here).map_err(|reason| Error::RowMap { hook: hook(), reason })?;
                let found = new.dims().to_vec();
                if found[..] != x.dims()[1..] {
                    return Err(Error::ValueShape { hook: hook(), expected: x.dims()[1..].to_vec(), found });
                }
                like_x(new.unsqueeze(0)?)
            }
            Change::Previous => seen.previous.clone().ok_or(Error::NoPreviousLayer),
            Change::Rewire(rewire) => {
                let hook = || Error::NotAnInput { hook: self.hook.to_string() };
                Ok((x + rewire.added(x, seen.differences.as_ref().ok_or_else(hook)?)?)?)
            }
            Change::Random { seed } => {
                let rows: Vec<Vec<Vec<f64>>> = (0..config.n_heads)
                    .map(|head| {
                        let row = |&query: &usize| random_row(*seed, self.hook.layer, head, query);
                        place.positions.iter().map(row).collect()
                    })
                    .collect();
                let index_of: std::collections::HashMap<usize, usize> =
                    place.positions.iter().enumerate().map(|(i, &pos)| (pos, i)).collect();
                let at = |head: usize, query: usize, key: usize| {
                    rows[head][index_of[&query]].get(key).copied().unwrap_or(0.0)
                };
                attention(&at, config.n_heads)
            }
        }
    }

    /// The rows of a value that stand at these positions, with a lane axis in front.
    fn rows_of(&self, value: &Tensor, place: Place) -> Result<Tensor> {
        let axes = self.hook.site.axes().len();
        let select = |t: &Tensor, dim: usize| -> Result<Tensor> {
            // Rows past the value's end are never selected (`compile` checked), so any row will do.
            let last = t.dim(dim)? - 1;
            let index: Vec<u32> = place.positions.iter().map(|&pos| pos.min(last) as u32).collect();
            Ok(t.contiguous()?.index_select(&Tensor::new(index, t.device())?, dim)?)
        };
        if self.hook.site.is_attention() {
            let value = select(value, value.rank() - 2)?;
            let value = value.narrow(value.rank() - 1, 0, place.n_keys)?;
            Ok(value.unsqueeze(0)?)
        } else if value.rank() == axes {
            Ok(select(value, 0)?.unsqueeze(0)?)
        } else {
            Ok(value.unsqueeze(0)?.unsqueeze(0)?)
        }
    }

    /// 1 where the new value is taken, broadcastable to the activation; `None` where it is everywhere.
    fn mask(&self, place: Place, config: &Config) -> Result<Option<Tensor>> {
        let site = self.hook.site;
        let (count, _) = site.units(config);
        let unit_on = |unit: usize| self.units.as_ref().is_none_or(|list| list.binary_search(&unit).is_ok());
        let n_rows = place.positions.len();
        if site.is_attention() {
            let edges: Option<std::collections::HashSet<(usize, usize)>> = match &self.change {
                Change::KnockOut(edges) => Some(edges.iter().copied().collect()),
                _ => None,
            };
            let mut mask = Vec::with_capacity(count * n_rows * place.n_keys);
            for head in 0..count {
                for &query in place.positions {
                    let row_on = unit_on(head) && self.positions.contains(query);
                    mask.extend((0..place.n_keys).map(|key| {
                        let edge_on = edges.as_ref().is_none_or(|e| e.contains(&(query, key)));
                        u8::from(row_on && key <= query && edge_on)
                    }));
                }
            }
            return Ok(Some(Tensor::from_vec(mask, (1, count, n_rows, place.n_keys), &Device::Cpu)?));
        }
        let all_rows = place.positions.iter().all(|&pos| self.positions.contains(pos));
        if all_rows && self.units.is_none() {
            return Ok(None);
        }
        let mut mask = Vec::with_capacity(n_rows * count);
        for &pos in place.positions {
            let row_on = self.positions.contains(pos);
            mask.extend((0..count).map(|unit| u8::from(row_on && unit_on(unit))));
        }
        let shape = if site.has_heads() { vec![1, n_rows, count, 1] } else { vec![1, n_rows, count] };
        Ok(Some(Tensor::from_vec(mask, shape, &Device::Cpu)?))
    }
}

/// The rows of a direction times numbers that stand at these positions, with a lane axis in front.
fn along(direction: &Tensor, amounts: &[f64], place: Place) -> Result<Tensor> {
    // Rows past the end are never selected (`compile` checked), so any number will do.
    let here: Vec<f64> = place.positions.iter().map(|&pos| amounts[pos.min(amounts.len() - 1)]).collect();
    let shape: Vec<usize> = [1, here.len()].into_iter().chain(direction.dims().iter().map(|_| 1)).collect();
    let here = Tensor::from_vec(here, shape, &Device::Cpu)?;
    Ok(as_f64(direction)?.broadcast_mul(&here)?)
}

/// The softmax of standard normal noise over the keys `0..=query`.
fn random_row(seed: u64, layer: usize, head: usize, query: usize) -> Vec<f64> {
    let mut key = [0u8; 32];
    for (slot, part) in key.chunks_exact_mut(8).zip([seed, layer as u64, head as u64, query as u64]) {
        slot.copy_from_slice(&part.to_le_bytes());
    }
    let mut rng = rand_chacha::ChaCha8Rng::from_seed(key);
    let weights: Vec<f64> = (0..=query)
        .map(|_| {
            let noise: f64 = StandardNormal.sample(&mut rng);
            noise.exp()
        })
        .collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / total).collect()
}
