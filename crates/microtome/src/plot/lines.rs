//! Curves over a common axis: logit lens by layer, loss by step, faithfulness by edge count.
//!
//! Series are named at the end of their line where the names fit side by side, in a legend above
//! otherwise. Their colours avoid blue and red, which mean towards and away elsewhere, differ in
//! lightness as well as hue, and repeat with dashes after eight, unless a curve asks for dashes itself. A NaN or infinite value is a gap
//! in its line; on a logarithmic axis so is a value that is not positive, and a note counts them.

use super::axis::{log_ticks, nice_ticks, tick_label};
use super::label::sans_width;
use super::number::{count, short};
use super::sheet::{HAIRLINE, Header, INK, PAD, PANEL, draw_notes, notes, notes_height, quiet};
use super::svg::{Anchor, Svg, TextStyle, px};

/// Curves with axes, ready to draw.
#[derive(Clone, Debug)]
pub struct LinePlot {
    /// What is shown.
    pub title: String,
    /// On what: the prompt, the model and the weights.
    pub subtitle: String,
    /// Name of the horizontal axis.
    pub x: String,
    /// Name of the vertical axis, with its unit.
    pub y: String,
    /// The curves.
    pub series: Vec<Series>,
    /// How the vertical axis runs.
    pub y_scale: YScale,
    /// Vertical hairlines with a word each: an event at this x.
    pub marks: Vec<(f64, String)>,
}

/// One curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its points as (x, y), in drawing order.
    pub points: Vec<(f64, f64)>,
    /// Lower and upper bound at each point, drawn as a light band.
    pub band: Option<Vec<(f64, f64)>>,
    /// How its line is drawn.
    pub stroke: Stroke,
}

/// How a curve's line is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stroke {
    /// In one piece, but for every ninth curve and those after it.
    #[default]
    Solid,
    /// In dashes, to be told from another curve without its colour. A plot that has one names its curves in a legend.
    Dashed,
}

/// How a vertical axis runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum YScale {
    /// Equal steps for equal differences.
    #[default]
    Linear,
    /// Equal steps for equal ratios; only positive values can be shown.
    Log,
}

const PLOT_WIDTH: f64 = 620.0;
const PLOT_HEIGHT: f64 = 300.0;
const TICK_SIZE: f64 = 11.5;
const NAME_SIZE: f64 = 12.0;
const NAME_LEADING: f64 = 15.0;
const COLORS: [&str; 8] =
    ["#0f766e", "#c77c11", "#74408f", "#5b6b1f", "#c2588c", "#3f3d39", "#8a5a34", "#8f8c85"];
const DASHES: [&str; 3] = ["none", "6 4", "2 3"];
/// Points get a dot up to this many per line.
const MAX_DOTTED: usize = 26;
/// Longer lines are thinned to the extremes of so many stretches.
const MAX_STRETCHES: usize = 1200;

impl LinePlot {
    /// The plot as an SVG document.
    pub fn to_svg(&self) -> String {
        draw(self)
    }

    fn can_show(&self, y: f64) -> bool {
        y.is_finite() && (self.y_scale == YScale::Linear || y > 0.0)
    }

    /// Values that the axes leave out, as a sentence.
    fn omissions(&self) -> Option<String> {
        let points = || self.series.iter().flat_map(|s| &s.points);
        let n_not_finite = points().filter(|(x, y)| !x.is_finite() || !y.is_finite()).count();
        let n_not_positive =
            points().filter(|(x, y)| x.is_finite() && y.is_finite() && !self.can_show(*y)).count();
        let mut parts = Vec::new();
        if n_not_finite > 0 {
            parts.push(format!("{} not finite", count(n_not_finite)));
        }
        if n_not_positive > 0 {
            parts.push(format!(
                "{} not positive, which a logarithmic axis cannot show",
                count(n_not_positive)
            ));
        }
        let verb = if n_not_finite + n_not_positive == 1 { "value is" } else { "values are" };
        (!parts.is_empty()).then(|| format!("Not drawn: {} ({verb} left out of the line).", parts.join("; ")))
    }
}

/// Where data lies on the page.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
    y_scale: YScale,
    left: f64,
    top: f64,
}

impl Frame {
    fn at_x(&self, x: f64) -> f64 {
        self.left + PLOT_WIDTH * fraction(x, self.x)
    }

    fn at_y(&self, y: f64) -> f64 {
        let t = match self.y_scale {
            YScale::Linear => fraction(y, self.y),
            YScale::Log => fraction(y.log10(), (self.y.0.log10(), self.y.1.log10())),
        };
        self.top + PLOT_HEIGHT * (1.0 - t)
    }

    fn bottom(&self) -> f64 {
        self.top + PLOT_HEIGHT
    }

    fn right(&self) -> f64 {
        self.left + PLOT_WIDTH
    }
}

/// How far a value is along a range, kept within it.
pub(super) fn fraction(value: f64, (lo, hi): (f64, f64)) -> f64 {
    // Halved first, so that the largest floats do not overflow.
    ((value / 2.0 - lo / 2.0) / (hi / 2.0 - lo / 2.0)).clamp(0.0, 1.0)
}

/// Smallest and largest, or `None` without values.
pub(super) fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, v| match range {
        None => Some((v, v)),
        Some((lo, hi)) => Some((lo.min(v), hi.max(v))),
    })
}

/// Range of the horizontal axis: that of the data, widened where it is a single value.
fn x_range(plot: &LinePlot) -> (f64, f64) {
    let points = plot.series.iter().flat_map(|s| s.points.iter().map(|p| p.0));
    let marks = plot.marks.iter().map(|m| m.0);
    match extent(points.chain(marks).filter(|x| x.is_finite())) {
        None => (0.0, 1.0),
        Some((lo, hi)) if lo == hi => (lo - 1.0f64.max(lo.abs() * 0.1), hi + 1.0f64.max(hi.abs() * 0.1)),
        Some((lo, hi)) => {
            // A round number just outside, as 0 is to a first step of 1, is worth its tick.
            let step = nice_ticks(lo, hi, 8).1;
            let near =
                |edge: f64, round: f64| if (edge - round).abs() < 0.02 * (hi - lo) { round } else { edge };
            (near(lo, (lo / step).floor() * step), near(hi, (hi / step).ceil() * step))
        }
    }
}

/// Range of the vertical axis: out to round numbers, from 0 where the data comes near it.
fn y_range(plot: &LinePlot) -> (f64, f64) {
    let points = plot.series.iter().flat_map(|s| s.points.iter().map(|p| p.1));
    let bands = plot.series.iter().flat_map(|s| s.band.iter().flatten().flat_map(|b| [b.0, b.1]));
    let range = extent(points.chain(bands).filter(|y| plot.can_show(*y)));
    match (plot.y_scale, range) {
        (YScale::Linear, None) => (0.0, 1.0),
        (YScale::Linear, Some((lo, hi))) => {
            let near_zero = |edge: f64, other: f64| edge.abs() < 0.5 * other.abs();
            let lo = if lo > 0.0 && near_zero(lo, hi) { 0.0 } else { lo };
            let hi = if hi < 0.0 && near_zero(hi, lo) { 0.0 } else { hi };
            if lo == hi {
                let margin = if lo == 0.0 { 1.0 } else { lo.abs() * 0.1 };
                return (lo - margin, hi + margin);
            }
            if !(hi - lo).is_finite() {
                return (lo, hi);
            }
            let (_, step) = nice_ticks(lo, hi, 5);
            let (down, up) = ((lo / step + 1e-9).floor() * step, (hi / step - 1e-9).ceil() * step);
            if down.is_finite() && up.is_finite() && down < up { (down, up) } else { (lo, hi) }
        }
        (YScale::Log, None) => (0.1, 10.0),
        (YScale::Log, Some((lo, hi))) if lo == hi => {
            ((lo / 10.0).max(f64::MIN_POSITIVE), (hi * 10.0).min(f64::MAX))
        }
        (YScale::Log, Some((lo, hi))) => {
            let margin = 10f64.powf((hi.log10() - lo.log10()) * 0.04);
            ((lo / margin).max(f64::MIN_POSITIVE), (hi * margin).min(f64::MAX))
        }
    }
}

fn draw(plot: &LinePlot) -> String {
    let (x, y) = (x_range(plot), y_range(plot));
    let y_ticks: Vec<(f64, String)> = match plot.y_scale {
        YScale::Linear => {
            let (ticks, step) = nice_ticks(y.0, y.1, 5);
            ticks.into_iter().map(|t| (t, tick_label(t, step))).collect()
        }
        YScale::Log => log_ticks(y.0, y.1).into_iter().map(|t| (t, short(t))).collect(),
    };
    let y_labels_width = y_ticks.iter().map(|(_, text)| sans_width(text, TICK_SIZE)).fold(0.0, f64::max);
    let mut frame =
        Frame { x, y, y_scale: plot.y_scale, left: (PAD + y_labels_width + 10.0).ceil(), top: 0.0 };

    let names = end_names(plot, &frame);
    let names_width = match &names {
        Some(names) => names.iter().map(|n| sans_width(&n.text, NAME_SIZE)).fold(0.0, f64::max) + 14.0,
        None => 12.0,
    };
    let content = (frame.right() - PAD + names_width).ceil();
    let header = Header::new(&plot.title, &plot.subtitle, content);
    let legend = if names.is_none() { legend_rows(plot, content) } else { Vec::new() };
    let legend_y = header.bottom() + 6.0;
    let mark_rows = mark_rows(plot, &frame);
    let marks_height = mark_rows.iter().map(|row| row + 1).max().unwrap_or(0) as f64 * 15.0;
    frame.top = header.bottom()
        + legend.len() as f64 * 20.0
        + if legend.is_empty() { 22.0 } else { 32.0 }
        + marks_height;
    let foot = notes(&plot.omissions().unwrap_or_default(), content);
    let notes_y = frame.bottom() + 62.0;
    let end = if foot.is_empty() { frame.bottom() + 38.0 } else { notes_y + notes_height(&foot) - 13.0 };
    let size = ((2.0 * PAD + content).ceil(), (end + PAD).ceil());

    let mut svg = Svg::new(size.0, size.1);
    header.draw(&mut svg, size);
    draw_axes(&mut svg, plot, &frame, &y_ticks, marks_height);
    draw_marks(&mut svg, plot, &frame, &mark_rows, marks_height);
    for (index, series) in plot.series.iter().enumerate() {
        draw_band(&mut svg, plot, series, index, &frame);
    }
    for (index, series) in plot.series.iter().enumerate() {
        draw_series(&mut svg, plot, series, index, &frame);
    }
    if plot.series.iter().all(|s| s.points.iter().all(|(x, y)| !x.is_finite() || !plot.can_show(*y))) {
        let middle = ((frame.left + frame.right()) / 2.0, frame.top + PLOT_HEIGHT / 2.0);
        svg.text(middle, "nothing to draw: no points", quiet(12.5, Anchor::Middle));
    }
    for name in names.iter().flatten() {
        let style = TextStyle { fill: color(name.series), ..quiet(NAME_SIZE, Anchor::Start) };
        svg.text((frame.right() + 12.0, frame.top + name.y + NAME_SIZE * 0.36), &name.text, style);
    }
    for (row, entries) in legend.iter().enumerate() {
        for (x, index) in entries {
            let y = legend_y + row as f64 * 20.0;
            draw_stroke(&mut svg, &format!("M{} {}h18", px(*x), px(y)), plot, *index, 2.0);
            let style = TextStyle { fill: INK, ..quiet(NAME_SIZE, Anchor::Start) };
            svg.text((x + 24.0, y + NAME_SIZE * 0.36), &plot.series[*index].name, style);
        }
    }
    draw_notes(&mut svg, (PAD, notes_y), &foot);
    svg.finish(&plot.title)
}

fn color(index: usize) -> &'static str {
    COLORS[index % COLORS.len()]
}

fn draw_axes(svg: &mut Svg, plot: &LinePlot, frame: &Frame, y_ticks: &[(f64, String)], marks_height: f64) {
    let name = TextStyle { fill: INK, ..quiet(NAME_SIZE, Anchor::Start) };
    svg.text((PAD, frame.top - marks_height - 14.0), &plot.y, name);
    for (value, text) in y_ticks {
        let y = frame.at_y(*value).round() + 0.5;
        svg.line((frame.left, y), (frame.right(), y), HAIRLINE, 1.0);
        svg.text((frame.left - 9.0, y + TICK_SIZE * 0.35), text, quiet(TICK_SIZE, Anchor::End));
    }
    if plot.y_scale == YScale::Linear && frame.y.0 < 0.0 && frame.y.1 > 0.0 {
        let y = frame.at_y(0.0).round() + 0.5;
        svg.line((frame.left, y), (frame.right(), y), "#b5b2aa", 1.0);
    }
    let (ticks, step) = nice_ticks(frame.x.0, frame.x.1, 8);
    for tick in ticks {
        let x = frame.at_x(tick);
        svg.line((x, frame.bottom() + 0.5), (x, frame.bottom() + 4.5), "#b5b2aa", 1.0);
        svg.text((x, frame.bottom() + 18.0), &tick_label(tick, step), quiet(TICK_SIZE, Anchor::Middle));
    }
    let middle = (frame.left + frame.right()) / 2.0;
    svg.text((middle, frame.bottom() + 37.0), &plot.x, TextStyle { anchor: Anchor::Middle, ..name });
}

/// Which of the rows above the plot each mark's word stands in, so that words do not overlap.
fn mark_rows(plot: &LinePlot, frame: &Frame) -> Vec<usize> {
    let mut order: Vec<usize> = (0..plot.marks.len()).filter(|i| plot.marks[*i].0.is_finite()).collect();
    order.sort_by(|a, b| plot.marks[*a].0.total_cmp(&plot.marks[*b].0));
    let mut rows = vec![0; plot.marks.len()];
    let mut ends: Vec<f64> = Vec::new();
    for index in order {
        let (start, end) = mark_span(&plot.marks[index], frame);
        let row = ends.iter().position(|row_end| *row_end + 8.0 <= start).unwrap_or(ends.len());
        match ends.get_mut(row) {
            Some(row_end) => *row_end = end,
            None => ends.push(end),
        }
        rows[index] = row;
    }
    rows
}

/// Left and right of a mark's word: centred on its line, kept within the plot.
fn mark_span((x, text): &(f64, String), frame: &Frame) -> (f64, f64) {
    let width = sans_width(text, 11.0);
    let start = (frame.at_x(*x) - width / 2.0).min(frame.right() - width).max(frame.left);
    (start, start + width)
}

fn draw_marks(svg: &mut Svg, plot: &LinePlot, frame: &Frame, rows: &[usize], marks_height: f64) {
    for (mark, row) in plot.marks.iter().zip(rows).filter(|(mark, _)| mark.0.is_finite()) {
        let x = frame.at_x(mark.0);
        let (start, end) = mark_span(mark, frame);
        let y = frame.top - marks_height + 7.0 + *row as f64 * 15.0;
        svg.element(
            "line",
            &[
                ("x1", &px(x)),
                ("x2", &px(x)),
                ("y1", &px(y + 4.0)),
                ("y2", &px(frame.bottom())),
                ("stroke", &"#a19e96"),
                ("stroke-dasharray", &"3 3"),
            ],
        );
        // The word covers the lines of the marks in the rows above it.
        svg.rect((start - 2.0, y - 9.0), (end - start + 4.0, 12.0), 0.0, PANEL);
        svg.text(((start + end) / 2.0, y), &mark.1, quiet(11.0, Anchor::Middle));
    }
}

/// A name beside the end of its line.
struct EndName {
    text: String,
    series: usize,
    /// Below the top of the plot.
    y: f64,
}

/// Names at the line ends, moved apart; `None` where they do not fit and a legend is needed.
fn end_names(plot: &LinePlot, frame: &Frame) -> Option<Vec<EndName>> {
    const WIDEST: f64 = 150.0;
    // Dashes are seen in a legend.
    if plot.series.iter().any(|series| series.stroke == Stroke::Dashed) {
        return None;
    }
    let mut names = Vec::new();
    for (index, series) in plot.series.iter().enumerate() {
        if series.name.is_empty() {
            continue;
        }
        let end = series.points.iter().rev().find(|(x, y)| x.is_finite() && plot.can_show(*y))?;
        // A line that ends early would have its name far away.
        if sans_width(&series.name, NAME_SIZE) > WIDEST
            || frame.at_x(end.0) < frame.right() - 0.02 * PLOT_WIDTH
        {
            return None;
        }
        names.push(EndName { text: series.name.clone(), series: index, y: frame.at_y(end.1) - frame.top });
    }
    if names.len() > 8 {
        return None;
    }
    names.sort_by(|a, b| a.y.total_cmp(&b.y));
    let wished: Vec<f64> = names.iter().map(|n| n.y).collect();
    // Downwards to open gaps, then back up from the lower edge.
    for i in 1..names.len() {
        names[i].y = names[i].y.max(names[i - 1].y + NAME_LEADING);
    }
    let mut limit = PLOT_HEIGHT + 4.0;
    for name in names.iter_mut().rev() {
        name.y = name.y.min(limit);
        limit = name.y - NAME_LEADING;
    }
    let moved = names.iter().zip(&wished).map(|(n, w)| (n.y - w).abs()).fold(0.0, f64::max);
    (moved <= 40.0).then_some(names)
}

/// Legend entries as (x, series), row by row.
fn legend_rows(plot: &LinePlot, content: f64) -> Vec<Vec<(f64, usize)>> {
    let mut rows: Vec<Vec<(f64, usize)>> = Vec::new();
    let mut x = f64::INFINITY;
    for (index, series) in plot.series.iter().enumerate().filter(|(_, s)| !s.name.is_empty()) {
        let width = 24.0 + sans_width(&series.name, NAME_SIZE);
        if x + width > PAD + content {
            rows.push(Vec::new());
            x = PAD;
        }
        if let Some(row) = rows.last_mut() {
            row.push((x, index));
        }
        x += width + 18.0;
    }
    rows
}

fn draw_stroke(svg: &mut Svg, path: &str, plot: &LinePlot, index: usize, width: f64) {
    let dashes = match plot.series[index].stroke {
        Stroke::Solid => DASHES[index / COLORS.len() % DASHES.len()],
        Stroke::Dashed => DASHES[1],
    };
    svg.element(
        "path",
        &[
            ("d", &path),
            ("fill", &"none"),
            ("stroke", &color(index)),
            ("stroke-width", &px(width)),
            ("stroke-linejoin", &"round"),
            ("stroke-dasharray", &dashes),
        ],
    );
}

fn draw_band(svg: &mut Svg, plot: &LinePlot, series: &Series, index: usize, frame: &Frame) {
    let Some(band) = &series.band else { return };
    let bounds: Vec<(f64, f64, f64)> =
        series.points.iter().zip(band).map(|((x, _), (lo, hi))| (*x, *lo, *hi)).collect();
    let is_drawn = |(x, lo, hi): &(f64, f64, f64)| x.is_finite() && plot.can_show(*lo) && plot.can_show(*hi);
    for run in bounds.split(|b| !is_drawn(b)).filter(|run| run.len() > 1) {
        let there = run.iter().map(|(x, _, hi)| (*x, *hi));
        let back = run.iter().rev().map(|(x, lo, _)| (*x, *lo));
        let path = format!("{}z", path_of(there.chain(back), frame));
        svg.element("path", &[("d", &path), ("fill", &color(index)), ("fill-opacity", &0.14)]);
    }
}

fn draw_series(svg: &mut Svg, plot: &LinePlot, series: &Series, index: usize, frame: &Frame) {
    let has_dots = series.points.len() <= MAX_DOTTED;
    for run in series.points.split(|(x, y)| !x.is_finite() || !plot.can_show(*y)) {
        let run = thinned(run);
        if run.len() > 1 {
            let width = if run.len() > 400 { 1.2 } else { 1.8 };
            draw_stroke(svg, &path_of(run.iter().copied(), frame), plot, index, width);
        }
        // A point between two gaps has no line, so it needs its dot.
        for (x, y) in run.iter().filter(|_| has_dots || run.len() == 1) {
            svg.element(
                "circle",
                &[
                    ("cx", &px(frame.at_x(*x))),
                    ("cy", &px(frame.at_y(*y))),
                    ("r", &"2.6"),
                    ("fill", &color(index)),
                    ("stroke", &PANEL),
                    ("stroke-width", &"0.8"),
                ],
            );
        }
    }
}

/// At most two points per stretch, the lowest and the highest, so that long curves keep their
/// spikes at the size of a picture.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= 2 * MAX_STRETCHES {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MAX_STRETCHES);
    let mut out = Vec::with_capacity(2 * MAX_STRETCHES + 2);
    out.extend(points.first());
    for chunk in points.chunks(stretch) {
        let by_y = |a: &usize, b: &usize| chunk[*a].1.total_cmp(&chunk[*b].1);
        let lowest = (0..chunk.len()).min_by(by_y).unwrap_or(0);
        let highest = (0..chunk.len()).max_by(by_y).unwrap_or(0);
        out.push(chunk[lowest.min(highest)]);
        out.push(chunk[lowest.max(highest)]);
    }
    out.extend(points.last());
    out
}

fn path_of(points: impl Iterator<Item = (f64, f64)>, frame: &Frame) -> String {
    let mut path = String::new();
    for (x, y) in points {
        path.push(if path.is_empty() { 'M' } else { 'L' });
        path.push_str(&format!("{} {}", px(frame.at_x(x)), px(frame.at_y(y))));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use resvg::usvg::roxmltree::Document;

    fn plot(series: Vec<Series>) -> LinePlot {
        LinePlot {
            title: "Lines".into(),
            subtitle: "a prompt".into(),
            x: "layer".into(),
            y: "loss, nats".into(),
            series,
            y_scale: YScale::Linear,
            marks: Vec::new(),
        }
    }

    fn series(name: &str, ys: &[f64]) -> Series {
        let points = ys.iter().enumerate().map(|(i, y)| (i as f64, *y)).collect();
        Series { name: name.into(), points, ..Series::default() }
    }

    fn count_of(svg: &str, tag: &str) -> usize {
        let document = Document::parse(svg).expect("well-formed");
        document.descendants().filter(|n| n.has_tag_name(tag)).count()
    }

    #[test]
    fn a_gap_breaks_the_line_and_is_counted() {
        let whole = plot(vec![series("a", &[1.0, 2.0, 3.0, 4.0])]).to_svg();
        let broken = plot(vec![series("a", &[1.0, 2.0, f64::NAN, 4.0, 5.0])]).to_svg();
        assert_eq!((count_of(&whole, "path"), count_of(&broken, "path")), (1, 2));
        assert!(broken.contains("1 not finite") && !whole.contains("Not drawn"));
    }

    #[test]
    fn a_logarithmic_axis_says_which_values_it_cannot_show() {
        let mut plot = plot(vec![series("a", &[0.0, 1e-3, 10.0, -1.0])]);
        plot.y_scale = YScale::Log;
        assert!(plot.to_svg().contains("2 not positive"));
    }

    #[test]
    fn odd_data_draws_without_panic() {
        let extremes = [f64::MAX, f64::MIN, 0.0, 1e-300, f64::INFINITY];
        let cases = [
            vec![],
            vec![series("", &[])],
            vec![series("one", &[3.0])],
            vec![series("flat", &[2.0; 9])],
            vec![series("nan", &[f64::NAN; 3])],
            vec![series("extremes", &extremes)],
            (0..30).map(|i| series(&format!("series number {i}"), &[f64::from(i), 1.0])).collect(),
        ];
        for case in cases {
            for y_scale in [YScale::Linear, YScale::Log] {
                let marks =
                    vec![(0.5, "here".into()), (0.6, "and here".into()), (f64::NAN, "nowhere".into())];
                let svg = LinePlot { y_scale, marks, ..plot(case.clone()) }.to_svg();
                Document::parse(&svg).expect("well-formed");
                assert!(!svg.contains("NaN") && !svg.contains("\"inf"));
            }
        }
    }

    #[test]
    fn a_long_curve_keeps_its_spike_and_not_its_size() {
        let mut ys = vec![1.0; 200_000];
        ys[123_456] = 9.0;
        let points: Vec<(f64, f64)> = ys.iter().enumerate().map(|(i, y)| (i as f64, *y)).collect();
        let kept = thinned(&points);
        assert!(kept.len() <= 2 * MAX_STRETCHES + 2);
        assert!(kept.contains(&(123_456.0, 9.0)));
        assert!(kept.windows(2).all(|w| w[0].0 <= w[1].0));
    }

    #[test]
    fn names_stand_at_line_ends_in_order_and_apart_or_move_to_a_legend() {
        let close =
            plot(vec![series("low", &[1.0, 1.0]), series("high", &[2.0, 1.01]), series("far", &[0.0, 0.0])]);
        let frame =
            Frame { x: x_range(&close), y: y_range(&close), y_scale: YScale::Linear, left: 0.0, top: 0.0 };
        let names = end_names(&close, &frame).expect("three names fit");
        let order: Vec<&str> = names.iter().map(|n| n.text.as_str()).collect();
        assert_eq!(order, ["high", "low", "far"]);
        assert!(names.windows(2).all(|w| w[1].y - w[0].y >= NAME_LEADING - 1e-9));

        let many = plot((0..12).map(|i| series(&format!("s{i}"), &[1.0, 1.0])).collect());
        let frame =
            Frame { x: x_range(&many), y: y_range(&many), y_scale: YScale::Linear, left: 0.0, top: 0.0 };
        assert!(end_names(&many, &frame).is_none());
        let svg = many.to_svg();
        assert!((0..12).all(|i| svg.contains(&format!(">s{i}</text>"))));
    }
}
