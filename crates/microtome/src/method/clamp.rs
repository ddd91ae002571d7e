//! Neurons held at a value: the activation after the nonlinearity (`mlp.hook_post`) is set to it.

use std::fmt;
use std::str::FromStr;

use microtome_model::{Change, Config, Edit, Site, Value};
use serde::{Deserialize, Serialize};

use crate::component::Component;
use crate::error::{Error, Result};

/// A neuron held at a value, `L2N17=5`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Clamp {
    /// Which neuron.
    pub neuron: Component,
    /// What its activation becomes.
    pub value: f64,
}

impl Clamp {
    /// The edit that holds it at every position.
    ///
    /// # Errors
    /// [`Error::NotANeuron`], and [`Error::NoSuchComponent`] for one the model does not have.
    pub fn edit(&self, config: &Config) -> Result<Edit> {
        let (layer, neuron) = one_neuron(self.neuron, config)?;
        Ok(Edit::new(Site::MlpPost.at(layer), Change::Set(Value::Scalar(self.value))).units([neuron]))
    }
}

/// Layer and index of a component that is to be a neuron of this model.
pub(crate) fn one_neuron(part: Component, config: &Config) -> Result<(usize, usize)> {
    let Component::Neuron { layer, neuron } = part else {
        return Err(Error::NotANeuron { text: part.to_string() });
    };
    part.check(config)?;
    Ok((layer, neuron))
}

/// The edits that hold neurons in a run that cuts these components.
///
/// # Errors
/// As [`Clamp::edit`]; [`Error::NamedTwice`]; [`Error::ClampOfCut`] where the value would reach nothing.
pub(crate) fn edits_of(clamps: &[Clamp], cut: &[Component], config: &Config) -> Result<Vec<Edit>> {
    let edit = |(i, clamp): (usize, &Clamp)| {
        let edit = clamp.edit(config)?;
        if clamps[..i].iter().any(|earlier| earlier.neuron == clamp.neuron) {
            return Err(Error::NamedTwice { component: clamp.neuron.to_string(), place: i + 1 });
        }
        let mlp = Component::Mlp { layer: edit.hook.layer };
        match cut.iter().find(|&&part| part == clamp.neuron || part == mlp) {
            Some(cut) => Err(Error::ClampOfCut { neuron: clamp.neuron.to_string(), cut: cut.to_string() }),
            None => Ok(edit),
        }
    };
    clamps.iter().enumerate().map(edit).collect()
}

impl fmt::Display for Clamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.neuron, self.value)
    }
}

impl FromStr for Clamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Clamp> {
        let bad = || Error::BadClamp { text: text.to_owned() };
        let (neuron, value) = text.split_once('=').ok_or_else(bad)?;
        let neuron: Component = neuron.parse()?;
        if !matches!(neuron, Component::Neuron { .. }) {
            return Err(Error::NotANeuron { text: neuron.to_string() });
        }
        Ok(Clamp { neuron, value: value.trim().parse().map_err(|_| bad())? })
    }
}
