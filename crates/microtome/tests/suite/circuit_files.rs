//! Circuits as pictures and as files of other programs.

use std::collections::{BTreeSet, HashMap};

use microtome::circuit::attribution_graph::attribution_graph;
use microtome::circuit::dot::dot;
use microtome::circuit::edge_attribution::{EdgeAttribution, GradientsAt};
use microtome::circuit::scores::Keep;
use microtome::circuit::{Circuit, Edge, EdgeScores, Node, Port};
use microtome::method::patch::Direction;
use microtome::metric::MetricId;
use microtome::model::Precision;
use microtome::plot::NodeKind;
use microtome::{Bos, Experiment, Method, Prompt, Record};
use serde_json::Value;

use crate::laws::{pair, toy};

/// A record of edge attribution, its scores, and the circuit of some 40 edges.
fn found(prompts: Vec<Prompt>) -> (Record, EdgeScores, Circuit) {
    let model = toy();
    let asked = Experiment {
        model: "any".to_owned(),
        weights: model.model().processing(),
        precision: Precision::F32,
        bos: Bos::Omit,
        prompts,
        method: Method::EdgeAttribution(EdgeAttribution {
            direction: Direction::Noise,
            gradients: GradientsAt::Base,
        }),
        metrics: vec![MetricId::named("logit_diff").unwrap()],
        read_at: None,
        seed: 0,
    };
    let record = asked.run_quietly(&model).unwrap();
    let scores = EdgeScores::of_record(&record).unwrap();
    let circuit = scores.circuit(40, Keep::Paths);
    assert!(circuit.edges.len() > 10);
    (record, scores, circuit)
}

#[test]
fn a_circuit_is_drawn_in_its_layers_by_its_scores() {
    let (record, scores, circuit) = found(vec![pair(1)]);
    let plot = scores.graph_plot(&circuit, &record.subtitle());
    plot.check().unwrap();
    let names: Vec<String> = circuit.nodes().into_iter().map(Node::label).collect();
    assert_eq!(plot.nodes.iter().map(|node| node.label.clone()).collect::<Vec<_>>(), names);
    let own: HashMap<Edge, f64> = scores.edges.iter().copied().collect();
    let drawn = plot.edges.iter().map(|edge| {
        let ends = [edge.from, edge.to].map(|end| plot.nodes[end].label.parse::<Node>().unwrap());
        let ports = [Port::Query, Port::Key, Port::Value, Port::Whole];
        let port = ports.into_iter().find(|port| port.letter() == edge.port).unwrap();
        (Edge::new(ends[0], ends[1], port), edge.score.unwrap())
    });
    let drawn: Vec<(Edge, f64)> = drawn.collect();
    assert_eq!(drawn.iter().map(|(edge, _)| *edge).collect::<BTreeSet<_>>(), circuit.edges);
    assert!(drawn.iter().all(|(edge, score)| *score == own[edge]));
    for (node, drawn) in circuit.nodes().into_iter().zip(&plot.nodes) {
        assert_eq!(drawn.score, scores.node(node), "{node}");
        assert_eq!(drawn.kind == NodeKind::End, node.component().is_none(), "{node}");
        let layer = match node {
            Node::Head { layer, .. } | Node::Mlp { layer } => format!("layer {layer}"),
            Node::Input | Node::Logits => String::new(),
        };
        assert_eq!(plot.rows[drawn.row], layer, "{node}");
    }
    assert!(
        plot.baseline.contains("what is lost") && plot.baseline.contains("estimated"),
        "{}",
        plot.baseline
    );
}

#[test]
fn dot_has_every_node_and_edge_of_the_circuit_under_the_names_of_the_eap_files() {
    let (record, scores, circuit) = found(vec![pair(1), pair(2)]);
    let text = dot(&scores, &circuit, &record.subtitle());
    let (mut nodes, mut edges) = (vec![], vec![]);
    for line in text.lines().filter(|line| line.contains("score=")) {
        let name = |text: &str| text.trim().trim_matches('"').parse::<Node>().unwrap();
        let (what, attributes) = line.split_once(" [").unwrap();
        let value = attributes.split("score=\"").nth(1).unwrap().split('"').next().unwrap();
        match what.split_once(" -> ") {
            Some((from, to)) => {
                let label = attributes.split("label=\"").nth(1).unwrap();
                edges.push((name(from), name(to), label.starts_with(['q', 'k', 'v']), value.to_owned()));
            }
            None => nodes.push((name(what), value.to_owned())),
        }
    }
    let own: HashMap<Edge, f64> = scores.edges.iter().copied().collect();
    let expected = circuit
        .edges
        .iter()
        .map(|edge| (edge.from, edge.to, edge.port != Port::Whole, own[edge].to_string()));
    assert_eq!(edges, expected.collect::<Vec<_>>());
    let scored = circuit.nodes().into_iter().filter_map(|node| Some((node, scores.node(node)?.to_string())));
    assert_eq!(nodes, scored.collect::<Vec<_>>());
    assert!(text.contains("\"logits\" ["));
    let ranks: BTreeSet<String> = circuit
        .nodes()
        .into_iter()
        .map(|node| match node {
            Node::Head { layer, .. } => format!("{layer} heads"),
            other => other.to_string(),
        })
        .collect();
    assert_eq!(text.matches("rank=same").count(), ranks.len());
}

#[test]
fn the_attribution_graph_is_that_of_the_schema_and_its_links_are_the_circuit() {
    let (record, scores, circuit) = found(vec![pair(1)]);
    let text = attribution_graph(&record, &scores, &circuit, 1_700_000_000_000).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let schema = serde_json::from_str(include_str!("attribution-graph.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let problems: Vec<String> = schema.iter_errors(&file).map(|problem| problem.to_string()).collect();
    assert_eq!(problems, Vec::<String>::new());
    // Or it would allow anything.
    for part in ["/metadata/slug", "/qParams/pinnedIds", "/nodes/0/layer", "/links/0/weight"] {
        let mut broken = file.clone();
        *broken.pointer_mut(part).unwrap() = Value::Null;
        assert!(!schema.is_valid(&broken), "{part}");
    }

    let nodes = file["nodes"].as_array().unwrap();
    let words = |node: &Value| node["clerp"].as_str().unwrap().split([' ', ':']).next().unwrap().to_owned();
    let named: HashMap<String, Node> = nodes
        .iter()
        .map(|node| (node["node_id"].as_str().unwrap().to_owned(), words(node).parse().unwrap()))
        .collect();
    assert_eq!(named.values().copied().collect::<BTreeSet<_>>(), circuit.nodes().into_iter().collect());
    assert_eq!(named.len(), nodes.len(), "ids are unique");
    let mut expected: HashMap<(Node, Node), f64> = HashMap::new();
    for (edge, score) in scores.edges.iter().filter(|(edge, _)| circuit.edges.contains(edge)) {
        *expected.entry((edge.from, edge.to)).or_default() += score;
    }
    let links = file["links"].as_array().unwrap();
    assert_eq!(links.len(), expected.len());
    for link in links {
        let end = |key: &str| named[link[key].as_str().unwrap()];
        let sum = expected[&(end("source"), end("target"))];
        // Three numbers at most are added, in one order or another.
        assert!((link["weight"].as_f64().unwrap() - sum).abs() <= 1e-12 * sum.abs().max(1.0));
    }
    let prompt = &record.results.prompts[0];
    assert_eq!(file["metadata"]["prompt_tokens"].as_array().unwrap().len(), prompt.clean.labels.len());
    let logits = nodes.iter().find(|node| node["feature_type"] == "logit").unwrap();
    assert_eq!(logits["feature"], prompt.answers[0].id);
    assert_eq!(logits["is_target_logit"], true);

    let (record, scores, circuit) = found(vec![pair(1), pair(2)]);
    let error = attribution_graph(&record, &scores, &circuit, 0).unwrap_err().to_string();
    assert!(error.contains("has 2"), "{error}");
}
