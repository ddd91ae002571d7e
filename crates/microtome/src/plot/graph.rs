//! A graph in rows: nodes coloured by their scores, edges as wide as theirs are strong.
//!
//! Edges run upwards, from what writes to what reads; row 0 is at the bottom, as the residual stream begins. An edge over
//! several rows passes beside the nodes there. Of more than [`MAX_EDGES`] edges the strongest are drawn, and the legend
//! says so, as it says when scores are missing or infinite.

mod draw;
mod layout;

use super::PlotError;
use super::scale::{ColorScale, ScaleKind};

/// The most edges drawn.
pub const MAX_EDGES: usize = 2000;

/// Nodes in rows, and edges between them.
///
/// # Example
///
/// ```
/// use microtome::plot::{GraphEdge, GraphNode, GraphPlot, NodeKind};
///
/// let node = |label: &str, row, kind, score| GraphNode { label: label.into(), row, kind, score };
/// let plot = GraphPlot {
///     title: "A circuit of two edges".into(),
///     subtitle: "When Mary and John went to the store".into(),
///     rows: vec!["".into(), "L0".into(), "".into()],
///     nodes: vec![
///         node("input", 0, NodeKind::End, None),
///         node("L0H1", 1, NodeKind::Component, Some(0.8)),
///         node("logits", 2, NodeKind::End, None),
///     ],
///     edges: vec![
///         GraphEdge { from: 0, to: 1, port: "v".into(), score: Some(0.5) },
///         GraphEdge { from: 1, to: 2, port: "".into(), score: Some(0.8) },
///     ],
///     unit: "logits".into(),
///     baseline: "0 is an edge that does not matter".into(),
/// };
/// plot.check()?;
/// assert!(plot.to_svg().starts_with("<svg"));
/// # Ok::<(), microtome::plot::PlotError>(())
/// ```
#[derive(Clone, Debug)]
pub struct GraphPlot {
    /// What is shown.
    pub title: String,
    /// On what: the prompt, the model and the weights.
    pub subtitle: String,
    /// Names of the rows from the bottom; rows of one name that follow each other are one layer.
    pub rows: Vec<String>,
    /// The nodes; of one row, left to right where edges have no other wish.
    pub nodes: Vec<GraphNode>,
    /// The edges.
    pub edges: Vec<GraphEdge>,
    /// What a score counts.
    pub unit: String,
    /// What a score is, and what 0 means.
    pub baseline: String,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphNode {
    /// Its name.
    pub label: String,
    /// Its row, 0 at the bottom.
    pub row: usize,
    /// Whether it is coloured.
    pub kind: NodeKind,
    /// Its score. NaN is drawn as missing, infinities in the colour of the end of the scale.
    pub score: Option<f64>,
}

/// Whether a node is coloured by its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// It is, and counts for the scale.
    Component,
    /// It is not: where everything comes from or goes to, its score would outshine all others.
    End,
}

/// An edge.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphEdge {
    /// Index of the node that writes.
    pub from: usize,
    /// Index of the node that reads, in a higher row.
    pub to: usize,
    /// At which of its inputs, `q`, `k` or `v`; empty where it has one.
    pub port: String,
    /// Its score. NaN is drawn as missing, infinities as wide as the strongest.
    pub score: Option<f64>,
}

impl GraphPlot {
    /// Checks that every edge leads from a node to one in a higher row.
    ///
    /// # Errors
    /// [`PlotError::EdgeEnds`] where one does not. Drawing does not need the check: such edges are left out, and the legend
    /// counts them.
    pub fn check(&self) -> Result<(), PlotError> {
        match self.edges.iter().position(|edge| !self.leads_up(edge)) {
            None => Ok(()),
            Some(index) => Err(PlotError::EdgeEnds { title: self.title.clone(), index }),
        }
    }

    /// The graph as an SVG document.
    pub fn to_svg(&self) -> String {
        draw::draw(self)
    }

    /// The colours of nodes.
    pub fn color_scale(&self) -> ColorScale {
        let coloured = self.nodes.iter().filter(|node| node.kind == NodeKind::Component);
        ColorScale::fit(ScaleKind::Diverging, coloured.filter_map(|node| node.score))
    }

    fn leads_up(&self, edge: &GraphEdge) -> bool {
        match (self.nodes.get(edge.from), self.nodes.get(edge.to)) {
            (Some(from), Some(to)) => from.row < to.row,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::svg_to_png;
    use resvg::usvg::roxmltree::{Document, Node};

    /// A node in each of several rows of several layers, and an edge between any two that may have one.
    fn dense(n_layers: usize, n_heads: usize) -> GraphPlot {
        let node =
            |label: String, row: usize, kind: NodeKind| GraphNode { label, row, kind, score: Some(0.0) };
        let mut nodes = vec![node("input".into(), 0, NodeKind::End)];
        for layer in 0..n_layers {
            let head = |head| node(format!("L{layer}H{head}"), 2 * layer + 1, NodeKind::Component);
            nodes.extend((0..n_heads).map(head));
            nodes.push(node(format!("m{layer}"), 2 * layer + 2, NodeKind::Component));
        }
        nodes.push(node("logits".into(), 2 * n_layers + 1, NodeKind::End));
        let mut edges = vec![];
        for (from, a) in nodes.iter().enumerate() {
            for (to, b) in nodes.iter().enumerate().filter(|(_, b)| b.row > a.row) {
                let ports: &[&str] = if b.label.contains('H') { &["q", "k", "v"] } else { &[""] };
                for port in ports {
                    let score = ((from * 31 + to * 17 + edges.len()) as f64).sin();
                    edges.push(GraphEdge { from, to, port: (*port).into(), score: Some(score) });
                }
            }
        }
        for (index, node) in nodes.iter_mut().enumerate() {
            node.score = Some((index as f64).cos());
        }
        let layer = |layer: usize| [format!("layer {layer}"), format!("layer {layer}")];
        let rows = [String::new()].into_iter().chain((0..n_layers).flat_map(layer)).chain([String::new()]);
        GraphPlot {
            title: "Title".into(),
            subtitle: "Subtitle".into(),
            rows: rows.collect(),
            nodes,
            edges,
            unit: "logits".into(),
            baseline: "0 is nothing".into(),
        }
    }

    fn texts(document: &Document<'_>) -> Vec<String> {
        let text =
            |n: Node<'_, '_>| n.descendants().filter_map(|d| d.text().filter(|_| d.is_text())).collect();
        document.descendants().filter(|n| n.has_tag_name("text")).map(text).collect()
    }

    /// Elements of a class with their tooltips.
    fn of_class<'a>(document: &'a Document<'a>, class: &str) -> Vec<(Node<'a, 'a>, String)> {
        let with_title = |n: Node<'a, 'a>| {
            let title = n.children().find(|child| child.has_tag_name("title"));
            (n, title.and_then(|title| title.text()).unwrap_or_default().to_owned())
        };
        document.descendants().filter(|n| n.attribute("class") == Some(class)).map(with_title).collect()
    }

    fn number(node: &Node<'_, '_>, key: &str) -> f64 {
        node.attribute(key).and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
    }

    #[test]
    fn every_node_and_edge_is_drawn_once() {
        let plot = dense(2, 2);
        plot.check().expect("all edges lead up");
        let svg = plot.to_svg();
        let document = Document::parse(&svg).expect("well-formed");
        let (nodes, edges) = (of_class(&document, "node"), of_class(&document, "edge"));
        assert_eq!((nodes.len(), edges.len()), (plot.nodes.len(), plot.edges.len()));
        let mut expected: Vec<String> = plot
            .edges
            .iter()
            .map(|edge| {
                let port = if edge.port.is_empty() { String::new() } else { format!(" {}", edge.port) };
                format!("{} → {}{port}:", plot.nodes[edge.from].label, plot.nodes[edge.to].label)
            })
            .collect();
        let mut drawn: Vec<String> = edges
            .iter()
            .map(|(_, title)| format!("{}:", title.rsplit_once(':').unwrap_or_default().0))
            .collect();
        expected.sort();
        drawn.sort();
        assert_eq!(drawn, expected);
        let written = texts(&document);
        for node in &plot.nodes {
            assert_eq!(written.iter().filter(|text| **text == node.label).count(), 1, "{}", node.label);
        }
        for text in
            ["Title", "Subtitle", "nodes, logits", "edges, logits", "0 is nothing", "layer 0", "layer 1", "q"]
        {
            assert!(written.iter().any(|written| written == text), "{text} not in {written:?}");
        }
        assert_eq!(written.iter().filter(|text| *text == "layer 1").count(), 1, "one band has one name");
    }

    #[test]
    fn layers_rise_and_an_edge_is_as_wide_as_it_is_strong() {
        let mut plot = dense(2, 1);
        plot.edges.truncate(3);
        for (edge, score) in plot.edges.iter_mut().zip([1.0, -0.5, 0.0001]) {
            edge.score = Some(score);
        }
        let svg = plot.to_svg();
        let document = Document::parse(&svg).expect("well-formed");
        let tops: Vec<f64> = of_class(&document, "node")
            .iter()
            .filter_map(|(node, _)| Some(number(&node.children().find(|n| n.has_tag_name("rect"))?, "y")))
            .collect();
        assert!(tops.windows(2).all(|pair| pair[1] < pair[0]), "{tops:?}");
        let edges = of_class(&document, "edge");
        let widths: Vec<f64> = edges.iter().map(|(edge, _)| number(edge, "stroke-width")).collect();
        assert_eq!(widths, [0.7, 3.0, 6.0], "the weakest first, under the others");
        let color = |index: usize| edges[index].0.attribute("stroke");
        assert!(color(0) == color(2) && color(0) != color(1));
    }

    /// Points of a path of `M`, `V` and `C`.
    fn points(path: &str) -> Vec<(f64, f64)> {
        let (mut at, mut points) = ((0.0, 0.0), vec![]);
        let mut rest = path;
        while let Some(command) = rest.chars().next() {
            let end = rest[1..].find(['M', 'V', 'C']).map_or(rest.len(), |end| end + 1);
            let n: Vec<f64> = rest[1..end].split(' ').map(|n| n.parse().expect("a number")).collect();
            let from = at;
            let steps = (0..=20).map(|step| f64::from(step) / 20.0);
            match (command, &n[..]) {
                ('V', [y]) => {
                    points.extend(steps.map(|t| (from.0, from.1 + (y - from.1) * t)));
                    at = (from.0, *y);
                }
                ('C', [x1, y1, x2, y2, x, y]) => {
                    let mix = |t: f64, a: f64, b: f64, c: f64, d: f64| {
                        let s = 1.0 - t;
                        s * s * s * a + 3.0 * s * s * t * b + 3.0 * s * t * t * c + t * t * t * d
                    };
                    points
                        .extend(steps.map(|t| (mix(t, from.0, *x1, *x2, *x), mix(t, from.1, *y1, *y2, *y))));
                    at = (*x, *y);
                }
                ('M', [x, y]) => at = (*x, *y),
                other => panic!("{other:?} in {path}"),
            }
            rest = &rest[end..];
        }
        points
    }

    #[test]
    fn no_edge_runs_through_a_node_but_its_ends() {
        let svg = dense(4, 3).to_svg();
        let document = Document::parse(&svg).expect("well-formed");
        let boxes: Vec<(String, [f64; 4])> = of_class(&document, "node")
            .iter()
            .filter_map(|(node, title)| {
                let rect = node.children().find(|n| n.has_tag_name("rect"))?;
                let name = title.split(':').next()?.to_owned();
                Some((name, ["x", "y", "width", "height"].map(|key| number(&rect, key))))
            })
            .collect();
        for (edge, title) in of_class(&document, "edge") {
            let ends: Vec<&str> = title.split([' ', ':']).collect();
            for (x, y) in points(edge.attribute("d").unwrap_or_default()) {
                let inside = |at: &[f64; 4]| {
                    x > at[0] && x < at[0] + at[2] && y > at[1] + 0.1 && y < at[1] + at[3] - 0.1
                };
                let hit = boxes.iter().find(|(_, at)| inside(at));
                assert!(hit.is_none(), "{title} ({ends:?}) runs through {hit:?} at {x}, {y}");
            }
        }
        for (a, (name, one)) in boxes.iter().enumerate() {
            for (other_name, other) in &boxes[a + 1..] {
                let apart = one[0] + one[2] <= other[0]
                    || other[0] + other[2] <= one[0]
                    || one[1] + one[3] <= other[1]
                    || other[1] + other[3] <= one[1];
                assert!(apart, "{name} overlaps {other_name}");
            }
        }
    }

    #[test]
    fn labels_and_titles_are_escaped_and_newlines_made_visible() {
        let mut plot = dense(1, 1);
        plot.title = "a < b & \"c\"".into();
        plot.nodes[1].label = "<L0>\n".into();
        let svg = plot.to_svg();
        let document = Document::parse(&svg).expect("well-formed");
        let written = texts(&document);
        for expected in ["a < b & \"c\"", "<L0>⏎"] {
            assert!(written.iter().any(|text| text == expected), "{expected} not in {written:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_drawn_as_missing_and_counted_in_the_legend() {
        let mut plot = dense(2, 2);
        plot.nodes[1].score = None;
        plot.nodes[2].score = Some(f64::NAN);
        plot.nodes[3].score = Some(f64::INFINITY);
        plot.edges[0].score = Some(f64::NEG_INFINITY);
        plot.edges[1].score = Some(f64::NAN);
        plot.edges[2].score = None;
        let svg = plot.to_svg();
        let document = Document::parse(&svg).expect("well-formed");
        let written = texts(&document).join(" ");
        for expected in
            ["2 nodes without a score", "1 node infinite", "2 edges without a score", "1 edge infinite"]
        {
            assert!(written.contains(expected), "{expected} not in {written}");
        }
        let coordinates = document.descendants().filter(|n| n.is_element()).flat_map(|n| n.attributes());
        assert!(coordinates.clone().all(|a| !a.value().contains("NaN") && !a.value().contains("inf")));
        for values in [[f64::MAX, f64::MIN], [0.0, 0.0], [1e-300, -1e-300]] {
            let mut plot = dense(1, 1);
            for (node, value) in plot.nodes.iter_mut().zip(values) {
                node.score = Some(value);
            }
            for (edge, value) in plot.edges.iter_mut().zip(values) {
                edge.score = Some(value);
            }
            svg_to_png(&plot.to_svg(), 1.0).expect("a picture");
        }
    }

    #[test]
    fn an_edge_that_does_not_lead_up_is_an_error_on_check_and_left_out_when_drawn() {
        let last = dense(1, 1).nodes.len() - 1;
        for (from, to) in [(last, 0), (1, 1), (0, 99)] {
            let mut plot = dense(1, 1);
            let sound = plot.edges.len();
            plot.edges.push(GraphEdge { from, to, port: String::new(), score: Some(1.0) });
            let message = plot.check().expect_err("a misled edge").to_string();
            assert!(message.contains(&format!("edge {sound}")), "{message}");
            let svg = plot.to_svg();
            let document = Document::parse(&svg).expect("well-formed");
            assert_eq!(of_class(&document, "edge").len(), sound);
            assert!(texts(&document).join(" ").contains("1 edge that does not lead up"));
        }
    }

    #[test]
    fn of_too_many_edges_the_strongest_are_drawn_and_the_legend_says_so() {
        let mut plot = dense(1, 1);
        let one = GraphEdge { from: 0, to: 1, port: "q".into(), score: None };
        let many = |index: usize| GraphEdge { score: Some(index as f64), ..one.clone() };
        plot.edges = (0..MAX_EDGES + 5).map(many).collect();
        let svg = plot.to_svg();
        let document = Document::parse(&svg).expect("well-formed");
        let edges = of_class(&document, "edge");
        assert_eq!(edges.len(), MAX_EDGES);
        assert_eq!(edges[0].1, "input → L0H0 q: +5 logits");
        assert!(texts(&document).join(" ").contains("5 edges weaker than those drawn"));
    }

    #[test]
    fn an_empty_graph_says_so_and_the_same_graph_is_the_same_text() {
        let empty = GraphPlot { nodes: vec![], edges: vec![], ..dense(1, 1) };
        let svg = empty.to_svg();
        assert!(texts(&Document::parse(&svg).expect("well-formed")).join(" ").contains("no nodes"));
        assert_eq!(dense(3, 3).to_svg(), dense(3, 3).to_svg());
    }
}
