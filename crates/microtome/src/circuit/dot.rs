//! A circuit in DOT, the language of Graphviz.
//!
//! Nodes carry the names of the EAP files and are labelled as in the picture; a layer's heads share a rank, its MLP has
//! the next. Colours and widths are those of the picture, and `score` is an attribute of each node and edge. Draw it with
//! `dot -Tsvg`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::graph::{Circuit, Edge, Node};
use super::picture::row;
use super::scores::EdgeScores;
use crate::plot::number::short_signed;
use crate::plot::{ColorScale, ScaleKind};

/// Of the strongest edge, in points.
const WIDEST: f64 = 5.0;

/// The circuit as a DOT file, coloured by these scores.
pub fn dot(scores: &EdgeScores, circuit: &Circuit, subtitle: &str) -> String {
    let plot = scores.graph_plot(circuit, subtitle);
    let colors = plot.color_scale();
    let of_nodes = scores.node_scores();
    let of_edges: HashMap<Edge, f64> = scores.edges.iter().copied().collect();
    let strongest = circuit.edges.iter().filter_map(|edge| of_edges.get(edge)).map(|score| score.abs());
    let strongest = strongest.filter(|score| score.is_finite()).fold(0.0, f64::max);

    let mut out = String::from("digraph circuit {\n");
    let said = format!("{}\n{subtitle}\n{} Unit: {}.", plot.title, plot.baseline, plot.unit);
    let _ = writeln!(out, "  graph [rankdir=BT, label={}, labelloc=b, fontname=Helvetica];", quoted(&said));
    let _ = writeln!(out, "  node [shape=box, style=\"rounded,filled\", fontname=Helvetica, fontsize=11];");
    let _ = writeln!(out, "  edge [fontname=Helvetica, fontsize=9];");
    let mut ranks: BTreeMap<usize, Vec<Node>> = BTreeMap::new();
    for node in circuit.nodes() {
        ranks.entry(row(node, circuit.graph.n_layers)).or_default().push(node);
    }
    for rank in ranks.values() {
        out += "  {\n    rank=same;\n";
        for node in rank {
            let score = of_nodes.get(node).copied().filter(|score| score.is_finite());
            let color = score.filter(|_| node.component().is_some()).map(|score| colors.color(score));
            let fill = color.map_or("#ffffff".to_owned(), |color| color.hex());
            let ink = color.map_or("#1f1e1b".to_owned(), |color| color.ink().hex());
            let label =
                score.map_or(node.label(), |score| format!("{}\n{}", node.label(), short_signed(score)));
            let _ = write!(
                out,
                "    {} [label={}, fillcolor=\"{fill}\", fontcolor=\"{ink}\"",
                quoted(&node.to_string()),
                quoted(&label)
            );
            let _ = writeln!(
                out,
                "{}];",
                score.map_or(String::new(), |score| format!(", score={}", quoted(&score.to_string())))
            );
        }
        out += "  }\n";
    }
    // Ranks follow each other also where no edge leads from one to the next.
    let firsts: Vec<String> = ranks.values().map(|rank| quoted(&rank[0].to_string())).collect();
    for pair in firsts.windows(2) {
        let _ = writeln!(out, "  {} -> {} [style=invis];", pair[0], pair[1]);
    }
    let signs = ColorScale::fit(ScaleKind::Diverging, [1.0].into_iter());
    for edge in &circuit.edges {
        let (from, to) = (quoted(&edge.from.to_string()), quoted(&edge.to.to_string()));
        let port = edge.port.letter();
        let (label, more) = match of_edges.get(edge).copied().filter(|score| score.is_finite()) {
            Some(score) => {
                let width = if strongest > 0.0 { WIDEST * score.abs() / strongest } else { 0.0 };
                let more = format!(
                    ", color=\"{}\", penwidth={:.2}, score={}",
                    signs.color(0.8 * score.signum()).hex(),
                    width.max(0.4),
                    quoted(&score.to_string())
                );
                (format!("{port} {}", short_signed(score)).trim_start().to_owned(), more)
            }
            None => (port.to_owned(), ", style=dashed".to_owned()),
        };
        let _ = writeln!(out, "  {from} -> {to} [label={}{more}];", quoted(&label));
    }
    out + "}\n"
}

/// A string of DOT; it knows no escape but that of a quote, and `\n` and its like in labels.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\r', "").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_backslashes_and_line_ends_are_escaped() {
        assert_eq!(quoted("a \"b\"\n\\n"), r#""a \"b\"\n\\n""#);
    }
}
