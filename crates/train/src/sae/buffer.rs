//! Activations of a text, so many at a time, in an order without neighbours.
//!
//! Windows are read in an order drawn for each epoch ([`Reading::order`]) and run through the model, as far as the hook, until the
//! buffer is full. Its positions are then used once each, in an order drawn for each filling. What a filling holds follows
//! from the seed and from where it began, so that a run resumed fills the buffer with what it would have held.

use microtome::TextModel;
use microtome_model::{Hook, Positions, RunOptions, with_rows};
use serde::{Deserialize, Serialize};

use crate::data::Part;
use crate::error::Result;
use crate::random::generator;
use crate::reading::{Reading, shuffled};

/// Windows run at a time.
const WINDOWS: usize = 16;

/// Where a filling begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Which filling, counted from 0.
    pub filling: u64,
    /// How often the text was read to its end before.
    pub epoch: u64,
    /// Windows of the epoch read before.
    pub window: usize,
}

/// A full buffer.
#[derive(Debug)]
pub(super) struct Filling {
    /// `[rows, d_in]`, times a scale once [`Filling::scale`] was called.
    values: Vec<f32>,
    d_in: usize,
    order: Vec<u32>,
    /// Where the next one begins.
    pub next: Cursor,
}

impl Filling {
    /// How many activations it holds.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The mean norm of its activations.
    pub fn mean_norm(&self) -> f64 {
        let norm = |row: &[f32]| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        self.values.chunks_exact(self.d_in).map(norm).sum::<f64>() / self.len() as f64
    }

    /// The mean of its activations.
    pub fn mean(&self) -> Vec<f32> {
        let mut sums = vec![0.0f64; self.d_in];
        for row in self.values.chunks_exact(self.d_in) {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += f64::from(x);
            }
        }
        sums.into_iter().map(|sum| (sum / self.len() as f64) as f32).collect()
    }

    /// Multiplies everything.
    pub fn scale(&mut self, by: f32) {
        self.values.iter_mut().for_each(|x| *x *= by);
    }

    /// So many activations in the order they are used in, from number `from` on; fewer where it ends.
    pub fn take(&self, from: usize, count: usize) -> Vec<f32> {
        let rows = self.order.iter().skip(from).take(count);
        rows.flat_map(|&row| &self.values[row as usize * self.d_in..][..self.d_in]).copied().collect()
    }
}

/// A model and what it reads.
pub(super) struct Source<'m> {
    pub model: &'m TextModel,
    pub reading: &'m Reading,
    pub hook: Hook,
    pub seed: u64,
}

impl Source<'_> {
    /// Fills a buffer with at least `rows` activations. `goes_on` is told how many there are and may end it: `None`.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model); [`Error::Measure`](crate::Error::Measure) where an activation is not finite.
    pub fn fill(
        &self,
        from: Cursor,
        rows: usize,
        goes_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Filling>> {
        let model = self.model.model();
        let hook = self.hook;
        let above = hook.layer + 1;
        let options = RunOptions {
            reads: vec![hook],
            stop_at_layer: hook.fires_below(above).then_some(above),
            logits: Positions::Last,
            ..RunOptions::default()
        };
        let d_in: usize = hook.shape(model.config(), 1).iter().product();
        let mut values: Vec<f32> = Vec::with_capacity(rows * d_in);
        let mut next = from;
        let mut order = self.reading.order(self.seed, next.epoch);
        while values.len() < rows * d_in {
            if !goes_on(values.len() / d_in) {
                return Ok(None);
            }
            let mut batch = Vec::with_capacity(WINDOWS);
            while batch.len() < WINDOWS {
                if next.window == order.len() {
                    (next.epoch, next.window) = (next.epoch + 1, 0);
                    order = self.reading.order(self.seed, next.epoch);
                }
                batch.push(self.reading.window(Part::Training, order[next.window] as usize));
                next.window += 1;
            }
            for run in model.run_batch(&batch, &options)? {
                let activation = run.cache.get(hook)?;
                let activation = activation.reshape((activation.dim(0)?, d_in))?;
                with_rows(&activation, |rows| {
                    let rows = &rows[self.reading.first() * d_in..];
                    match rows.iter().all(|x| x.is_finite()) {
                        true => values.extend_from_slice(rows),
                        false => values.push(f32::NAN),
                    }
                })?;
                if values.last().is_some_and(|x| x.is_nan()) {
                    let what = format!("an activation at `{hook}`");
                    return Err(microtome::Error::NotFinite { what }.into());
                }
            }
        }
        next.filling += 1;
        let n = values.len() / d_in;
        let order = shuffled(n, &mut generator(self.seed, "activations", from.filling));
        Ok(Some(Filling { values, d_in, order, next }))
    }
}
