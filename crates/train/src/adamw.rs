//! AdamW (Loshchilov and Hutter 2019), as PyTorch computes it, in one pass over the values of a parameter.
//!
//! ```text
//! p <- p - lr decay p                          matrices only
//! m <- beta1 m + (1 - beta1) g                 v <- beta2 v + (1 - beta2) g^2
//! p <- p - lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)
//! ```
//!
//! `g` is the gradient times a scale, which clips it and takes the mean over accumulated batches. Values are
//! worked on in pieces of a fixed length and sums are added up in the order of the pieces, so that the
//! result does not depend on which thread took which piece.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp2, Layout, Storage};
use microtome_model::Tensor;
use rayon::prelude::*;

use crate::error::Result;
use crate::parameters::Parameter;

/// Added to the root of the second moment.
const EPS: f64 = 1e-8;

/// Values of a piece: 64 KiB, four of which fit the second-level cache.
const PIECE: usize = 1 << 14;

/// The two moments of every parameter, and how often they were updated.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// Settings.
    pub settings: AdamWSettings,
    /// Updates made.
    pub updates: u64,
    /// Means of gradients, and of their squares.
    pub moments: Vec<Moments>,
}

/// What does not change from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// Memory of gradients.
    pub beta1: f64,
    /// Memory of squares.
    pub beta2: f64,
    /// Weight decay of matrices.
    pub decay: f64,
}

/// The moments of one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Mean of gradients.
    pub first: Vec<f32>,
    /// Mean of squares.
    pub second: Vec<f32>,
}

impl AdamW {
    /// Before the first update.
    pub fn new(parameters: &[Parameter], settings: AdamWSettings) -> AdamW {
        AdamW::of_lengths(parameters.iter().map(|parameter| parameter.var.elem_count()), settings)
    }

    /// The same for parameters of so many numbers.
    pub(crate) fn of_lengths(lengths: impl Iterator<Item = usize>, settings: AdamWSettings) -> AdamW {
        let zeros = |len| Moments { first: vec![0.0; len], second: vec![0.0; len] };
        AdamW { settings, updates: 0, moments: lengths.map(zeros).collect() }
    }

    /// Changes the parameters along the gradients, which are multiplied by `scale` first.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) where a gradient has another shape than its parameter.
    pub fn update(
        &mut self,
        parameters: &[Parameter],
        gradients: &[Tensor],
        scale: f64,
        learning_rate: f64,
    ) -> Result<()> {
        let step = self.begin(scale, learning_rate);
        for ((parameter, gradient), moments) in parameters.iter().zip(gradients).zip(&mut self.moments) {
            let step = if parameter.decays() { step } else { Step { kept: 1.0, ..step } };
            parameter.var.inplace_op2(gradient, &Update { step, moments: RefCell::new(moments) })?;
        }
        Ok(())
    }

    /// The same for parameters that are plain numbers, without decay.
    pub(crate) fn update_numbers(&mut self, parameters: &mut [(&mut [f32], &[f32])], learning_rate: f64) {
        let step = Step { kept: 1.0, ..self.begin(1.0, learning_rate) };
        for ((values, gradient), moments) in parameters.iter_mut().zip(&mut self.moments) {
            step.apply_in_pieces(values, gradient, moments);
        }
    }

    /// The factors of the next update.
    fn begin(&mut self, scale: f64, learning_rate: f64) -> Step {
        self.updates += 1;
        let AdamWSettings { beta1, beta2, decay } = self.settings;
        let t = self.updates as f64;
        Step {
            kept: (1.0 - learning_rate * decay) as f32,
            scale: scale as f32,
            beta1: beta1 as f32,
            rest1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            rest2: (1.0 - beta2) as f32,
            rate: (learning_rate / (1.0 - beta1.powf(t))) as f32,
            root: (1.0 / (1.0 - beta2.powf(t)).sqrt()) as f32,
        }
    }
}

/// The length of all gradients together, taken in f64.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) where a gradient is not on the CPU in f32.
pub fn gradient_norm(gradients: &[Tensor]) -> Result<f64> {
    let mut sum = 0.0;
    for gradient in gradients {
        let (storage, layout) = gradient.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            return Err(candle_core::Error::Msg("gradients are not on the CPU".to_owned()).into());
        };
        let values = slice(storage, layout)?;
        let parts: Vec<f64> = values.par_chunks(PIECE).map(sum_of_squares).collect();
        sum += parts.iter().sum::<f64>();
    }
    Ok(sum.sqrt())
}

fn sum_of_squares(values: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let mut chunks = values.chunks_exact(8);
    for chunk in &mut chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(x) * f64::from(x);
        }
    }
    let rest: f64 = chunks.remainder().iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// The factors of one update.
#[derive(Debug, Clone, Copy)]
struct Step {
    kept: f32,
    scale: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    rate: f32,
    root: f32,
}

impl Step {
    fn apply_in_pieces(self, values: &mut [f32], gradient: &[f32], moments: &mut Moments) {
        let pieces = values.par_chunks_mut(PIECE).zip(gradient.par_chunks(PIECE));
        let moments = moments.first.par_chunks_mut(PIECE).zip(moments.second.par_chunks_mut(PIECE));
        pieces.zip(moments).for_each(|((values, gradient), (first, second))| {
            self.apply(values, gradient, first, second);
        });
    }

    fn apply(self, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let eps = EPS as f32;
        for (((p, &g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = g * self.scale;
            *m = self.beta1 * *m + self.rest1 * g;
            *v = self.beta2 * *v + self.rest2 * g * g;
            *p = self.kept * *p - self.rate * *m / (v.sqrt() * self.root + eps);
        }
    }
}

struct Update<'a> {
    step: Step,
    moments: RefCell<&'a mut Moments>,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        values: &mut CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let gradient = slice(gradient, gradient_layout)?;
        let CpuStorage::F32(values) = values else { candle_core::bail!("a parameter is not f32") };
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("a parameter is not contiguous")
        };
        let values = &mut values[start..end];
        if gradient.len() != values.len() {
            candle_core::bail!("a gradient has {} values, its parameter {}", gradient.len(), values.len())
        }
        self.step.apply_in_pieces(values, gradient, &mut self.moments.borrow_mut());
        Ok(())
    }
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a gradient is not contiguous")
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}
