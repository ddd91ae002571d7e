//! A graph as SVG: bands of rows, edges from the weakest to the strongest, nodes, legend.

use std::collections::BTreeMap;

use super::layout::{Block, Layout, Link, place};
use super::{GraphEdge, GraphNode, GraphPlot, MAX_EDGES, NodeKind};
use crate::plot::color_bar::{self, BAR_HEIGHT, BAR_WIDTH};
use crate::plot::label::{Label, sans_width};
use crate::plot::number::{NumberFormat, count, short_signed};
use crate::plot::scale::{ColorScale, MISSING, Rgb, ScaleKind};
use crate::plot::sheet::{Header, INK, PAD, PANEL, QUIET, draw_notes, notes, notes_height, quiet};
use crate::plot::svg::{Anchor, Svg, TextStyle, px};

const LABEL_SIZE: f64 = 11.5;
const SMALL: f64 = 9.5;
/// Of the strongest edge.
const WIDEST: f64 = 6.0;
/// Thinner lines cannot be seen.
const THINNEST: f64 = 0.7;
/// Free space above and below the nodes of a row, through which edges pass straight.
const CLEAR: f64 = 4.0;
const BAND: &str = "#f6f5f1";

/// Everything about the picture that is known before it is drawn.
struct Picture<'a> {
    plot: &'a GraphPlot,
    /// The edges drawn, the weakest first.
    edges: Vec<&'a GraphEdge>,
    /// Edges that do not lead up.
    n_misled: usize,
    /// Edges left out as too many.
    n_weaker: usize,
    /// The rows that have nodes, from the bottom.
    used: Vec<usize>,
    /// Of every node, its row among those.
    rows: Vec<usize>,
    boxes: Vec<Boxed>,
    layout: Layout,
    colors: ColorScale,
    strongest: f64,
    format: NumberFormat,
}

/// What a node takes.
struct Boxed {
    width: f64,
    height: f64,
    /// Inputs that edges enter, left to right.
    ports: Vec<String>,
}

pub(super) fn draw(plot: &GraphPlot) -> String {
    let picture = Picture::of(plot);
    let names: Vec<&str> = picture.row_names();
    let names_width = names.iter().map(|name| sans_width(name, 11.0)).fold(0.0, f64::max);
    let left = PAD + if names_width > 0.0 { names_width.ceil() + 18.0 } else { 10.0 };
    let right_pad = 10.0;

    let wish = sans_width(&plot.title, 16.0).max(sans_width(&plot.subtitle, 12.0));
    let graph_width = left - PAD + picture.layout.width + right_pad;
    let content = graph_width.max(wish.min(560.0)).max(440.0).ceil();
    // A small graph stands in the middle.
    let x = left + ((content - graph_width) / 2.0).max(0.0);

    let header = Header::new(&plot.title, &plot.subtitle, content);
    let top = header.bottom();
    let rows = Rows::of(&picture, top + 8.0);
    let is_empty = plot.nodes.is_empty();
    let below = if is_empty { top + 40.0 } else { rows.bottom + 8.0 };
    let bar_y = below + 22.0;
    let edges_y = bar_y + BAR_HEIGHT + 38.0;
    let said: Vec<String> =
        [picture.oddities(), plot.baseline.clone()].into_iter().filter(|text| !text.is_empty()).collect();
    let said: Vec<String> = said.iter().flat_map(|text| notes(text, content)).collect();
    let notes_y = edges_y + 24.0;
    let end = if said.is_empty() { edges_y + 6.0 } else { notes_y + notes_height(&said) - 13.0 };
    let size = ((PAD * 2.0 + content).ceil(), (end + PAD).ceil());

    let mut svg = Svg::new(size.0, size.1);
    header.draw(&mut svg, size);
    if is_empty {
        svg.text((PAD, top + 22.0), "nothing to draw: no nodes", quiet(12.5, Anchor::Start));
    } else {
        picture.bands(&mut svg, &rows, (PAD, content));
        picture.draw_edges(&mut svg, &rows, x);
        picture.draw_nodes(&mut svg, &rows, x);
    }
    let unit = match plot.unit.as_str() {
        "" => "nodes".to_owned(),
        unit => format!("nodes, {unit}"),
    };
    color_bar::draw(&mut svg, &picture.colors, &unit, (PAD, bar_y));
    picture.edge_key(&mut svg, (PAD, edges_y));
    draw_notes(&mut svg, (PAD, notes_y), &said);
    svg.finish(&plot.title)
}

impl<'a> Picture<'a> {
    fn of(plot: &'a GraphPlot) -> Picture<'a> {
        let mut edges: Vec<&GraphEdge> = plot.edges.iter().filter(|edge| plot.leads_up(edge)).collect();
        let n_misled = plot.edges.len() - edges.len();
        edges.sort_by(|a, b| size_of(b).total_cmp(&size_of(a)));
        let n_weaker = edges.len().saturating_sub(MAX_EDGES);
        edges.truncate(MAX_EDGES);
        edges.reverse();
        let strongest = edges.iter().map(|edge| size_of(edge)).filter(|size| size.is_finite());
        let strongest = strongest.fold(0.0, f64::max);

        let mut used: Vec<usize> = plot.nodes.iter().map(|node| node.row).collect();
        used.sort_unstable();
        used.dedup();
        let rows: Vec<usize> =
            plot.nodes.iter().map(|node| used.binary_search(&node.row).unwrap_or_default()).collect();

        let components = plot.nodes.iter().filter(|node| node.kind == NodeKind::Component);
        let format = NumberFormat::fit(components.filter_map(|node| node.score));
        let mut ports: Vec<Vec<String>> = vec![vec![]; plot.nodes.len()];
        for edge in plot.edges.iter().filter(|edge| plot.leads_up(edge) && !edge.port.is_empty()) {
            let of = &mut ports[edge.to];
            if !of.contains(&edge.port) {
                of.push(edge.port.clone());
            }
        }
        let boxes: Vec<Boxed> =
            plot.nodes.iter().zip(ports).map(|(node, ports)| Boxed::of(node, ports, format)).collect();
        let blocks: Vec<Block> =
            rows.iter().zip(&boxes).map(|(&row, of)| Block { row, width: of.width }).collect();
        let link = |edge: &&GraphEdge| Link {
            from: edge.from,
            to: edge.to,
            width: stroke(edge, strongest),
            shift: boxes[edge.to].port_x(&edge.port),
        };
        let layout = place(&blocks, &edges.iter().map(link).collect::<Vec<_>>());
        let colors = plot.color_scale();
        Picture { plot, edges, n_misled, n_weaker, used, rows, boxes, layout, colors, strongest, format }
    }

    /// Names of the rows that have nodes.
    fn row_names(&self) -> Vec<&'a str> {
        let name = |row: &usize| self.plot.rows.get(*row).map_or("", String::as_str);
        self.used.iter().map(name).collect()
    }

    /// One band behind each layer, and its name.
    fn bands(&self, svg: &mut Svg, rows: &Rows, (x, width): (f64, f64)) {
        let names = self.row_names();
        let mut first = 0;
        for layer in names.chunk_by(|a, b| a == b && !a.is_empty()) {
            let last = first + layer.len() - 1;
            if !layer[0].is_empty() {
                let (top, bottom) = (rows.top(last) - 4.0, rows.floor(first) + 4.0);
                svg.rect((x, top), (width, bottom - top), 6.0, BAND);
                let style = TextStyle { fill: INK, ..quiet(11.0, Anchor::Start) };
                svg.text((x + 8.0, (top + bottom) / 2.0 + 4.0), layer[0], style);
            }
            first = last + 1;
        }
    }

    /// Where an edge leaves or enters its nodes: beside the others at the same place, in the order of where they lead.
    fn ends(&self) -> (Vec<f64>, Vec<f64>) {
        let mut leaving: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut entering: BTreeMap<(usize, &str), Vec<usize>> = BTreeMap::new();
        for (index, edge) in self.edges.iter().enumerate() {
            leaving.entry(edge.from).or_default().push(index);
            entering.entry((edge.to, &edge.port)).or_default().push(index);
        }
        let x = &self.layout.x;
        let next = |index: usize| {
            let edge = self.edges[index];
            let end = || x[edge.to] + self.boxes[edge.to].port_x(&edge.port);
            self.layout.ways[index].first().copied().unwrap_or_else(end)
        };
        let last = |index: usize| {
            self.layout.ways[index].last().copied().unwrap_or_else(|| x[self.edges[index].from])
        };
        let (mut starts, mut ends) = (vec![0.0; self.edges.len()], vec![0.0; self.edges.len()]);
        for (node, mut of) in leaving {
            of.sort_by(|a, b| next(*a).total_cmp(&next(*b)));
            self.side_by_side(&of, x[node], self.boxes[node].width - 12.0, &mut starts);
        }
        for ((node, port), mut of) in entering {
            of.sort_by(|a, b| last(*a).total_cmp(&last(*b)));
            let own = &self.boxes[node];
            let room =
                own.width / own.ports.len().max(1) as f64 - if own.ports.len() > 1 { 4.0 } else { 12.0 };
            self.side_by_side(&of, x[node] + own.port_x(port), room, &mut ends);
        }
        (starts, ends)
    }

    fn side_by_side(&self, edges: &[usize], middle: f64, room: f64, at: &mut [f64]) {
        let width = |index: &usize| stroke(self.edges[*index], self.strongest) + 0.4;
        let total: f64 = edges.iter().map(width).sum();
        let squeeze = (room.max(2.0) / total).min(1.0);
        let mut x = middle - total * squeeze / 2.0;
        for index in edges {
            at[*index] = x + width(index) * squeeze / 2.0;
            x += width(index) * squeeze;
        }
    }

    fn draw_edges(&self, svg: &mut Svg, rows: &Rows, x: f64) {
        let (starts, ends) = self.ends();
        for (index, edge) in self.edges.iter().enumerate() {
            let (low, high) = (self.rows[edge.from], self.rows[edge.to]);
            let top_of = |node: usize, row: usize| rows.middle(row) - self.boxes[node].height / 2.0;
            let mut at = (x + starts[index], top_of(edge.from, low));
            // From the box up to where the row ends, then from row to row, straight through each.
            let mut path = format!("M{} {}V{}", px(at.0), px(at.1), px(rows.top(low)));
            at.1 = rows.top(low);
            for (row, way) in (low + 1..high).zip(&self.layout.ways[index]) {
                path += &curve(at, (x + way, rows.floor(row)));
                path += &format!("V{}", px(rows.top(row)));
                at = (x + way, rows.top(row));
            }
            let end = (x + ends[index], rows.floor(high));
            path += &curve(at, end);
            let foot = rows.middle(high) + self.boxes[edge.to].height / 2.0;
            path += &format!("V{}", px(foot));
            let color = edge_color(edge);
            let mut attributes: Vec<(&str, &dyn std::fmt::Display)> =
                vec![("class", &"edge"), ("d", &path), ("fill", &"none"), ("stroke", &color)];
            let width = px(stroke(edge, self.strongest));
            attributes
                .extend([("stroke-width", &width as &dyn std::fmt::Display), ("stroke-opacity", &"0.82")]);
            if !size_of(edge).is_finite() {
                attributes.push(("stroke-dasharray", &"3 2"));
            }
            svg.open("path", &attributes);
            svg.tooltip(&self.edge_text(edge));
            svg.close("path");
        }
    }

    fn edge_text(&self, edge: &GraphEdge) -> String {
        let label = |node: usize| Label::of(&self.plot.nodes[node].label).text();
        let port = if edge.port.is_empty() { String::new() } else { format!(" {}", edge.port) };
        let score = match edge.score {
            Some(score) if !score.is_nan() => format!("{} {}", short_signed(score), self.plot.unit),
            _ => "no score".to_owned(),
        };
        format!("{} → {}{port}: {score}", label(edge.from), label(edge.to)).trim_end().to_owned()
    }

    fn draw_nodes(&self, svg: &mut Svg, rows: &Rows, x: f64) {
        for (index, node) in self.plot.nodes.iter().enumerate() {
            let own = &self.boxes[index];
            let middle = (x + self.layout.x[index], rows.middle(self.rows[index]));
            self.draw_node(svg, node, own, middle);
        }
    }

    fn draw_node(&self, svg: &mut Svg, node: &GraphNode, own: &Boxed, (x, y): (f64, f64)) {
        let label = Label::of(&node.label);
        let score = node.score.filter(|score| !score.is_nan());
        let color = match (node.kind, score) {
            (NodeKind::Component, Some(score)) => Some(self.colors.color(score)),
            _ => None,
        };
        svg.open("g", &[("class", &"node")]);
        let said = match score {
            Some(score) => format!("{}: {} {}", label.text(), short_signed(score), self.plot.unit),
            None => label.text(),
        };
        svg.tooltip(said.trim_end());
        let fill = color.map_or(PANEL.to_owned(), Rgb::hex);
        let is_missing = node.kind == NodeKind::Component && score.is_none();
        let mut attributes: Vec<(&str, String)> = vec![
            ("x", px(x - own.width / 2.0)),
            ("y", px(y - own.height / 2.0)),
            ("width", px(own.width)),
            ("height", px(own.height)),
            ("rx", "5".to_owned()),
            ("fill", fill),
            ("stroke", if is_missing { MISSING.hex() } else { "#b9b6ad".to_owned() }),
        ];
        if is_missing {
            attributes.push(("stroke-dasharray", "3 2".to_owned()));
        }
        let attributes: Vec<(&str, &dyn std::fmt::Display)> =
            attributes.iter().map(|(key, value)| (*key, value as &dyn std::fmt::Display)).collect();
        svg.element("rect", &attributes);
        let ink = color.map_or(INK.to_owned(), |color| color.ink().hex());
        let style = |size: f64, weight: u16| TextStyle { fill: &ink, weight, ..quiet(size, Anchor::Middle) };
        let mut baseline =
            y - own.height / 2.0 + if node.score.is_some() { 13.5 } else { own.height / 2.0 + 4.0 };
        if !own.ports.is_empty() && node.score.is_none() {
            baseline -= 5.0;
        }
        svg.label((x, baseline), &label, style(LABEL_SIZE, 600));
        if let Some(score) = node.score {
            svg.text((x, baseline + 11.5), &self.format.signed(score), style(SMALL, 400));
        }
        for port in &own.ports {
            let at = (x + own.port_x(port), y + own.height / 2.0 - 3.5);
            svg.text(at, port, style(SMALL, 400));
        }
        svg.close("g");
    }

    /// What widths and colours of edges mean.
    fn edge_key(&self, svg: &mut Svg, (x, y): (f64, f64)) {
        let strongest = |sign: f64| {
            let sizes = self.edges.iter().filter_map(|edge| edge.score).map(|score| score * sign);
            sign * sizes.filter(|size| size.is_finite()).fold(0.0, f64::max)
        };
        let mut at = x;
        for score in [1.0, -1.0].map(strongest) {
            let shares: &[f64] = match score.abs() / self.strongest {
                // A quarter of it would be as thin as anything can be.
                small if small < 4.0 * THINNEST / WIDEST => &[1.0],
                _ => &[1.0, 0.25],
            };
            for share in shares.iter().filter(|_| score != 0.0) {
                let edge = GraphEdge { from: 0, to: 0, port: String::new(), score: Some(score * share) };
                let (from, to) = ((at, y - 4.0), (at + 26.0, y - 4.0));
                svg.line(from, to, &edge_color(&edge), stroke(&edge, self.strongest));
                let text = short_signed(rounded(score * share));
                svg.text((at + 32.0, y), &text, quiet(11.0, Anchor::Start));
                at += 32.0 + sans_width(&text, 11.0) + 14.0;
            }
        }
        let after = (x + BAR_WIDTH + 12.0).max(at);
        let text = match (self.strongest > 0.0, self.plot.unit.as_str()) {
            (false, _) => "edges".to_owned(),
            (true, "") => "edges, as wide as they are strong".to_owned(),
            (true, unit) => format!("edges, {unit}"),
        };
        svg.text((after, y), &text, TextStyle { fill: QUIET, ..quiet(12.0, Anchor::Start) });
    }

    /// What the reader would not see.
    fn oddities(&self) -> String {
        let coloured = self.plot.nodes.iter().filter(|node| node.kind == NodeKind::Component);
        let nodes: Vec<Option<f64>> = coloured.map(|node| node.score).collect();
        let edges: Vec<Option<f64>> = self.edges.iter().map(|edge| edge.score).collect();
        let missing = |of: &[Option<f64>]| of.iter().filter(|score| score.is_none_or(f64::is_nan)).count();
        let infinite =
            |of: &[Option<f64>]| of.iter().filter(|score| score.is_some_and(f64::is_infinite)).count();
        let counted = [
            (missing(&nodes), "without a score, dashed", "node"),
            (infinite(&nodes), "infinite, in the end colour", "node"),
            (missing(&edges), "without a score, dashed", "edge"),
            (infinite(&edges), "infinite, dashed", "edge"),
            (self.n_misled, "that does not lead up, left out", "edge"),
            (self.n_weaker, "weaker than those drawn, left out", "edge"),
        ];
        let said = counted.iter().filter(|(n, ..)| *n > 0).map(|(n, what, of)| {
            let plural = if *n == 1 { "" } else { "s" };
            format!("{} {of}{plural} {what}", count(*n))
        });
        said.collect::<Vec<_>>().join("; ")
    }
}

impl Boxed {
    fn of(node: &GraphNode, ports: Vec<String>, format: NumberFormat) -> Boxed {
        let mut ports = ports;
        // As a head reads: queries, keys, values; anything else by its name.
        let place = |port: &String| ["q", "k", "v"].iter().position(|known| known == port).unwrap_or(3);
        ports.sort_by(|a, b| (place(a), a).cmp(&(place(b), b)));
        let score = node.score.map_or(0.0, |score| sans_width(&format.signed(score), SMALL));
        let inner = (sans_width(&Label::of(&node.label).text(), LABEL_SIZE) * 1.04).max(score);
        let ports_width = ports.iter().map(|port| sans_width(port, SMALL) + 10.0).sum::<f64>();
        Boxed {
            width: (inner + 12.0).max(ports_width).max(44.0).ceil(),
            height: 20.0
                + if node.score.is_some() { 11.0 } else { 0.0 }
                + if ports.is_empty() { 0.0 } else { 10.0 },
            ports,
        }
    }

    /// Where an input stands, from the middle.
    fn port_x(&self, port: &str) -> f64 {
        match self.ports.iter().position(|own| own == port) {
            Some(index) => self.width * ((index as f64 + 0.5) / self.ports.len() as f64 - 0.5),
            None => 0.0,
        }
    }
}

/// Where rows lie.
struct Rows {
    /// Middle and half the height of every row that has nodes.
    at: Vec<(f64, f64)>,
    bottom: f64,
}

impl Rows {
    fn of(picture: &Picture<'_>, top: f64) -> Rows {
        let n = picture.rows.iter().map(|row| row + 1).max().unwrap_or(0);
        let mut halves = vec![0.0_f64; n];
        for (row, own) in picture.rows.iter().zip(&picture.boxes) {
            halves[*row] = halves[*row].max(own.height / 2.0 + CLEAR);
        }
        // Edges that go far to the side need height to do so.
        let mut sideways = vec![0.0_f64; n];
        for (index, edge) in picture.edges.iter().enumerate() {
            let layout = &picture.layout;
            let (low, high) = (picture.rows[edge.from], picture.rows[edge.to]);
            let ways = layout.ways[index].iter().copied();
            let stops: Vec<f64> =
                std::iter::once(layout.x[edge.from]).chain(ways).chain([layout.x[edge.to]]).collect();
            for (row, pair) in (low + 1..=high).zip(stops.windows(2)) {
                sideways[row] = sideways[row].max((pair[1] - pair[0]).abs());
            }
        }
        let mut at = vec![(0.0, 0.0); n];
        let mut y = top;
        for row in (0..n).rev() {
            at[row] = (y + halves[row], halves[row]);
            y += 2.0 * halves[row] + if row > 0 { (16.0 + 0.11 * sideways[row]).min(84.0) } else { 0.0 };
        }
        Rows { at, bottom: y }
    }

    fn middle(&self, row: usize) -> f64 {
        self.at[row].0
    }

    fn top(&self, row: usize) -> f64 {
        self.at[row].0 - self.at[row].1
    }

    fn floor(&self, row: usize) -> f64 {
        self.at[row].0 + self.at[row].1
    }
}

/// How strong an edge is; without a score, not at all.
fn size_of(edge: &GraphEdge) -> f64 {
    edge.score.filter(|score| !score.is_nan()).map_or(0.0, f64::abs)
}

fn stroke(edge: &GraphEdge, strongest: f64) -> f64 {
    match (edge.score, strongest > 0.0) {
        (Some(score), _) if score.is_infinite() => WIDEST,
        (Some(score), true) if !score.is_nan() => {
            (WIDEST * (score.abs() / strongest)).clamp(THINNEST, WIDEST)
        }
        _ => 1.0,
    }
}

fn edge_color(edge: &GraphEdge) -> String {
    let colors = ColorScale::fit(ScaleKind::Diverging, [1.0].into_iter());
    match edge.score {
        Some(score) if score > 0.0 => colors.color(0.8).hex(),
        Some(score) if score < 0.0 => colors.color(-0.8).hex(),
        _ => MISSING.hex(),
    }
}

/// To two digits, as a legend says it.
fn rounded(value: f64) -> f64 {
    format!("{value:.1e}").parse().unwrap_or(value)
}

/// On from one place to the next, upright at both.
fn curve(from: (f64, f64), to: (f64, f64)) -> String {
    let middle = (from.1 + to.1) / 2.0;
    format!("C{} {} {} {} {} {}", px(from.0), px(middle), px(to.0), px(middle), px(to.0), px(to.1))
}
