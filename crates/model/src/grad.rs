//! Derivatives of a metric at hook points.
//!
//! At every hook asked for, a variable of zeros is added to the activation; the derivative of the
//! metric in that variable is its derivative in the activation. The metric comes as its own
//! derivative in the logits, so that it keeps its one definition elsewhere.

use candle_core::Tensor;

use crate::axes::Positions;
use crate::cache::Cache;
use crate::device::moved;
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::fire::Hooks;
use crate::hook::Hook;
use crate::model::Model;
use crate::run::select;

/// Activations and a metric's derivatives in them, at the same hooks.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// The values the activations had.
    pub activations: Cache,
    /// The derivative of the metric in each, of the same shape; zero where it has no influence.
    pub gradients: Cache,
    /// The logits of the run at the positions read, `[position, d_vocab]`.
    pub logits: Tensor,
}

impl Model {
    /// Runs one prompt and takes the derivatives of a metric at `hooks`. The metric depends on the logits at the
    /// positions `read`.
    ///
    /// `seed` gets these logits, `[position, d_vocab]`, and returns the metric's derivative in them, of the
    /// same shape.
    ///
    /// # Errors
    /// As [`Model::run`], and whatever `seed` returns.
    pub fn gradients<E: From<Error>>(
        &self,
        tokens: &[u32],
        edits: &[Edit],
        hooks: &[Hook],
        read: &Positions,
        seed: impl FnOnce(&Tensor) -> Result<Tensor, E>,
    ) -> Result<Gradients, E> {
        let (walked, logits) = self.probed_run(tokens, edits, hooks, read)?;
        let seed = seed(&logits.detach())?;
        Ok(backward(walked, logits, &seed)?)
    }

    fn probed_run(
        &self,
        tokens: &[u32],
        edits: &[Edit],
        hooks: &[Hook],
        read: &Positions,
    ) -> Result<(Hooks, Tensor)> {
        for hook in hooks {
            hook.check(self.config())?;
        }
        let compiled = edits.iter().map(|edit| Ok((0, edit.compile(self.config(), tokens.len())?)));
        let mut probed = Hooks::new(compiled.collect::<Result<Vec<_>>>()?)?;
        probed.probe(hooks.iter().copied())?;
        probed.read(hooks.iter().copied());
        let mut walk = self.plain_walk(&[tokens], read, probed)?;
        let resid = walk.blocks(self.config().n_layers)?.ok_or(Error::EmptyPrompt)?;
        let input = walk.unembed_in(resid)?;
        let mut logits = walk.logits(&input)?;
        // All positions where a hook looks at them on the way.
        let read = read.resolve(tokens.len())?;
        if logits.dim(0)? != read.len() {
            logits = select(&logits, &read, 0)?;
        }
        Ok((std::mem::take(&mut walk.hooks), logits))
    }
}

fn backward(probed: Hooks, logits: Tensor, seed: &Tensor) -> Result<Gradients> {
    let seed = moved(seed, logits.device())?.to_dtype(logits.dtype())?;
    let gradients = (&logits * seed)?.sum_all()?.backward()?;
    let mut out =
        Gradients { activations: Cache::default(), gradients: Cache::default(), logits: logits.detach() };
    for (hook, _, value) in probed.values {
        out.activations.values.insert(hook, value.detach().squeeze(0)?);
    }
    for (hook, variable) in probed.variables {
        let gradient = match gradients.get(variable.as_tensor()) {
            Some(gradient) => gradient.clone(),
            None => variable.as_tensor().zeros_like()?,
        };
        out.gradients.values.insert(hook, gradient.squeeze(0)?);
    }
    Ok(out)
}
