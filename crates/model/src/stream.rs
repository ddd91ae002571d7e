//! Generation: one growing sequence, with its keys and values kept.
//!
//! Each [`Stream::feed`] walks only the new tokens; attention reads the rest from the cache. Edits fire
//! on every token as it is fed, so a cached generation equals rerunning the whole text each time.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::Tensor;

use crate::axes::Positions;
use crate::edit::{CompiledEdit, Edit};
use crate::error::{Error, Result};
use crate::fire::Hooks;
use crate::hook::Site;
use crate::model::Model;
use crate::walk::{BaseValues, Entry, Group, Walk, Walker};

/// A sequence being generated.
pub struct Stream<'m> {
    model: &'m Model,
    edits: Vec<CompiledEdit>,
    tokens: Vec<u32>,
    cache: BaseValues,
}

impl<'m> Stream<'m> {
    /// An empty sequence that will grow to at most `max_len` tokens.
    ///
    /// # Errors
    /// [`Error::LastInGeneration`] for edits at the last position, [`Error::PromptTooLong`] where
    /// `max_len` is past the context, and what [`Model::run`] says of edits. A value with a position
    /// axis must be `max_len` long.
    pub fn new(model: &'m Model, edits: &[Edit], max_len: usize) -> Result<Stream<'m>> {
        let n_ctx = model.config().n_ctx;
        if max_len > n_ctx {
            return Err(Error::PromptTooLong { len: max_len, n_ctx });
        }
        if edits.iter().any(|edit| edit.positions == Positions::Last) {
            return Err(Error::LastInGeneration);
        }
        let edits = edits.iter().map(|edit| edit.compile(model.config(), max_len));
        let edits = edits.collect::<Result<Vec<_>>>()?;
        Ok(Stream { model, edits, tokens: vec![], cache: BaseValues::default() })
    }

    /// The tokens fed so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Appends tokens and returns the logits after each of them, `[new tokens, d_vocab]`.
    ///
    /// # Errors
    /// As [`Model::check_tokens`].
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Tensor> {
        let start = self.tokens.len();
        let all: Vec<u32> = self.tokens.iter().chain(tokens).copied().collect();
        self.model.check_tokens(&all)?;
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let sequence: Arc<[u32]> = all.clone().into();
        let read = (start..all.len()).collect();
        let group =
            Group::new(0, start, vec![Walker { lane: 0, entry: Entry::Embed, tokens: sequence }], read);
        let mut hooks = Hooks::new(self.edits.iter().map(|edit| (0, edit.clone())))?;
        let config = self.model.config();
        hooks.read((0..config.n_layers).flat_map(|layer| [Site::K.at(layer), Site::V.at(layer)]));
        let bases = std::slice::from_ref(&self.cache);
        let mut walk = Walk::new(self.model, bases, vec![group], hooks);
        let resid = walk.blocks(config.n_layers)?.ok_or(Error::EmptyPrompt)?;
        let input = walk.unembed_in(resid)?;
        let logits = walk.logits(&input)?;

        let mut values = HashMap::new();
        for (hook, _, new) in std::mem::take(&mut walk.hooks.values) {
            let new = new.squeeze(0)?.contiguous()?; // [pos, head, d_head]
            let kept = match self.cache.values.get(&hook) {
                Some(past) => Tensor::cat(&[past, &new], 0)?,
                None => new,
            };
            values.insert(hook, kept);
        }
        self.cache = BaseValues { values };
        self.tokens = all;
        Ok(logits)
    }
}
