//! Activations kept from a run, by hook.

use std::collections::HashMap;

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::hook::{Hook, nearest};

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
}
