//! The heads of a trained model: what each attends to, and the loss without it.

use microtome::Component;
use microtome::method::ablate::zeroed;
use microtome_model::{Edit, Model};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::evaluate::edited_losses_by_position;
use crate::telemetry::Telemetry;

/// Share of attention from which a head has a role.
pub const ROLE: f64 = 0.25;

/// What a head attends to most on random tokens that come twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The token before.
    Previous,
    /// The same token, earlier.
    Duplicate,
    /// The token after that.
    Induction,
    /// None of them with [`ROLE`] of its attention or more.
    None,
}

impl Role {
    /// The role in words.
    pub fn name(self) -> &'static str {
        match self {
            Role::Previous => "previous token",
            Role::Duplicate => "duplicate token",
            Role::Induction => "induction",
            Role::None => "none",
        }
    }

    fn of(previous: f64, duplicate: f64, induction: f64) -> Role {
        let scores = [(Role::Previous, previous), (Role::Duplicate, duplicate), (Role::Induction, induction)];
        let strongest = scores.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        strongest.filter(|&(_, score)| score >= ROLE).map_or(Role::None, |(role, _)| role)
    }
}

/// A head of a trained model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadRow {
    /// Which.
    pub head: Component,
    /// Attention to the token before.
    pub previous: f64,
    /// Attention to the same token's earlier occurrence.
    pub duplicate: f64,
    /// Attention to the token after that.
    pub induction: f64,
    /// The highest of the three, if it is high.
    pub role: Role,
    /// The loss with the head set to 0, in nats.
    pub loss_without: f64,
    /// That less the loss with all heads.
    pub change: f64,
}

/// All heads, layer after layer. `loss` is the mean that is taken of the losses at every position.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model).
pub(super) fn rows(
    model: &Model,
    scores: &Telemetry,
    windows: &[Vec<u32>],
    loss: impl Fn(&[f64]) -> f64,
) -> Result<Vec<HeadRow>> {
    let whole = loss(&edited_losses_by_position(model, windows, &[])?);
    let previous = scores.previous.iter().flatten().copied();
    let others = scores.duplicate.iter().flatten().copied().zip(scores.induction.iter().flatten().copied());
    let row = |(head, (previous, (duplicate, induction))): (Component, (f64, (f64, f64)))| {
        let loss_without = loss(&losses_without(model, windows, &[head])?);
        Ok(HeadRow {
            head,
            previous,
            duplicate,
            induction,
            role: Role::of(previous, duplicate, induction),
            loss_without,
            change: loss_without - whole,
        })
    };
    Component::heads(model.config()).zip(previous.zip(others)).map(row).collect()
}

/// Losses at every position with the outputs `z` of heads set to 0 everywhere.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) for a head that does not exist.
pub(super) fn losses_without(model: &Model, windows: &[Vec<u32>], heads: &[Component]) -> Result<Vec<f64>> {
    let edits: Vec<Edit> = heads.iter().copied().map(zeroed).collect();
    edited_losses_by_position(model, windows, &edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_the_highest_score_unless_all_are_low() {
        assert_eq!(Role::of(0.3, 0.2, 0.29), Role::Previous);
        assert_eq!(Role::of(0.3, 0.6, 0.1), Role::Duplicate);
        assert_eq!(Role::of(0.1, 0.2, ROLE), Role::Induction);
        assert_eq!(Role::of(0.24, 0.2, 0.1), Role::None);
    }
}
