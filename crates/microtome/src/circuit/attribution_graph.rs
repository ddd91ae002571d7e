//! A circuit as the attribution-graph JSON that public viewers open.
//!
//! The format is made for features at positions of one prompt. Here a node is a head, an MLP, the input or the logits, summed over
//! positions, so all stand at the last position, where the answer is read. `node_id` is `layer_feature_position`
//! as viewers take it apart: of a head, `feature` is its index; of an MLP, the number of heads; of the input (layer `E`), the last
//! token; of the logits (the layer above all), the answer. `clerp`, the words a viewer shows, has the name and the score.
//! Links from one node to one other, at a head's query, key and value, are one link of their sum: viewers
//! have no inputs. Every node is pinned, so that a viewer shows the circuit at once.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::graph::{Circuit, Edge, Node};
use super::scores::EdgeScores;
use crate::error::{Error, Result};
use crate::plot::number::short_signed;
use crate::record::{PromptReport, Record};

#[derive(Serialize)]
struct File {
    metadata: Metadata,
    #[serde(rename = "qParams")]
    shown: Shown,
    nodes: Vec<FileNode>,
    links: Vec<Link>,
}

#[derive(Serialize)]
struct Metadata {
    slug: String,
    scan: String,
    prompt_tokens: Vec<String>,
    prompt: String,
    schema_version: u32,
    info: Info,
}

#[derive(Serialize)]
struct Info {
    creator_name: &'static str,
    generator: Generator,
    create_time_ms: u64,
}

#[derive(Serialize)]
struct Generator {
    name: &'static str,
    version: String,
    url: String,
}

#[derive(Serialize)]
struct Shown {
    #[serde(rename = "pinnedIds")]
    pinned_ids: Vec<String>,
    /// Lists of a name and the nodes under it.
    supernodes: Vec<Vec<String>>,
    #[serde(rename = "linkType")]
    link_type: &'static str,
    #[serde(rename = "clickedId")]
    clicked_id: String,
    sg_pos: &'static str,
}

#[derive(Serialize)]
struct FileNode {
    node_id: String,
    feature: usize,
    layer: String,
    ctx_idx: usize,
    feature_type: &'static str,
    #[serde(rename = "jsNodeId")]
    js_node_id: String,
    clerp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_prob: Option<f64>,
    is_target_logit: bool,
}

#[derive(Serialize)]
struct Link {
    source: String,
    target: String,
    weight: f64,
}

/// The file of a circuit of the record's one prompt, made at `created_ms` (milliseconds since 1970).
///
/// # Errors
/// [`Error::NotOnePrompt`] for a record of several prompts: the format shows one.
pub fn attribution_graph(
    record: &Record,
    scores: &EdgeScores,
    circuit: &Circuit,
    created_ms: u64,
) -> Result<String> {
    let [prompt] = &record.results.prompts[..] else {
        return Err(Error::NotOnePrompt { n_prompts: record.results.prompts.len() });
    };
    let names = Names { prompt, n_heads: circuit.graph.n_heads, n_layers: circuit.graph.n_layers };
    let own = scores.node_scores();
    let nodes: Vec<FileNode> =
        circuit.nodes().into_iter().map(|node| names.file_node(node, own.get(&node), &scores.unit)).collect();
    let of_edges: HashMap<Edge, f64> = scores.edges.iter().copied().collect();
    let mut sums: BTreeMap<(Node, Node), f64> = BTreeMap::new();
    for edge in &circuit.edges {
        *sums.entry((edge.from, edge.to)).or_default() += of_edges.get(edge).copied().unwrap_or(0.0);
    }
    let link = |((from, to), weight)| Link { source: names.id(from), target: names.id(to), weight };
    let metric = record.results.tables.first().map_or("", |table| table.metric.as_str());
    let scan = record.model.about.short_name();
    let file = File {
        metadata: Metadata {
            slug: slug(&format!("{scan} {metric} {} edges", circuit.edges.len())),
            scan: scan.to_owned(),
            prompt_tokens: prompt.clean.labels.clone(),
            prompt: prompt.clean.labels[usize::from(prompt.clean.bos_prepended)..].concat(),
            schema_version: 1,
            info: Info {
                creator_name: "microtome",
                generator: Generator {
                    name: "microtome",
                    version: record.version.clone(),
                    url: format!("urn:microtome:{}", record.version),
                },
                create_time_ms: created_ms,
            },
        },
        shown: Shown {
            pinned_ids: nodes.iter().map(|node| node.node_id.clone()).collect(),
            supernodes: vec![],
            link_type: "both",
            clicked_id: names.id(Node::Logits),
            sg_pos: "",
        },
        links: sums.into_iter().map(link).collect(),
        nodes,
    };
    Ok(serde_json::to_string_pretty(&file).expect("names and numbers become JSON"))
}

/// What nodes are called in the file.
struct Names<'a> {
    prompt: &'a PromptReport,
    n_heads: usize,
    n_layers: usize,
}

impl Names<'_> {
    fn position(&self) -> usize {
        self.prompt.clean.ids.len().saturating_sub(1)
    }

    fn layer(&self, node: Node) -> String {
        match node {
            Node::Input => "E".to_owned(),
            Node::Head { layer, .. } | Node::Mlp { layer } => layer.to_string(),
            Node::Logits => self.n_layers.to_string(),
        }
    }

    fn feature(&self, node: Node) -> usize {
        let id = |id: Option<u32>| id.unwrap_or(0) as usize;
        match node {
            Node::Input => id(self.prompt.clean.ids.last().copied()),
            Node::Head { head, .. } => head,
            Node::Mlp { .. } => self.n_heads,
            Node::Logits => id(self.prompt.answers.first().map(|answer| answer.id)),
        }
    }

    fn id(&self, node: Node) -> String {
        format!("{}_{}_{}", self.layer(node), self.feature(node), self.position())
    }

    fn file_node(&self, node: Node, score: Option<&f64>, unit: &str) -> FileNode {
        let name = match (node, self.prompt.answers.first()) {
            (Node::Logits, Some(answer)) => format!("logits: {:?}", answer.token),
            _ => node.label(),
        };
        let words = |score: &f64| format!(" ({})", format!("{} {unit}", short_signed(*score)).trim_end());
        let score = score.map_or(String::new(), words);
        FileNode {
            node_id: self.id(node),
            feature: self.feature(node),
            layer: self.layer(node),
            ctx_idx: self.position(),
            feature_type: match node {
                Node::Input => "embedding",
                Node::Head { .. } => "attention head",
                Node::Mlp { .. } => "mlp",
                Node::Logits => "logit",
            },
            js_node_id: format!("{}_{}-{}", self.layer(node), self.feature(node), self.position()),
            clerp: name + &score,
            token_prob: if node == Node::Logits { self.answer_prob() } else { None },
            is_target_logit: node == Node::Logits,
        }
    }

    /// How probable the answer is after the clean prompt, where it is among the most probable.
    fn answer_prob(&self) -> Option<f64> {
        let answer = self.prompt.answers.first()?;
        let clean = self.prompt.runs.iter().find(|run| run.name == "clean")?;
        clean.top.iter().find(|token| token.id == answer.id).map(|token| token.prob)
    }
}

/// Lower-case letters, digits, and hyphens between them.
fn slug(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_has_nothing_an_address_would_escape() {
        assert_eq!(slug("GPT2/small logit_diff 12 edges"), "gpt2-small-logit-diff-12-edges");
    }
}
