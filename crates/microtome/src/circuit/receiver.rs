//! One input of a receiver: where an edge ends.

use std::fmt;
use std::str::FromStr;

use microtome_model::{Config, Hook, Site};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::graph::{Edge, Graph, Node, Port};
use crate::error::{Error, Result};

/// What reads the residual stream, and what for: `a8.h6<v>`, `m3`, `logits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Receiver {
    /// Which node.
    pub node: Node,
    /// At which of its inputs.
    pub port: Port,
}

impl Receiver {
    /// The logits, which read the last residual stream.
    pub const LOGITS: Receiver = Receiver { node: Node::Logits, port: Port::Whole };

    /// Every input of a model, in the order of [`Graph::receivers`].
    pub fn all(config: &Config) -> Vec<Receiver> {
        Graph::of(config).receivers().into_iter().map(|(node, port)| Receiver { node, port }).collect()
    }

    /// Whether what `node` writes arrives here, at first hand or through what stands between.
    pub fn sees(self, node: Node) -> bool {
        Edge::new(node, self.node, self.port).is_sound()
    }

    /// Checks that a model has it.
    ///
    /// # Errors
    /// As [`Graph::check`].
    pub fn check(self, graph: &Graph) -> Result<()> {
        graph.check(Edge::new(Node::Input, self.node, self.port))
    }

    /// Where what it has made of its input can be read and set: a head's queries, keys or values; an MLP's input; the
    /// last residual stream.
    pub(crate) fn hook(self, config: &Config) -> Hook {
        let site = match self.port {
            Port::Query => Site::Q,
            Port::Key => Site::K,
            Port::Value => Site::V,
            Port::Whole => Site::MlpIn,
        };
        match self.node {
            Node::Head { layer, .. } | Node::Mlp { layer } => site.at(layer),
            Node::Input | Node::Logits => Site::ResidPost.at(config.n_layers.saturating_sub(1)),
        }
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.node, self.port.suffix())
    }
}

impl FromStr for Receiver {
    type Err = Error;

    /// `a8.h6<v>`, or `L8H6.v`, which a shell leaves alone.
    fn from_str(text: &str) -> Result<Receiver> {
        let bad = || Error::BadReceiver { text: text.to_owned() };
        let trimmed = text.trim();
        let bracketed = trimmed.strip_suffix('>').and_then(|text| text.split_once('<'));
        let dotted = || trimmed.rsplit_once('.').filter(|(_, port)| ["q", "k", "v"].contains(port));
        let (node, port) = match bracketed.or_else(dotted) {
            Some((node, "q")) => (node, Port::Query),
            Some((node, "k")) => (node, Port::Key),
            Some((node, "v")) => (node, Port::Value),
            Some(_) => return Err(bad()),
            None => (trimmed, Port::Whole),
        };
        let receiver = Receiver { node: node.parse().map_err(|_| bad())?, port };
        if receiver.sees(Node::Input) { Ok(receiver) } else { Err(bad()) }
    }
}

impl Serialize for Receiver {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Receiver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Receiver, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
mod schema {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    use utoipa::openapi::{RefOr, Schema};

    use super::Receiver;

    impl utoipa::PartialSchema for Receiver {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .examples(["a8.h6<q>", "L8H6.q", "m3", "logits"])
                .description(Some(
                    "What reads the residual stream: a head for its query, key or value, an MLP, the logits.",
                ))
                .into()
        }
    }

    impl utoipa::ToSchema for Receiver {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_as_a_shell_takes_them() {
        let query = Receiver { node: Node::Head { layer: 8, head: 6 }, port: Port::Query };
        for text in ["a8.h6<q>", "L8H6<q>", "L8H6.q", "8.6.q", " a8.h6.q "] {
            assert_eq!(text.parse::<Receiver>().unwrap(), query, "{text}");
        }
        for text in ["a8.h6<v>", "m3", "logits"] {
            assert_eq!(text.parse::<Receiver>().unwrap().to_string(), text);
        }
        for text in ["", "input", "a8.h6", "8.6", "a8.h6<z>", "m3<q>", "logits.q", "a8.q", "a8"] {
            let message = text.parse::<Receiver>().unwrap_err().to_string();
            assert!(message.contains("L8H6.q"), "{text}: {message}");
        }
    }
}
