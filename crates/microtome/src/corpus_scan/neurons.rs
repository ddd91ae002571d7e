//! Neurons as features: their activation after the nonlinearity, `mlp.hook_post`.

use microtome_model::{Config, Hook, Site, Tensor};

use super::Features;
use crate::component::Component;
use crate::error::{Error, Result};

/// Single neurons, and all of some layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neurons {
    hooks: Vec<Hook>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    component: Component,
    /// Which of the hooks.
    hook: usize,
    /// The first neuron, and how many.
    first: usize,
    count: usize,
}

impl Neurons {
    /// Neurons, and MLPs for all neurons of a layer, in this order.
    ///
    /// # Errors
    /// [`Error::NotANeuron`] for a head or an attention layer, [`Error::NoSuchComponent`], [`Error::NamedTwice`],
    /// [`Error::Overlap`] for a neuron beside its layer.
    pub fn new(named: &[Component], config: &Config) -> Result<Neurons> {
        let mut found = Neurons { hooks: vec![], parts: vec![] };
        for (i, &component) in named.iter().enumerate() {
            component.check(config)?;
            let (layer, first, count) = match component {
                Component::Neuron { layer, neuron } => (layer, neuron, 1),
                Component::Mlp { layer } => (layer, 0, config.d_mlp()),
                Component::Head { .. } | Component::Attention { .. } => {
                    return Err(Error::NotANeuron { text: component.to_string() });
                }
            };
            let site = Site::MlpPost.at(layer);
            let hook = found.hooks.iter().position(|&hook| hook == site).unwrap_or(found.hooks.len());
            if hook == found.hooks.len() {
                found.hooks.push(site);
            }
            let meets = |other: &&Part| {
                other.hook == hook && other.first < first + count && first < other.first + other.count
            };
            if let Some(other) = found.parts.iter().find(meets) {
                let (first, second) = (other.component.to_string(), component.to_string());
                return Err(match first == second {
                    true => Error::NamedTwice { component: second, place: i + 1 },
                    false => Error::Overlap { first, second },
                });
            }
            found.parts.push(Part { component, hook, first, count });
        }
        Ok(found)
    }
}

impl Features for Neurons {
    fn hooks(&self) -> Vec<Hook> {
        self.hooks.clone()
    }

    fn names(&self) -> Vec<String> {
        let name = |layer| move |neuron| Component::Neuron { layer, neuron }.to_string();
        let of = |part: &Part| {
            (part.first..part.first + part.count).map(name(self.hooks[part.hook].layer)).collect::<Vec<_>>()
        };
        self.parts.iter().flat_map(of).collect()
    }

    fn rows(&self, activations: &[&Tensor]) -> Result<Tensor> {
        let of = |part: &Part| Ok(activations[part.hook].narrow(1, part.first, part.count)?);
        let parts = self.parts.iter().map(of).collect::<Result<Vec<Tensor>>>()?;
        Ok(Tensor::cat(&parts, 1)?)
    }
}

/// A neuron, `L2N17`, or a layer for all of its neurons, `L3` or `m3`: as [`Neurons::new`] takes them.
///
/// # Errors
/// [`Error::NotANeuron`].
pub fn neurons_named(text: &str) -> Result<Component> {
    let refused = || Error::NotANeuron { text: text.to_owned() };
    let layer = text.trim().strip_prefix(['L', 'l']).and_then(|layer| layer.parse().ok());
    match (layer, text.parse()) {
        (Some(layer), _) => Ok(Component::Mlp { layer }),
        (None, Ok(part @ (Component::Neuron { .. } | Component::Mlp { .. }))) => Ok(part),
        (None, _) => Err(refused()),
    }
}
