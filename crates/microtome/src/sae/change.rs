//! Changes of features, as edits of the activation they write: the one they are read from, or of a transcoder the one it
//! reconstructs.
//!
//! A feature whose activation goes from `f` to `g` at a position adds `(g - f) W_dec_i` there, times the scale where a
//! normalisation is undone. What the features do not explain stays, or is dropped at the same positions: then the
//! reconstruction is put in the activation's place first. Features are read once, from the run that is changed, so that several
//! changes do not see each other.

use std::sync::Arc;

use microtome_model::{Change, Edit, Positions, Tensor, Value};
use serde::{Deserialize, Serialize};

use super::{Activations, ErrorTerm, Features, Sae};
use crate::error::{Error, Result};
use crate::method::patch::Direction;
use crate::text_model::TextModel;

/// What happens to a feature's activation.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FeatureChange {
    /// It becomes 0.
    #[default]
    Ablate,
    /// It is multiplied by this.
    Scale(f64),
    /// It becomes this, whether it was active or not.
    Set(f64),
    /// This is added to it.
    Add(f64),
    /// It becomes what it is in the other run of a prompt pair, position by position.
    Patch(Direction),
}

impl FeatureChange {
    /// The direction of a patch.
    pub(crate) fn direction(self) -> Option<Direction> {
        match self {
            FeatureChange::Patch(direction) => Some(direction),
            _ => None,
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            FeatureChange::Scale(x) | FeatureChange::Set(x) | FeatureChange::Add(x) if !x.is_finite() => {
                Err(Error::OutOfRange {
                    name: "the number a feature is changed by",
                    value: x,
                    expected: "a finite number",
                })
            }
            _ => Ok(()),
        }
    }

    /// How much is added to an activation that is `own` here and `other` in the other run.
    pub(crate) fn added(self, own: f64, other: f64) -> f64 {
        match self {
            FeatureChange::Ablate => -own,
            FeatureChange::Scale(factor) => (factor - 1.0) * own,
            FeatureChange::Set(value) => value - own,
            FeatureChange::Add(more) => more,
            FeatureChange::Patch(_) => other - own,
        }
    }

    /// What is done, in words.
    pub(crate) fn describe(self) -> String {
        match self {
            FeatureChange::Ablate => "set to 0".to_owned(),
            FeatureChange::Scale(factor) => format!("multiplied by {factor}"),
            FeatureChange::Set(value) => format!("set to {value}"),
            FeatureChange::Add(more) => format!("increased by {more}"),
            FeatureChange::Patch(direction) => {
                let (of, into) = match direction {
                    Direction::Denoise => ("clean", "corrupt"),
                    Direction::Noise => ("corrupt", "clean"),
                };
                format!("taken from the {of} run into the {into} one")
            }
        }
    }
}

impl Sae {
    /// The activation that is written, with features changed at every position.
    ///
    /// # Errors
    /// As [`Sae::encode`].
    pub(crate) fn changed(
        &self,
        activations: &Activations,
        changes: &[(usize, FeatureChange)],
        error: ErrorTerm,
    ) -> Result<Tensor> {
        let coded = self.encode(&activations.input)?;
        let mut features = coded.features().to_vec2::<f32>()?;
        for row in &mut features {
            for &(feature, change) in changes {
                row[feature] += change.added(f64::from(row[feature]), 0.0) as f32;
            }
        }
        let (n_rows, d_sae) = coded.features().dims2()?;
        let features = Tensor::from_vec(features.concat(), (n_rows, d_sae), coded.features().device())?;
        self.spliced(&coded, &features, &activations.target, error)
    }
}

/// One feature changed at some positions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    pub feature: usize,
    pub change: FeatureChange,
    /// In rising order.
    pub at: Vec<usize>,
}

/// The edits of one run that changes features: `own` are those of the run that is changed, `other` those of the other.
///
/// # Errors
/// [`super::SaeError::NoSuchFeature`].
pub(crate) fn edits_of(
    sae: &Sae,
    model: &TextModel,
    (own, other): (&Features, Option<&Features>),
    cells: &[Cell],
    dropped: Option<&[usize]>,
) -> Result<Vec<Edit>> {
    let mut edits = Vec::with_capacity(cells.len() + 1);
    if let Some(at) = dropped {
        let value = Value::Tensor(own.reconstruction.clone());
        edits.push(Edit::new(sae.writes_at(), Change::Set(value)).positions(Positions::At(at.to_vec())));
    }
    for Cell { feature, change, at } in cells {
        let before = own.along(*feature);
        let there = other.map(|other| other.along(*feature));
        let mut amounts = vec![0.0; before.len()];
        for &pos in at {
            let scale = own.scales.get(pos).copied().unwrap_or(1.0);
            let there = there.as_ref().map_or(0.0, |there| there[pos]);
            amounts[pos] = scale * change.added(before[pos], there);
        }
        let touched: Vec<usize> = at.iter().copied().filter(|&pos| amounts[pos] != 0.0).collect();
        if touched.is_empty() {
            continue;
        }
        let value = Value::Along { direction: sae.direction(*feature, model)?, amounts: Arc::from(amounts) };
        edits.push(Edit::new(sae.writes_at(), Change::Add(value)).positions(Positions::At(touched)));
    }
    Ok(edits)
}
