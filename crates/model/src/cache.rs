//! Activations kept from a run, by hook.

use std::collections::HashMap;

use candle_core::Tensor;

use crate::axes::Positions;
use crate::error::{Error, Result};
use crate::hook::{Hook, nearest};
use crate::run::select;

/// Activations of one prompt, batch left out: shapes as [`Hook::shape`](crate::Hook::shape) says, with
/// only the kept positions along their first axis (the query axis at `attn_scores` and `pattern`).
#[derive(Debug, Clone, Default)]
pub struct Cache {
    pub(crate) values: HashMap<Hook, Tensor>,
}

impl Cache {
    /// The activation at a hook.
    ///
    /// # Errors
    /// [`Error::NotCached`] where the run did not read it.
    pub fn get(&self, hook: Hook) -> Result<&Tensor> {
        self.values.get(&hook).ok_or_else(|| {
            let names: Vec<String> = self.values.keys().map(Hook::to_string).collect();
            Error::NotCached {
                hook: hook.to_string(),
                nearest: nearest(&hook.to_string(), names.iter().map(String::as_str)),
            }
        })
    }

    /// The hooks that were kept, in firing order.
    pub fn hooks(&self) -> Vec<Hook> {
        let mut hooks: Vec<Hook> = self.values.keys().copied().collect();
        hooks.sort_by_key(|hook| {
            let part = if hook.site.in_block() { 1 } else { 2 * u8::from(hook.site > crate::Site::PosEmbed) };
            (part, hook.layer, hook.site)
        });
        hooks
    }

    /// Only these positions of a cache that holds all `len` (queries, at `attn_scores` and `pattern`).
    ///
    /// # Errors
    /// [`Error::PositionOutOfRange`] where one lies past the end.
    pub fn at(&self, positions: &Positions, len: usize) -> Result<Cache> {
        let kept = positions.resolve(len)?;
        let keep = |(hook, value): (&Hook, &Tensor)| {
            let axis = usize::from(hook.site.is_attention());
            let all = value.dim(axis)? == kept.len();
            Ok((*hook, if all { value.clone() } else { select(value, &kept, axis)? }))
        };
        Ok(Cache { values: self.values.iter().map(keep).collect::<Result<_>>()? })
    }

    /// Every activation with its hook's name, `prefix` in front, in firing order.
    pub fn named(&self, prefix: &str) -> Vec<(String, Tensor)> {
        self.hooks().into_iter().map(|hook| (format!("{prefix}{hook}"), self.values[&hook].clone())).collect()
    }
}

/// Named tensors as the bytes of a safetensors file.
///
/// # Errors
/// [`Error::Tensor`] where a tensor cannot be laid out in memory.
pub fn to_safetensors(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    to_safetensors_with(tensors, &[])
}

/// The same, with text in the file's metadata under these names.
///
/// # Errors
/// As [`to_safetensors`].
pub fn to_safetensors_with(tensors: &[(String, Tensor)], metadata: &[(&str, &str)]) -> Result<Vec<u8>> {
    let tensors = tensors.iter().map(|(name, tensor)| Ok((name, tensor.contiguous()?)));
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    let notes = metadata.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
    let notes = (!metadata.is_empty()).then_some(notes);
    let bytes = safetensors::serialize(tensors.iter().map(|(name, tensor)| (name, tensor)), notes);
    bytes.map_err(|source| Error::Tensor(source.into()))
}

/// All tensors of a safetensors file as they are stored, whatever they are.
///
/// # Errors
/// [`Error::Tensor`] where the file cannot be read.
pub fn load_safetensors(path: &std::path::Path) -> Result<std::collections::HashMap<String, Tensor>> {
    Ok(candle_core::safetensors::load(path, &candle_core::Device::Cpu)?)
}

/// The same of a file's bytes.
///
/// # Errors
/// [`Error::Tensor`] where they are no safetensors file.
pub fn parse_safetensors(bytes: &[u8]) -> Result<std::collections::HashMap<String, Tensor>> {
    Ok(candle_core::safetensors::load_buffer(bytes, &candle_core::Device::Cpu)?)
}
