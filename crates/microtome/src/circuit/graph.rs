//! Nodes and edges of a model's graph.
//!
//! Everything that writes to the residual stream is a sender: the embeddings (`input`), every head, every MLP. Everything that
//! reads it is a receiver: every head at its query, key and value, every MLP, the logits. There is an edge from each
//! sender to each receiver above it; a head has one to the MLP of its own layer. Biases of attention layers belong to no node: no
//! patch changes them. Their order is that of the EAP files: senders from the input up, heads before the MLP of
//! their layer; of receivers the queries of all heads of a layer, then the keys, the values, the MLP.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;

use microtome_model::{Config, Hook, Site};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::component::Component;
use crate::error::{Error, Result};

/// A node of a model's graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Node {
    /// Token and position embeddings, `input`.
    Input,
    /// An attention head, `a5.h1`.
    Head {
        /// Its layer.
        layer: usize,
        /// Its index in the layer.
        head: usize,
    },
    /// The MLP of a layer, `m5`.
    Mlp {
        /// The layer.
        layer: usize,
    },
    /// The logits, `logits`.
    Logits,
}

/// Which input of a receiver an edge enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    /// A head's query, `<q>`.
    Query,
    /// A head's key, `<k>`.
    Key,
    /// A head's value, `<v>`.
    Value,
    /// The one input of an MLP or of the logits.
    Whole,
}

/// An edge, `a5.h1->a8.h6<v>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// What writes.
    pub from: Node,
    /// What reads.
    pub to: Node,
    /// At which input.
    pub port: Port,
}

/// The graph of all nodes and edges of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Graph {
    /// Layers.
    pub n_layers: usize,
    /// Heads of each layer.
    pub n_heads: usize,
    /// Whether layers have MLPs.
    pub mlps: Mlps,
}

/// Whether layers have MLPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mlps {
    /// One in every layer.
    Present,
    /// None: an attention-only model.
    Absent,
}

/// Part of a model's graph: edges, and with them their nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circuit {
    /// The model's graph.
    pub graph: Graph,
    /// The edges in the circuit.
    pub edges: BTreeSet<Edge>,
}

impl Node {
    /// The part of the model it is; `None` for the ends of the graph.
    pub fn component(self) -> Option<Component> {
        match self {
            Node::Head { layer, head } => Some(Component::Head { layer, head }),
            Node::Mlp { layer } => Some(Component::Mlp { layer }),
            Node::Input | Node::Logits => None,
        }
    }

    /// What the rest of this library calls it: `L5H1`, `m5`, `input`.
    pub fn label(self) -> String {
        self.component().map_or_else(|| self.to_string(), |component| component.to_string())
    }

    /// How far up the stream it stands: it can be read by what stands higher.
    fn height(self) -> usize {
        match self {
            Node::Input => 0,
            Node::Head { layer, .. } => 2 * layer + 1,
            Node::Mlp { layer } => 2 * layer + 2,
            Node::Logits => usize::MAX,
        }
    }
}

impl Edge {
    /// An edge into an MLP or the logits, or into a head at one of its inputs.
    pub fn new(from: Node, to: Node, port: Port) -> Edge {
        Edge { from, to, port }
    }

    /// Whether it leads from a node to one above it, at an input that one has.
    pub fn is_sound(self) -> bool {
        let takes = match self.to {
            Node::Head { .. } => self.port != Port::Whole,
            Node::Mlp { .. } | Node::Logits => self.port == Port::Whole,
            Node::Input => false,
        };
        takes && self.from != Node::Logits && self.from.height() < self.to.height()
    }

    /// Where the receiver's input can be read and changed in a model of these layers; of the logits, the last `resid_post`.
    pub fn hook(self, n_layers: usize) -> Hook {
        let site = match self.port {
            Port::Query => Site::QInput,
            Port::Key => Site::KInput,
            Port::Value => Site::VInput,
            Port::Whole => Site::MlpIn,
        };
        match self.to {
            Node::Head { layer, .. } | Node::Mlp { layer } => site.at(layer),
            Node::Input | Node::Logits => Site::ResidPost.at(n_layers.saturating_sub(1)),
        }
    }
}

impl Graph {
    /// The graph of a model of these sizes.
    pub fn of(config: &Config) -> Graph {
        let mlps = if config.mlp.is_some() { Mlps::Present } else { Mlps::Absent };
        Graph { n_layers: config.n_layers, n_heads: config.n_heads, mlps }
    }

    /// What writes to the residual stream, from the input up.
    pub fn senders(&self) -> Vec<Node> {
        let layers = (0..self.n_layers).flat_map(|layer| self.heads(layer).chain(self.mlp(layer)));
        std::iter::once(Node::Input).chain(layers).collect()
    }

    /// What reads the residual stream, and at which input.
    pub fn receivers(&self) -> Vec<(Node, Port)> {
        let of_layer = |layer: usize| {
            let ports = [Port::Query, Port::Key, Port::Value];
            let heads =
                ports.into_iter().flat_map(move |port| self.heads(layer).map(move |head| (head, port)));
            heads.chain(self.mlp(layer).map(|mlp| (mlp, Port::Whole)))
        };
        (0..self.n_layers).flat_map(of_layer).chain([(Node::Logits, Port::Whole)]).collect()
    }

    /// All nodes, from the input to the logits.
    pub fn nodes(&self) -> Vec<Node> {
        let mut nodes = self.senders();
        nodes.push(Node::Logits);
        nodes
    }

    /// All edges, sender by sender.
    pub fn edges(&self) -> Vec<Edge> {
        let receivers = self.receivers();
        let from = |from: Node| receivers.iter().map(move |&(to, port)| Edge { from, to, port });
        self.senders().into_iter().flat_map(from).filter(|edge| edge.is_sound()).collect()
    }

    /// The place of a sender among the senders.
    pub fn sender_index(&self, node: Node) -> Option<usize> {
        let per_layer = self.n_heads + self.n_mlps();
        match node {
            _ if !self.has(node) => None,
            Node::Input => Some(0),
            Node::Head { layer, head } => Some(1 + layer * per_layer + head),
            Node::Mlp { layer } => Some(1 + layer * per_layer + self.n_heads),
            Node::Logits => None,
        }
    }

    /// The place of a receiver among the receivers.
    pub fn receiver_index(&self, node: Node, port: Port) -> Option<usize> {
        let per_layer = 3 * self.n_heads + self.n_mlps();
        let heads = |layer: usize, head: usize, part: usize| layer * per_layer + part * self.n_heads + head;
        match (node, port) {
            _ if !self.has(node) => None,
            (Node::Head { layer, head }, Port::Query) => Some(heads(layer, head, 0)),
            (Node::Head { layer, head }, Port::Key) => Some(heads(layer, head, 1)),
            (Node::Head { layer, head }, Port::Value) => Some(heads(layer, head, 2)),
            (Node::Mlp { layer }, Port::Whole) => Some(layer * per_layer + 3 * self.n_heads),
            (Node::Logits, Port::Whole) => Some(self.n_layers * per_layer),
            _ => None,
        }
    }

    /// Checks that the model has this edge.
    ///
    /// # Errors
    /// [`Error::NoSuchComponent`] for a node that does not exist, [`Error::BadEdge`] for an edge that leads nowhere.
    pub fn check(&self, edge: Edge) -> Result<()> {
        for node in [edge.from, edge.to] {
            if !self.has(node) {
                let limit = match (node, self.mlps) {
                    (Node::Mlp { .. }, Mlps::Absent) => "this model has no MLPs".to_owned(),
                    (Node::Head { layer, .. }, _) if layer < self.n_layers => {
                        format!("a layer has heads 0 to {}", self.n_heads - 1)
                    }
                    _ => format!("this model has layers 0 to {}", self.n_layers.saturating_sub(1)),
                };
                return Err(Error::NoSuchComponent { component: node.to_string(), limit });
            }
        }
        if edge.is_sound() { Ok(()) } else { Err(Error::BadEdge { text: edge.to_string() }) }
    }

    /// Whether the model has this node.
    pub fn has(&self, node: Node) -> bool {
        match node {
            Node::Input | Node::Logits => true,
            Node::Head { layer, head } => layer < self.n_layers && head < self.n_heads,
            Node::Mlp { layer } => layer < self.n_layers && self.mlps == Mlps::Present,
        }
    }

    fn heads(&self, layer: usize) -> impl Iterator<Item = Node> + use<> {
        (0..self.n_heads).map(move |head| Node::Head { layer, head })
    }

    fn mlp(&self, layer: usize) -> Option<Node> {
        (self.mlps == Mlps::Present).then_some(Node::Mlp { layer })
    }

    fn n_mlps(&self) -> usize {
        usize::from(self.mlps == Mlps::Present)
    }
}

impl Circuit {
    /// A circuit of these edges.
    ///
    /// # Errors
    /// As [`Graph::check`].
    pub fn new(graph: Graph, edges: impl IntoIterator<Item = Edge>) -> Result<Circuit> {
        let edges: BTreeSet<Edge> = edges.into_iter().collect();
        edges.iter().try_for_each(|&edge| graph.check(edge))?;
        Ok(Circuit { graph, edges })
    }

    /// The circuit of every edge there is.
    pub fn whole(graph: Graph) -> Circuit {
        Circuit { graph, edges: graph.edges().into_iter().collect() }
    }

    /// The nodes its edges touch, from the input up.
    pub fn nodes(&self) -> Vec<Node> {
        let touched: HashSet<Node> = self.edges.iter().flat_map(|edge| [edge.from, edge.to]).collect();
        self.graph.nodes().into_iter().filter(|node| touched.contains(node)).collect()
    }

    /// The edges that lie on a way from the input to the logits within the circuit.
    pub fn pruned(&self) -> Circuit {
        let up = reached(Node::Input, self.edges.iter().map(|edge| (edge.from, edge.to)));
        let down = reached(Node::Logits, self.edges.iter().map(|edge| (edge.to, edge.from)));
        let on_a_way = |edge: &&Edge| up.contains(&edge.from) && down.contains(&edge.to);
        Circuit { graph: self.graph, edges: self.edges.iter().filter(on_a_way).copied().collect() }
    }
}

/// Everything that can be reached along steps.
fn reached(start: Node, steps: impl Iterator<Item = (Node, Node)>) -> HashSet<Node> {
    let mut next: std::collections::HashMap<Node, Vec<Node>> = std::collections::HashMap::new();
    for (here, there) in steps {
        next.entry(here).or_default().push(there);
    }
    let mut found = HashSet::from([start]);
    let mut open = vec![start];
    while let Some(node) = open.pop() {
        for &other in next.get(&node).into_iter().flatten() {
            if found.insert(other) {
                open.push(other);
            }
        }
    }
    found
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mlps = if self.mlps == Mlps::Present { "" } else { ", without MLPs" };
        write!(f, "{} layers x {} heads{mlps}", self.n_layers, self.n_heads)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Input => write!(f, "input"),
            Node::Head { layer, head } => write!(f, "a{layer}.h{head}"),
            Node::Mlp { layer } => write!(f, "m{layer}"),
            Node::Logits => write!(f, "logits"),
        }
    }
}

impl FromStr for Node {
    type Err = Error;

    /// The names of the EAP files, and those of [`Component`].
    fn from_str(text: &str) -> Result<Node> {
        match text.trim() {
            "input" => return Ok(Node::Input),
            "logits" => return Ok(Node::Logits),
            _ => {}
        }
        match text.parse::<Component>() {
            Ok(Component::Head { layer, head }) => Ok(Node::Head { layer, head }),
            Ok(Component::Mlp { layer }) => Ok(Node::Mlp { layer }),
            _ => Err(Error::BadNode { text: text.to_owned() }),
        }
    }
}

impl Port {
    /// As it stands behind a receiver's name: `<q>`, or nothing.
    pub fn suffix(self) -> &'static str {
        match self {
            Port::Query => "<q>",
            Port::Key => "<k>",
            Port::Value => "<v>",
            Port::Whole => "",
        }
    }

    /// In words: `query`, or nothing.
    pub fn name(self) -> &'static str {
        match self {
            Port::Query => "query",
            Port::Key => "key",
            Port::Value => "value",
            Port::Whole => "",
        }
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}{}", self.from, self.to, self.port.suffix())
    }
}

impl FromStr for Edge {
    type Err = Error;

    fn from_str(text: &str) -> Result<Edge> {
        let bad = || Error::BadEdge { text: text.to_owned() };
        let (from, to) = text.split_once("->").ok_or_else(bad)?;
        let (to, port) = match to.trim().strip_suffix('>').and_then(|to| to.split_once('<')) {
            Some((to, "q")) => (to, Port::Query),
            Some((to, "k")) => (to, Port::Key),
            Some((to, "v")) => (to, Port::Value),
            Some(_) => return Err(bad()),
            None => (to, Port::Whole),
        };
        let edge = Edge { from: from.parse()?, to: to.parse()?, port };
        if edge.is_sound() { Ok(edge) } else { Err(bad()) }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Node, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Edge {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Edge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Edge, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
mod schema {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    use utoipa::openapi::{RefOr, Schema};

    use super::{Edge, Node};

    impl utoipa::PartialSchema for Node {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .examples(["input", "a8.h11", "m8", "logits"])
                .description(Some("A node of a model's graph: input, head a8.h11, MLP m8, logits."))
                .into()
        }
    }

    impl utoipa::ToSchema for Node {}

    impl utoipa::PartialSchema for Edge {
        fn schema() -> RefOr<Schema> {
            let what =
                "An edge of a model's graph, from what writes to what reads; into a head at <q>, <k> or <v>.";
            ObjectBuilder::new()
                .schema_type(Type::String)
                .examples(["input->a0.h1<q>", "a5.h5->a8.h6<v>", "a8.h6->m8", "m8->logits"])
                .description(Some(what))
                .into()
        }
    }

    impl utoipa::ToSchema for Edge {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAPH: Graph = Graph { n_layers: 3, n_heads: 4, mlps: Mlps::Present };

    #[test]
    fn a_graph_has_the_edges_that_the_eap_files_count() {
        // Of layer l: 1 + 5 l senders below its heads, each to 3 * 4 inputs; 4 more below its MLP; all below the logits.
        let expected: usize = (0..3).map(|l| (1 + 5 * l) * 12 + (5 + 5 * l)).sum::<usize>() + 16;
        assert_eq!(GRAPH.edges().len(), expected);
        // GPT-2 small's, the number the EAP papers state.
        let small = Graph { n_layers: 12, n_heads: 12, mlps: Mlps::Present };
        assert_eq!(small.edges().len(), 32_491);
        let no_mlps = Graph { mlps: Mlps::Absent, ..GRAPH };
        assert!(no_mlps.edges().iter().all(|edge| !matches!(edge.to, Node::Mlp { .. })));
    }

    #[test]
    fn places_are_those_of_the_lists() {
        for graph in [GRAPH, Graph { mlps: Mlps::Absent, ..GRAPH }] {
            for (index, node) in graph.senders().into_iter().enumerate() {
                assert_eq!(graph.sender_index(node), Some(index));
            }
            for (index, (node, port)) in graph.receivers().into_iter().enumerate() {
                assert_eq!(graph.receiver_index(node, port), Some(index));
            }
        }
        assert_eq!(GRAPH.sender_index(Node::Head { layer: 0, head: 4 }), None);
        assert_eq!(GRAPH.receiver_index(Node::Mlp { layer: 0 }, Port::Key), None);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for edge in GRAPH.edges() {
            assert_eq!(edge.to_string().parse::<Edge>().unwrap(), edge);
            let json = serde_json::to_string(&edge).unwrap();
            assert_eq!(serde_json::from_str::<Edge>(&json).unwrap(), edge);
        }
        assert_eq!("a1.h2->a2.h0<v>".parse::<Edge>().unwrap().to_string(), "a1.h2->a2.h0<v>");
        assert_eq!("L1H2->2.0<v>".parse::<Edge>().unwrap().to_string(), "a1.h2->a2.h0<v>");
    }

    #[test]
    fn an_edge_that_no_model_has_is_an_error_that_shows_the_spelling() {
        for text in [
            "",
            "a1.h0",
            "a1.h0->",
            "a1.h0->a0.h0<q>",
            "a1.h0->a1.h1<q>",
            "m1->m1",
            "input->a0.h0",
            "m0->m1<q>",
        ] {
            assert!(text.parse::<Edge>().is_err(), "{text}");
        }
        let message = "input->a0.h0<z>".parse::<Edge>().unwrap_err().to_string();
        assert!(message.contains("a5.h1->a8.h6<v>"), "{message}");
        let message = "a9->logits".parse::<Edge>().unwrap_err().to_string();
        assert!(message.contains("a9"), "{message}");
        let missing = GRAPH.check("a7.h0->logits".parse().unwrap()).unwrap_err().to_string();
        assert!(missing.contains("layers 0 to 2"), "{missing}");
        let missing = GRAPH.check("a1.h9->logits".parse().unwrap()).unwrap_err().to_string();
        assert!(missing.contains("heads 0 to 3"), "{missing}");
    }

    #[test]
    fn pruning_leaves_what_lies_on_a_way_and_nothing_else() {
        let edges = [
            "input->a0.h1<q>",
            "a0.h1->a1.h0<v>",
            "a1.h0->logits",
            "a1.h1->logits",
            "input->m0",
            "m0->a2.h0<k>",
        ];
        let circuit = Circuit::new(GRAPH, edges.map(|edge| edge.parse().unwrap())).unwrap();
        let left: Vec<String> = circuit.pruned().edges.iter().map(Edge::to_string).collect();
        assert_eq!(left.len(), 3);
        assert!(edges[..3].iter().all(|edge| left.contains(&(*edge).to_owned())), "{left:?}");
        assert_eq!(Circuit::whole(GRAPH).pruned(), Circuit::whole(GRAPH));
    }
}
