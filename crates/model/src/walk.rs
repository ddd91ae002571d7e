//! The one forward pass: groups of lanes walking up the layers together.
//!
//! A *lane* is one sequence with its own edits; a plain run is one lane per prompt. Lanes of one
//! prompt that start at the same position form a [`Group`]. The walk carries all lanes' rows (one per
//! lane and position) in one matrix, group after group, lane after lane, so that every weight is
//! multiplied once for all of them.
//!
//! A lane need not start at the embedding. It *joins* at its [`Entry`], the last point where it still
//! equals its base prompt, taking the base's values there; what came before is the base's. Nor does it
//! carry positions before the first one it changes: attention reads those keys and values, the
//! group's *past*, from the base. In the last layer the walk narrows to the positions that are read.
//!
//! `run.rs` (plain runs), `lanes.rs` (many variants), `grad.rs` (derivatives) and `stream.rs`
//! (generation with a cache) differ only in the groups they set walking.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;

use crate::config::Config;
use crate::edit::Place;
use crate::error::Result;
use crate::fire::{Firing, Hooks};
use crate::hook::{Hook, Site};
use crate::layers::{attention, embed, mlp, unembed};
use crate::linear_map::LinearMap;
use crate::model::Model;
use crate::ops;
use crate::ops::attention::Attention;
use crate::ops::learning::Sequences;
use crate::ops::{Arithmetic, Then};
use crate::weights::Weights;

/// Where a lane joins the walk: the last point at which it equals its base prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Embed,
    ResidPre(usize),
    Qkv(usize),
    Z(usize),
    AttnOut(usize),
    ResidMid(usize),
    MlpPre(usize),
    MlpPost(usize),
    MlpOut(usize),
    ResidPost(usize),
}

impl Entry {
    /// The latest entry from which an edit at `hook` still fires.
    pub fn before(hook: Hook, config: &Config) -> Entry {
        use Site::*;
        let layer = hook.layer;
        match hook.site {
            Embed | PosEmbed => Entry::Embed,
            ResidPre | AttnIn | QInput | KInput | VInput | Ln1Scale | Ln1Normalized => Entry::ResidPre(layer),
            Q | K | V | AttnScores | Pattern => Entry::Qkv(layer),
            Z | Result => Entry::Z(layer),
            AttnOut => Entry::AttnOut(layer),
            ResidMid | MlpIn | Ln2Scale | Ln2Normalized => Entry::ResidMid(layer),
            MlpPre => Entry::MlpPre(layer),
            MlpPost => Entry::MlpPost(layer),
            MlpOut => Entry::MlpOut(layer),
            ResidPost => Entry::ResidPost(layer),
            LnFinalScale | LnFinalNormalized | UnembedIn | UnembedOut => Entry::end(config),
        }
    }

    /// Where a lane joins that changes nothing before the final LayerNorm.
    pub fn end(config: &Config) -> Entry {
        Entry::ResidPost(config.n_layers - 1)
    }

    /// The base prompt's values a lane takes over when it joins here.
    pub fn sources(self) -> Vec<Hook> {
        let hooks = |layer: usize, sites: &[Site]| sites.iter().map(|site| site.at(layer)).collect();
        match self {
            Entry::Embed => vec![],
            Entry::ResidPre(layer) => hooks(layer, &[Site::ResidPre]),
            Entry::Qkv(layer) => hooks(layer, &[Site::ResidPre, Site::Q, Site::K, Site::V]),
            Entry::Z(layer) => hooks(layer, &[Site::ResidPre, Site::Z]),
            Entry::AttnOut(layer) => hooks(layer, &[Site::ResidPre, Site::AttnOut]),
            Entry::ResidMid(layer) => hooks(layer, &[Site::ResidMid]),
            Entry::MlpPre(layer) => hooks(layer, &[Site::ResidMid, Site::MlpPre]),
            Entry::MlpPost(layer) => hooks(layer, &[Site::ResidMid, Site::MlpPost]),
            Entry::MlpOut(layer) => hooks(layer, &[Site::ResidMid, Site::MlpOut]),
            Entry::ResidPost(layer) => hooks(layer, &[Site::ResidPost]),
        }
    }

    /// Layer and place inside it; entries of an earlier order join first.
    pub fn order(self) -> (usize, u8) {
        match self {
            Entry::Embed => (0, 0),
            Entry::ResidPre(layer) => (layer, 1),
            Entry::Qkv(layer) => (layer, 2),
            Entry::Z(layer) => (layer, 3),
            Entry::AttnOut(layer) => (layer, 4),
            Entry::ResidMid(layer) => (layer, 5),
            Entry::MlpPre(layer) => (layer, 6),
            Entry::MlpPost(layer) => (layer, 7),
            Entry::MlpOut(layer) => (layer, 8),
            Entry::ResidPost(layer) => (layer, 9),
        }
    }

    /// Whether keys and values of this layer are computed or read after joining here.
    pub fn attends_in(self, layer: usize) -> bool {
        self.order() <= Entry::Qkv(layer).order()
    }
}

/// What lanes take over from the prompt they vary: its tokens and its values at the hooks they need.
#[derive(Debug, Clone, Default)]
pub(crate) struct BaseValues {
    /// Hook to value, batch left out.
    pub values: HashMap<Hook, Tensor>,
}

/// One lane as it is set walking.
#[derive(Debug, Clone)]
pub(crate) struct Walker {
    pub lane: usize,
    pub entry: Entry,
    /// The whole sequence, past included.
    pub tokens: Arc<[u32]>,
}

/// Lanes over sequences of one length that share a past and a first own position.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    base: usize,
    len: usize,
    start: usize,
    /// Lane ids, entries and tokens, in joining order.
    lanes: Vec<usize>,
    entries: Vec<Entry>,
    tokens: Vec<Arc<[u32]>>,
    joined: usize,
    /// Positions of the rows now carried for each lane.
    positions: Vec<usize>,
    /// Positions still needed after the last attention.
    read: Vec<usize>,
}

impl Group {
    /// Lanes that own the positions from `start` on and are read at `read`. All sequences have the same
    /// length; the past, where there is one, is that of `base`.
    pub fn new(base: usize, start: usize, mut walkers: Vec<Walker>, read: Vec<usize>) -> Group {
        walkers.sort_by_key(|walker| walker.entry.order());
        let len = walkers.first().map_or(0, |walker| walker.tokens.len());
        let mut group = Group {
            base,
            len,
            start,
            lanes: vec![],
            entries: vec![],
            tokens: vec![],
            joined: 0,
            positions: (start..len).collect(),
            read,
        };
        for walker in walkers {
            group.lanes.push(walker.lane);
            group.entries.push(walker.entry);
            group.tokens.push(walker.tokens);
        }
        group
    }

    /// Lanes walking now.
    pub fn joined(&self) -> usize {
        self.joined
    }

    /// All lanes in row order.
    pub fn lanes(&self) -> &[usize] {
        &self.lanes
    }

    /// Positions of the rows now carried for each lane.
    pub fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// How many positions each lane owns: those whose keys and values it computes itself.
    pub fn own_len(&self) -> usize {
        self.len - self.start
    }

    /// Length of the sequence, past included.
    pub fn n_keys(&self) -> usize {
        self.len
    }
}

/// Which rows a tensor of the walk holds for each lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// One for each of the group's current positions.
    Current,
    /// One for each position the lanes own.
    Own,
}

/// How much arithmetic a walk did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// Rows multiplied, by the weight's `(in, out)`; attention counts as `(d_head, 2 * n_keys)`.
    pub rows: BTreeMap<(usize, usize), u64>,
    /// Floating-point operations in matrix products, a multiply-add as two.
    pub flop: u64,
}

impl Work {
    pub(crate) fn product(&mut self, rows: usize, d_in: usize, d_out: usize) {
        *self.rows.entry((d_in, d_out)).or_default() += rows as u64;
        self.flop += 2 * (rows * d_in * d_out) as u64;
    }

    /// Adds another walk's work.
    pub fn add(&mut self, other: &Work) {
        for (&size, &rows) in &other.rows {
            *self.rows.entry(size).or_default() += rows;
        }
        self.flop += other.flop;
    }
}

/// A forward pass under way.
pub(crate) struct Walk<'m> {
    config: &'m Config,
    weights: &'m Weights<LinearMap>,
    arithmetic: Arithmetic,
    bases: &'m [BaseValues],
    groups: Vec<Group>,
    narrowed: bool,
    /// By group and number of its positions: a GPU waits for every tensor that comes from the processor.
    masks: HashMap<(usize, usize), Tensor>,
    pub hooks: Hooks,
    pub work: Work,
}

impl<'m> Walk<'m> {
    pub fn new(model: &'m Model, bases: &'m [BaseValues], groups: Vec<Group>, hooks: Hooks) -> Walk<'m> {
        let (config, weights, arithmetic) = (model.config(), model.weights(), model.arithmetic());
        let (masks, work) = (HashMap::new(), Work::default());
        Walk { config, weights, arithmetic, bases, groups, narrowed: false, masks, hooks, work }
    }

    /// The mask that a group's composed attention adds to its scores, made once; `None` where nothing is ahead.
    pub fn mask(&mut self, group: usize, attention: &Attention, like: &Tensor) -> Result<Option<Tensor>> {
        let key = (group, attention.sees.len());
        if let Some(mask) = self.masks.get(&key) {
            return Ok(Some(mask.clone()));
        }
        let mask = attention.future(like)?;
        if let Some(mask) = &mask {
            self.masks.insert(key, mask.clone());
        }
        Ok(mask)
    }

    /// Walks the blocks below `stop_at` and returns the residual stream there.
    pub fn blocks(&mut self, stop_at: usize) -> Result<Option<Tensor>> {
        let is_embedded = |entry: &Entry| *entry == Entry::Embed;
        for group in &mut self.groups {
            group.joined = group.entries.iter().filter(|entry| is_embedded(entry)).count();
        }
        let mut x = embed::embed(self)?;
        let weights = self.weights;
        if let Some(embedded) = &x
            && let Some(learnt) = self.learnt(stop_at, embedded)?
        {
            return Ok(Some(learnt));
        }
        for (layer, block) in weights.blocks.iter().enumerate().take(stop_at) {
            let mid = attention::attention(self, layer, block, x)?;
            let post = mlp::mlp(self, layer, block, mid)?;
            let hook = Site::ResidPost.at(layer);
            x = match self.join(Entry::ResidPost(layer), post.map(|x| [x]), [hook])? {
                Some([post]) => Some(self.fire(hook, post)?),
                None => None,
            };
        }
        Ok(x)
    }

    /// The same in one piece, where the weights are being learnt and nothing is looked at on the way.
    fn learnt(&mut self, stop_at: usize, x: &Tensor) -> Result<Option<Tensor>> {
        let Some(sink) = self.hooks.sink.clone().filter(|_| self.arithmetic.has_kernels(x)) else {
            return Ok(None);
        };
        let blocks = &self.weights.blocks[..stop_at.min(self.weights.blocks.len())];
        let inside: Vec<Site> =
            Site::all().filter(|site| (Site::ResidPre..=Site::ResidPost).contains(site)).collect();
        let unobserved = |layer: usize| match inside.iter().any(|site| self.wants(site.at(layer))) {
            true => None,
            false => self.unobserved_attention(layer),
        };
        let n_pos = (0..blocks.len()).map(unobserved).reduce(Option::and).flatten();
        let Some(n_pos) = n_pos else { return Ok(None) };
        let Config { n_heads, d_head, norm, mlp, .. } = *self.config;
        let (eps, activation) = (norm.map(|norm| norm.eps), mlp.map(|mlp| mlp.activation));
        let sequences = Sequences { n_pos, n_heads, eps, activation };
        let Some(y) = ops::learning::blocks(x, blocks, sequences, &sink)? else { return Ok(None) };
        let rows = x.dim(0)?;
        for block in blocks {
            let of_mlp = block.mlp.iter().flat_map(|mlp| [&mlp.input, &mlp.output]);
            for map in [&block.qkv, &block.out].into_iter().chain(of_mlp) {
                self.work.product(rows, map.d_in(), map.d_out());
            }
            self.work.product(rows * n_heads, d_head, 2 * n_pos);
        }
        Ok(Some(y))
    }

    /// What the unembedding multiplies, at the positions that are read where nothing reads more.
    pub fn unembed_in(&mut self, x: Tensor) -> Result<Tensor> {
        let sites = [Site::LnFinalScale, Site::LnFinalNormalized, Site::UnembedIn, Site::UnembedOut];
        let mut x = x;
        if !sites.iter().any(|site| self.hooks.observes(site.at(0)))
            && let Some(kept) = self.narrow_now()?
        {
            x = x.index_select(&kept, 0)?;
        }
        unembed::final_norm(self, &x)
    }

    /// The logits of all rows, `[rows, d_vocab]`.
    pub fn logits(&mut self, unembed_in: &Tensor) -> Result<Tensor> {
        unembed::logits(self, unembed_in)
    }

    /// The logits of rows `first..first + count`. Only where no hook wants them.
    pub fn logits_of_rows(&mut self, unembed_in: &Tensor, first: usize, count: usize) -> Result<Tensor> {
        unembed::logits_unhooked(self, &unembed_in.narrow(0, first, count)?)
    }

    /// How many positions the sequences have where all lanes are whole sequences of one length, all positions of
    /// which go on, and nothing between the residual stream and `attn_out` is looked at or joined.
    pub fn unobserved_attention(&self, layer: usize) -> Option<usize> {
        let mut inside = Site::all().filter(|site| *site > Site::ResidPre && *site < Site::AttnOut);
        let narrows = layer + 1 == self.config.n_layers;
        match &self.groups[..] {
            [group]
                if group.start == 0
                    && group.joined == group.lanes.len()
                    && !(narrows && group.read != group.positions)
                    && group.positions.len() == group.len
                    && !inside.any(|site| self.wants(site.at(layer))) =>
            {
                Some(group.len)
            }
            _ => None,
        }
    }

    pub fn config(&self) -> &'m Config {
        self.config
    }

    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    pub fn weights(&self) -> &'m Weights<LinearMap> {
        self.weights
    }

    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub fn group(&self, index: usize) -> &Group {
        &self.groups[index]
    }

    /// Indices of groups with lanes walking.
    pub fn active_groups(&self) -> Vec<usize> {
        (0..self.groups.len()).filter(|&g| self.groups[g].joined > 0).collect()
    }

    pub fn wants(&self, hook: Hook) -> bool {
        self.hooks.wants(hook, self.config)
    }

    pub fn changes(&self, hook: Hook) -> bool {
        self.hooks.changes(hook)
    }

    /// Token ids and positions of every row that starts from the embedding.
    pub fn embedding_rows(&self) -> (Vec<u32>, Vec<u32>) {
        let (mut tokens, mut positions) = (Vec::new(), Vec::new());
        for group in &self.groups {
            for of_lane in &group.tokens[..group.joined] {
                tokens.extend(&of_lane[group.start..]);
                positions.extend((group.start..group.len).map(|pos| pos as u32));
            }
        }
        (tokens, positions)
    }

    /// `x W + b`, counted, and what follows it.
    pub fn linear(&mut self, x: &Tensor, map: &LinearMap, then: Then) -> Result<Tensor> {
        self.work.product(x.dim(0)?, map.d_in(), map.d_out());
        ops::linear(self.arithmetic, x, map, 0..map.d_out(), then)
    }

    /// Some columns of `x W + b`, counted.
    pub fn linear_columns(&mut self, x: &Tensor, map: &LinearMap, columns: Range<usize>) -> Result<Tensor> {
        self.work.product(x.dim(0)?, map.d_in(), columns.len());
        ops::linear(self.arithmetic, x, map, columns, Then::Keep)
    }

    /// Whether lanes are going to join here.
    pub fn joins(&self, entry: Entry) -> bool {
        self.groups.iter().any(|group| group.entries[group.joined..].contains(&entry))
    }

    /// Lets the lanes whose entry this is join, each with its base's values at `sources`, in the row
    /// order of the carried tensors (keys and values hold own rows, everything else current ones).
    pub fn join<const N: usize>(
        &mut self,
        entry: Entry,
        carried: Option<[Tensor; N]>,
        sources: [Hook; N],
    ) -> Result<Option<[Tensor; N]>> {
        let joining: Vec<usize> = self
            .groups
            .iter()
            .map(|group| group.entries[group.joined..].iter().filter(|e| **e == entry).count())
            .collect();
        if entry == Entry::Embed || joining.iter().all(|&n| n == 0) {
            return Ok(carried);
        }
        let mut out = Vec::with_capacity(N);
        for (i, source) in sources.iter().enumerate() {
            let rows = match source.site {
                Site::K | Site::V => Rows::Own,
                _ => Rows::Current,
            };
            let mut pieces = Vec::new();
            for (index, &n_new) in joining.iter().enumerate() {
                if let Some(carried) = &carried
                    && self.groups[index].joined > 0
                {
                    pieces.push(self.slice(&carried[i], index, rows)?);
                }
                if n_new > 0 {
                    pieces.push(self.base_rows(index, *source, rows, n_new)?);
                }
            }
            out.push(if pieces.len() == 1 { pieces.remove(0) } else { Tensor::cat(&pieces, 0)? });
        }
        for (group, n_new) in self.groups.iter_mut().zip(joining) {
            group.joined += n_new;
        }
        let mut out = out.into_iter();
        Ok(Some(std::array::from_fn(|_| out.next().expect("one tensor was pushed for each source"))))
    }

    /// The base's value at `hook` for `n_lanes` lanes of a group, as rows.
    fn base_rows(&self, index: usize, hook: Hook, rows: Rows, n_lanes: usize) -> Result<Tensor> {
        let group = &self.groups[index];
        let value = &self.bases[group.base].values[&hook]; // [pos, ..]
        let positions: Vec<u32> = match rows {
            Rows::Current => group.positions.iter().map(|&pos| pos as u32).collect(),
            Rows::Own => (group.start..group.len).map(|pos| pos as u32).collect(),
        };
        let one = value.index_select(&Tensor::new(positions, value.device())?, 0)?;
        Ok(one.repeat(std::iter::once(n_lanes).chain(vec![1; one.rank() - 1]).collect::<Vec<_>>())?)
    }

    /// A group's rows of a carried tensor.
    pub fn slice(&self, x: &Tensor, index: usize, rows: Rows) -> Result<Tensor> {
        let count = |group: &Group| {
            group.joined
                * match rows {
                    Rows::Current => group.positions.len(),
                    Rows::Own => group.own_len(),
                }
        };
        let first = self.groups[..index].iter().map(count).sum();
        Ok(x.narrow(0, first, count(&self.groups[index]))?)
    }

    /// Fires a hook on rows `[rows, ..]` at the current positions.
    pub fn fire(&mut self, hook: Hook, x: Tensor) -> Result<Tensor> {
        self.fire_rows(hook, x, Rows::Current)
    }

    /// Fires a hook on rows at all positions the lanes own.
    pub fn fire_own(&mut self, hook: Hook, x: Tensor) -> Result<Tensor> {
        self.fire_rows(hook, x, Rows::Own)
    }

    fn fire_rows(&mut self, hook: Hook, x: Tensor, rows: Rows) -> Result<Tensor> {
        if !self.wants(hook) {
            return Ok(x);
        }
        let mut pieces = Vec::new();
        for index in self.active_groups() {
            let piece = self.slice(&x, index, rows)?;
            let flat = piece.dims().to_vec();
            let n_lanes = self.groups[index].joined;
            let by_lane: Vec<usize> =
                [n_lanes, flat[0] / n_lanes].into_iter().chain(flat[1..].to_vec()).collect();
            let value = self.fire_at(hook, index, rows, piece.reshape(by_lane)?)?;
            pieces.push(value.reshape(flat)?);
        }
        Ok(match self.hooks.changes(hook) {
            false => x,
            true if pieces.len() == 1 => pieces.remove(0),
            true => Tensor::cat(&pieces, 0)?,
        })
    }

    /// Fires a hook on one group's `[lane, head, query, key]`.
    pub fn fire_group(&mut self, hook: Hook, index: usize, x: Tensor) -> Result<Tensor> {
        if !self.wants(hook) {
            return Ok(x);
        }
        self.fire_at(hook, index, Rows::Current, x)
    }

    fn fire_at(&mut self, hook: Hook, index: usize, rows: Rows, x: Tensor) -> Result<Tensor> {
        let group = &self.groups[index];
        let own: Vec<usize>;
        let positions = match rows {
            Rows::Current => &group.positions,
            Rows::Own => {
                own = (group.start..group.len).collect();
                &own
            }
        };
        let firing = Firing {
            group: index,
            lanes: &group.lanes[..group.joined],
            all_lanes: &group.lanes,
            place: Place { positions, n_keys: group.n_keys() },
            base: self.bases.get(group.base),
        };
        for (rows, d_in, d_out) in self.hooks.products(hook, firing)? {
            self.work.product(rows, d_in, d_out);
        }
        self.hooks.fire(hook, self.config, firing, x)
    }

    /// The keys and values before a group's first own position, `[pos, head, d_head]` each.
    pub fn past(&self, index: usize, layer: usize) -> Result<Option<(Tensor, Tensor)>> {
        let group = &self.groups[index];
        if group.start == 0 {
            return Ok(None);
        }
        let of = |site: Site| self.bases[group.base].values[&site.at(layer)].narrow(0, 0, group.start);
        Ok(Some((of(Site::K)?, of(Site::V)?)))
    }

    /// In the last layer, drops the rows nobody reads; returns which rows stay, `None` for all.
    pub fn narrow_positions(&mut self, layer: usize) -> Result<Option<Tensor>> {
        // These fire after the narrowing, so whoever looks at one there wants all its rows.
        let mut sites = Site::all().filter(|site| *site == Site::Q || *site > Site::V);
        let last = layer + 1 == self.config.n_layers;
        if !last || sites.any(|site| self.hooks.observes(site.at(layer))) {
            return Ok(None);
        }
        self.narrow_now()
    }

    fn narrow_now(&mut self) -> Result<Option<Tensor>> {
        if self.narrowed || self.groups.iter().all(|group| group.read == group.positions) {
            return Ok(None);
        }
        let mut kept: Vec<u32> = Vec::new();
        let mut first = 0;
        for group in &mut self.groups {
            let rows: Vec<usize> = (0..group.positions.len())
                .filter(|&row| group.read.contains(&group.positions[row]))
                .collect();
            for lane in 0..group.joined {
                kept.extend(rows.iter().map(|row| (first + lane * group.positions.len() + row) as u32));
            }
            first += group.joined * group.positions.len();
            group.positions = rows.into_iter().map(|row| group.positions[row]).collect();
        }
        self.narrowed = true;
        let n_rows = kept.len();
        match first {
            0 => Ok(None),
            _ => Ok(Some(Tensor::from_vec(kept, n_rows, self.weights.embed.device())?)),
        }
    }
}
