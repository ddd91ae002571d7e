//! Which part of an activation: positions along the prompt, and heads or neurons beside each other.
//!
//! A selection is written by a person ("last", heads 3 and 7), so everything that does not exist is an
//! error that names the limit; nothing is clipped or dropped. [`Positions`] keeps its meaning for any
//! prompt until [`Positions::resolve`] turns it into indices for one of a known length.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Token positions of a prompt, counted from 0 (BOS included where there is one).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Every position.
    #[default]
    All,
    /// The last position of the prompt.
    Last,
    /// This position and every later one.
    From(usize),
    /// Exactly these.
    At(Vec<usize>),
}

/// The positions a selection stands for in a prompt of known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PositionSet {
    /// Every position, now and after more tokens are appended.
    All,
    /// This position and every later one, tokens appended later included.
    From(usize),
    /// Exactly these: sorted, without repeats, at least one.
    At(Vec<usize>),
}

impl Positions {
    /// The indices this selects in a prompt of `len` tokens, ascending and without repeats.
    ///
    /// # Errors
    /// [`Error::PositionOutOfRange`] where one lies past the end, [`Error::EmptySelection`] where the
    /// list is empty.
    pub fn resolve(&self, len: usize) -> Result<Vec<usize>> {
        match self.to_set(len)? {
            PositionSet::All => Ok((0..len).collect()),
            PositionSet::From(first) => Ok((first..len).collect()),
            PositionSet::At(list) => Ok(list),
        }
    }

    pub(crate) fn to_set(&self, len: usize) -> Result<PositionSet> {
        let check = |pos: usize| {
            if pos < len { Ok(pos) } else { Err(Error::PositionOutOfRange { pos, len }) }
        };
        match self {
            Positions::All => Ok(PositionSet::All),
            Positions::Last if len == 0 => Err(Error::EmptyPrompt),
            Positions::Last => Ok(PositionSet::At(vec![len - 1])),
            Positions::From(first) => Ok(PositionSet::From(check(*first)?)),
            Positions::At(list) if list.is_empty() => Err(Error::EmptySelection { of: "positions" }),
            Positions::At(list) => {
                let mut list = list.iter().copied().map(check).collect::<Result<Vec<_>>>()?;
                list.sort_unstable();
                list.dedup();
                Ok(PositionSet::At(list))
            }
        }
    }
}

impl std::fmt::Display for Positions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Positions::All => f.write_str("all positions"),
            Positions::Last => f.write_str("the last position"),
            Positions::From(first) => write!(f, "position {first} and later"),
            Positions::At(list) => {
                let list: Vec<String> = list.iter().map(usize::to_string).collect();
                write!(f, "position{} {}", if list.len() == 1 { "" } else { "s" }, list.join(", "))
            }
        }
    }
}

impl PositionSet {
    pub(crate) fn contains(&self, pos: usize) -> bool {
        match self {
            PositionSet::All => true,
            PositionSet::From(first) => pos >= *first,
            PositionSet::At(list) => list.binary_search(&pos).is_ok(),
        }
    }

    /// The earliest position in the set.
    pub(crate) fn first(&self) -> usize {
        match self {
            PositionSet::All => 0,
            PositionSet::From(first) => *first,
            PositionSet::At(list) => list[0],
        }
    }
}

/// Which heads (at a site with a head axis), neurons (inside an MLP) or dimensions (elsewhere).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// All of them.
    #[default]
    All,
    /// Exactly these, counted from 0.
    At(Vec<usize>),
}

impl Units {
    /// The indices this selects out of `count`, ascending and without repeats. `of` names what is
    /// selected from in errors ("heads").
    ///
    /// # Errors
    /// [`Error::UnitOutOfRange`] where one does not exist, [`Error::EmptySelection`] for an empty list.
    pub fn resolve(&self, count: usize, of: &'static str) -> Result<Vec<usize>> {
        match self {
            Units::All => Ok((0..count).collect()),
            Units::At(list) if list.is_empty() => Err(Error::EmptySelection { of }),
            Units::At(list) => {
                if let Some(&unit) = list.iter().find(|&&u| u >= count) {
                    return Err(Error::UnitOutOfRange { of, unit, count });
                }
                let mut list = list.clone();
                list.sort_unstable();
                list.dedup();
                Ok(list)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_resolve_to_sorted_indices_without_repeats() {
        assert_eq!(Positions::All.resolve(3).unwrap(), [0, 1, 2]);
        assert_eq!(Positions::Last.resolve(3).unwrap(), [2]);
        assert_eq!(Positions::From(1).resolve(3).unwrap(), [1, 2]);
        assert_eq!(Positions::At(vec![2, 0, 2]).resolve(3).unwrap(), [0, 2]);
        assert_eq!(Units::At(vec![5, 1, 5]).resolve(6, "heads").unwrap(), [1, 5]);
    }

    #[test]
    fn what_does_not_exist_is_an_error_that_names_the_limit() {
        let message = Positions::At(vec![3]).resolve(3).unwrap_err().to_string();
        assert!(message.contains("position 3") && message.contains("3 tokens"), "{message}");
        let message = Units::At(vec![12]).resolve(12, "heads").unwrap_err().to_string();
        assert!(message.contains("12") && message.contains("heads"), "{message}");
        assert!(Positions::At(vec![]).resolve(3).is_err());
        assert!(Positions::Last.resolve(0).is_err());
    }
}
