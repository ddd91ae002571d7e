//! Parts of a model by the names people give them: heads, attention layers, MLPs, neurons.

use std::fmt;
use std::str::FromStr;

use microtome_model::Config;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// One part of a model. Layers, heads and neurons count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// An attention head, `L8H11` or `8.11`.
    Head {
        /// Its layer.
        layer: usize,
        /// Its index in the layer.
        head: usize,
    },
    /// All heads of a layer with their bias, `a8`.
    Attention {
        /// The layer.
        layer: usize,
    },
    /// The MLP of a layer, `m8`.
    Mlp {
        /// The layer.
        layer: usize,
    },
    /// One neuron of an MLP, `L8N120`.
    Neuron {
        /// Its layer.
        layer: usize,
        /// Its index in the layer.
        neuron: usize,
    },
}

impl Component {
    /// Every head of a model, layer after layer.
    pub fn heads(config: &Config) -> impl Iterator<Item = Component> + use<> {
        let n_heads = config.n_heads;
        (0..config.n_layers)
            .flat_map(move |layer| (0..n_heads).map(move |head| Component::Head { layer, head }))
    }

    /// Checks that a model has this part.
    ///
    /// # Errors
    /// [`Error::NoSuchComponent`] naming the limit.
    pub fn check(self, config: &Config) -> Result<()> {
        let Config { n_layers, n_heads, .. } = *config;
        let d_mlp = config.d_mlp();
        let (layer, limit) = match self {
            Component::Head { layer, head } => {
                (layer, (head >= n_heads).then(|| format!("a layer has heads 0 to {}", n_heads - 1)))
            }
            Component::Attention { layer } => (layer, None),
            Component::Mlp { layer } => (layer, (d_mlp == 0).then(|| "this model has no MLPs".to_owned())),
            Component::Neuron { layer, neuron } => {
                let limit = match d_mlp {
                    0 => "this model has no MLPs".to_owned(),
                    n => format!("an MLP has neurons 0 to {}", n - 1),
                };
                (layer, (neuron >= d_mlp).then_some(limit))
            }
        };
        let limit = match layer >= n_layers {
            true => Some(format!("this model has layers 0 to {}", n_layers - 1)),
            false => limit,
        };
        match limit {
            Some(limit) => Err(Error::NoSuchComponent { component: self.to_string(), limit }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Component::Head { layer, head } => write!(f, "L{layer}H{head}"),
            Component::Attention { layer } => write!(f, "a{layer}"),
            Component::Mlp { layer } => write!(f, "m{layer}"),
            Component::Neuron { layer, neuron } => write!(f, "L{layer}N{neuron}"),
        }
    }
}

impl FromStr for Component {
    type Err = Error;

    fn from_str(text: &str) -> Result<Component> {
        let bad = || Error::BadComponent { text: text.to_owned() };
        let number = |digits: &str| digits.parse::<usize>().map_err(|_| bad());
        let lower = text.trim().to_ascii_lowercase();
        if let Some(layer) = lower.strip_prefix('m') {
            return Ok(Component::Mlp { layer: number(layer)? });
        }
        // EAP's `a8.h11`, and `a8` for the whole layer.
        let rest = lower.strip_prefix('a').or(lower.strip_prefix('l')).unwrap_or(&lower);
        if let Some((layer, neuron)) = rest.split_once('n') {
            return Ok(Component::Neuron { layer: number(layer)?, neuron: number(neuron)? });
        }
        let split = rest.split_once(".h").or(rest.split_once('h')).or(rest.split_once('.'));
        match split {
            Some((layer, head)) => Ok(Component::Head { layer: number(layer)?, head: number(head)? }),
            None if lower.starts_with('a') => Ok(Component::Attention { layer: number(rest)? }),
            None => Err(bad()),
        }
    }
}

impl Serialize for Component {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Component {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Component, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
mod schema {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    use utoipa::openapi::{RefOr, Schema};

    use super::Component;

    impl utoipa::PartialSchema for Component {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .examples(["L8H11", "8.11", "a8", "m8", "L8N120"])
                .description(Some(
                    "A part of the model: head L8H11 or 8.11, attention layer a8, MLP m8, neuron L8N120.",
                ))
                .into()
        }
    }

    impl utoipa::ToSchema for Component {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_spellings_name_the_same_part() {
        let head = Component::Head { layer: 8, head: 11 };
        for text in ["8.11", "L8H11", "l8h11", "a8.h11", " 8.11 "] {
            assert_eq!(text.parse::<Component>().unwrap(), head, "{text}");
        }
        assert_eq!("m3".parse::<Component>().unwrap(), Component::Mlp { layer: 3 });
        assert_eq!("a3".parse::<Component>().unwrap(), Component::Attention { layer: 3 });
        assert_eq!("L3N120".parse::<Component>().unwrap(), Component::Neuron { layer: 3, neuron: 120 });
        for part in [head, Component::Mlp { layer: 1 }, Component::Neuron { layer: 0, neuron: 2 }] {
            assert_eq!(part.to_string().parse::<Component>().unwrap(), part);
        }
    }

    #[test]
    fn other_text_is_an_error_that_shows_the_spellings() {
        for text in ["", "8", "8.", ".1", "x3", "8.11.2", "m", "L3", "é"] {
            let message = text.parse::<Component>().unwrap_err().to_string();
            assert!(message.contains("8.11"), "{text}: {message}");
        }
    }
}
