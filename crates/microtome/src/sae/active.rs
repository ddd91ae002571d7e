//! The active features of an activation, a block of positions at a time.
//!
//! Few features are active at a position and all of them are computed: kept are the active ones alone.

use microtome_model::{Tensor, as_f64, with_rows};
use serde::{Deserialize, Serialize};

use super::{Activations, Sae};
use crate::error::Result;

/// A feature that is active at a position.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActiveFeature {
    /// Which, counted from 0.
    pub feature: usize,
    /// Its activation, above 0.
    pub activation: f64,
}

/// What an autoencoder makes of an activation.
#[derive(Debug, Clone)]
pub struct Features {
    /// By position: the active features, by number.
    pub active: Vec<Vec<ActiveFeature>>,
    /// What they stand for, of the shape of the activation written.
    pub reconstruction: Tensor,
    /// By position: the norm of what they miss by that of the activation written, `None` where that is 0.
    pub relative_error: Vec<Option<f64>>,
    /// By position: by how much what is decoded is multiplied where a normalisation is undone; empty where there is none.
    pub(crate) scales: Vec<f64>,
}

impl Features {
    /// A feature's activation at every position.
    pub fn along(&self, feature: usize) -> Vec<f64> {
        let at = |active: &Vec<ActiveFeature>| {
            let found = active.binary_search_by_key(&feature, |active| active.feature);
            found.map_or(0.0, |i| active[i].activation)
        };
        self.active.iter().map(at).collect()
    }
}

/// About how many feature activations are held at a time.
const AT_ONCE: usize = 4 << 20;

impl Sae {
    /// The active features of a text's activations and the reconstruction.
    ///
    /// # Errors
    /// As [`Sae::encode`]; [`crate::Error::Tensor`] where the activation written has other rows.
    pub fn features(&self, activations: &Activations) -> Result<Features> {
        let Activations { input, target } = activations;
        let d_sae = self.config().d_sae;
        let len = input.dim(0)?;
        let block = (AT_ONCE / d_sae).max(1);
        let (mut active, mut reconstructed, mut scales) = (Vec::with_capacity(len), Vec::new(), Vec::new());
        for first in (0..len).step_by(block) {
            let coded = self.encode(&input.narrow(0, first, block.min(len - first))?)?;
            with_rows(coded.features(), |values| {
                active.extend(values.chunks(d_sae).map(|row| {
                    let all = row.iter().enumerate().filter(|(_, x)| **x > 0.0);
                    all.map(|(feature, &x)| ActiveFeature { feature, activation: f64::from(x) }).collect()
                }));
            })?;
            if let Some((scale, _)) = &coded.undo {
                scales.extend(as_f64(scale)?.flatten_all()?.to_vec1::<f64>()?);
            }
            reconstructed.push(self.decode(&coded, coded.features())?);
        }
        let reconstruction = Tensor::cat(&reconstructed, 0)?;
        let relative_error = relative_errors(target, &reconstruction)?;
        Ok(Features { active, reconstruction, relative_error, scales })
    }
}

fn relative_errors(x: &Tensor, y: &Tensor) -> Result<Vec<Option<f64>>> {
    let norm = |a: &[f64]| a.iter().map(|x| x * x).sum::<f64>().sqrt();
    let of = |(x, y): (&Vec<f64>, &Vec<f64>)| {
        let missed: Vec<f64> = x.iter().zip(y).map(|(x, y)| x - y).collect();
        (norm(x) > 0.0).then(|| norm(&missed) / norm(x))
    };
    Ok(rows(x)?.iter().zip(&rows(y)?).map(of).collect())
}

/// An activation by position, flattened, in f64.
pub(crate) fn rows(x: &Tensor) -> Result<Vec<Vec<f64>>> {
    Ok(as_f64(x)?.reshape((x.dim(0)?, ()))?.to_vec2()?)
}

/// The strongest of them first, at most `top`; of equal ones the first.
pub(crate) fn strongest(active: &[ActiveFeature], top: usize) -> Vec<ActiveFeature> {
    let mut sorted = active.to_vec();
    sorted.sort_by(|a, b| b.activation.total_cmp(&a.activation).then(a.feature.cmp(&b.feature)));
    sorted.truncate(top);
    sorted
}
