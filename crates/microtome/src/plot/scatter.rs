//! Two numbers of the same things against each other: what was measured against what was estimated.
//!
//! Both axes have one unit and one range, so that agreement is the diagonal, which is drawn; whiskers are intervals of the
//! vertical number. Points farthest from the origin are named where their names fit; all carry theirs as a tooltip. A point
//! that is not finite is left out, and a note counts them.

use super::axis::{nice_ticks, tick_label};
use super::label::{Label, sans_width};
use super::lines::{extent, fraction};
use super::number::{count, short_signed};
use super::sheet::{HAIRLINE, Header, INK, PAD, PANEL, draw_notes, notes, notes_height, quiet};
use super::svg::{Anchor, Svg, TextStyle, px};

/// Points on two axes of one unit.
#[derive(Clone, Debug)]
pub struct ScatterPlot {
    /// What is shown.
    pub title: String,
    /// On what: the prompt, the model and the weights.
    pub subtitle: String,
    /// Name of the horizontal axis.
    pub x: String,
    /// Name of the vertical axis, with its unit.
    pub y: String,
    /// The points.
    pub points: Vec<Point>,
    /// What is to be said of them, at the foot.
    pub note: String,
}

/// One point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its name, as it is: a token keeps its leading space.
    pub label: String,
    /// The horizontal number.
    pub x: f64,
    /// The vertical number.
    pub y: f64,
    /// Lower and upper end of an interval around the vertical number.
    pub interval: Option<(f64, f64)>,
}

const SIDE: f64 = 420.0;
const TICK_SIZE: f64 = 11.5;
const NAME_SIZE: f64 = 12.0;
const LABEL_SIZE: f64 = 10.5;
const LABEL_COLUMNS: usize = 24;
/// Most points that are named.
const MOST_NAMED: usize = 12;
const ZERO_LINE: &str = "#b5b2aa";
const DOT: &str = "#0f766e";

impl ScatterPlot {
    /// The plot as an SVG document.
    pub fn to_svg(&self) -> String {
        let range = self.range();
        let (ticks, step) = nice_ticks(range.0, range.1, 6);
        let ticks: Vec<(f64, String)> =
            ticks.into_iter().map(|tick| (tick, tick_label(tick, step))).collect();
        let ticks_width = ticks.iter().map(|(_, text)| sans_width(text, TICK_SIZE)).fold(0.0, f64::max);
        let left = (PAD + ticks_width + 10.0).ceil();
        let content = (left + SIDE - PAD + 12.0).ceil();
        let header = Header::new(&self.title, &self.subtitle, content);
        let frame = Frame { range, left, top: header.bottom() + 22.0 };
        let foot = notes(&self.foot(), content);
        let notes_y = frame.bottom() + 62.0;
        let end = if foot.is_empty() { frame.bottom() + 38.0 } else { notes_y + notes_height(&foot) - 13.0 };
        let size = ((2.0 * PAD + content).ceil(), (end + PAD).ceil());

        let mut svg = Svg::new(size.0, size.1);
        header.draw(&mut svg, size);
        self.draw_axes(&mut svg, &frame, &ticks);
        let drawn: Vec<&Point> = self.points.iter().filter(|point| point.is_finite()).collect();
        drawn.iter().for_each(|point| draw_whisker(&mut svg, point, &frame));
        drawn.iter().for_each(|point| draw_point(&mut svg, point, &frame));
        draw_names(&mut svg, &drawn, &frame);
        if drawn.is_empty() {
            let middle = (frame.left + SIDE / 2.0, frame.top + SIDE / 2.0);
            svg.text(middle, "nothing to draw: no points", quiet(12.5, Anchor::Middle));
        }
        draw_notes(&mut svg, (PAD, notes_y), &foot);
        svg.finish(&self.title)
    }

    /// The range of both axes: that of all numbers and 0, with a margin.
    fn range(&self) -> (f64, f64) {
        let finite = self.points.iter().filter(|point| point.is_finite());
        let numbers = finite.flat_map(|point| {
            let ends = point.interval.map_or([point.y; 2], |(low, high)| [low, high]);
            [point.x, point.y, ends[0], ends[1]]
        });
        let all = numbers.filter(|x| x.is_finite()).chain([0.0]);
        match extent(all) {
            Some((low, high)) if low < high => {
                let margin = 0.05 * (high - low);
                let (wide_low, wide_high) = (low - margin, high + margin);
                if (wide_high - wide_low).is_finite() { (wide_low, wide_high) } else { (low, high) }
            }
            _ => (-1.0, 1.0),
        }
    }

    fn foot(&self) -> String {
        let left_out = self.points.iter().filter(|point| !point.is_finite()).count();
        let omitted = match left_out {
            0 => String::new(),
            n => format!(" Not drawn: {} not finite.", count(n)),
        };
        format!("{}{omitted}", self.note).trim().to_owned()
    }

    fn draw_axes(&self, svg: &mut Svg, frame: &Frame, ticks: &[(f64, String)]) {
        let name = TextStyle { fill: INK, ..quiet(NAME_SIZE, Anchor::Start) };
        svg.text((PAD, frame.top - 14.0), &self.y, name);
        let (left, right, bottom) = (frame.left, frame.left + SIDE, frame.bottom());
        for (value, text) in ticks {
            let (x, y) = (frame.at_x(*value).round() + 0.5, frame.at_y(*value).round() + 0.5);
            let stroke = if *value == 0.0 { ZERO_LINE } else { HAIRLINE };
            svg.line((left, y), (right, y), stroke, 1.0);
            svg.line((x, frame.top), (x, bottom), stroke, 1.0);
            svg.text((left - 9.0, y + TICK_SIZE * 0.35), text, quiet(TICK_SIZE, Anchor::End));
            svg.text((x, bottom + 18.0), text, quiet(TICK_SIZE, Anchor::Middle));
        }
        svg.element(
            "line",
            &[
                ("x1", &px(left)),
                ("y1", &px(bottom)),
                ("x2", &px(right)),
                ("y2", &px(frame.top)),
                ("stroke", &ZERO_LINE),
                ("stroke-dasharray", &"4 4"),
            ],
        );
        let middle = (left + right) / 2.0;
        svg.text((middle, bottom + 37.0), &self.x, TextStyle { anchor: Anchor::Middle, ..name });
    }
}

impl Point {
    fn is_finite(&self) -> bool {
        self.x.is_finite() && self.y.is_finite()
    }

    /// Its name and both numbers.
    fn tooltip(&self) -> String {
        format!("{}: {}, {}", Label::of(&self.label).text(), short_signed(self.x), short_signed(self.y))
    }
}

/// Where data lies on the page.
struct Frame {
    range: (f64, f64),
    left: f64,
    top: f64,
}

impl Frame {
    fn at_x(&self, x: f64) -> f64 {
        self.left + SIDE * fraction(x, self.range)
    }

    fn at_y(&self, y: f64) -> f64 {
        self.top + SIDE * (1.0 - fraction(y, self.range))
    }

    fn bottom(&self) -> f64 {
        self.top + SIDE
    }
}

fn draw_whisker(svg: &mut Svg, point: &Point, frame: &Frame) {
    let Some((low, high)) = point.interval.filter(|(low, high)| low.is_finite() && high.is_finite()) else {
        return;
    };
    let x = frame.at_x(point.x);
    svg.line((x, frame.at_y(low)), (x, frame.at_y(high)), ZERO_LINE, 1.0);
}

fn draw_point(svg: &mut Svg, point: &Point, frame: &Frame) {
    svg.open(
        "circle",
        &[
            ("cx", &px(frame.at_x(point.x))),
            ("cy", &px(frame.at_y(point.y))),
            ("r", &"3"),
            ("fill", &DOT),
            ("fill-opacity", &"0.75"),
            ("stroke", &PANEL),
            ("stroke-width", &"0.8"),
        ],
    );
    svg.tooltip(&point.tooltip());
    svg.close("circle");
}

/// Names the points farthest out, each where it covers no name before it.
fn draw_names(svg: &mut Svg, points: &[&Point], frame: &Frame) {
    let mut order: Vec<&&Point> = points.iter().collect();
    let out = |point: &Point| point.x.abs().max(point.y.abs());
    order.sort_by(|a, b| out(b).total_cmp(&out(a)));
    let mut taken: Vec<[f64; 4]> = Vec::new();
    for point in order.into_iter().take(MOST_NAMED) {
        let label = Label::of(&point.label).shortened(LABEL_COLUMNS);
        let (width, height) = (sans_width(&label.text(), LABEL_SIZE), LABEL_SIZE);
        let (x, y) = (frame.at_x(point.x), frame.at_y(point.y));
        // To the right of its point, or to the left where that would leave the plot.
        let fits = x + 6.0 + width <= frame.left + SIDE;
        let (start, anchor) = if fits { (x + 6.0, Anchor::Start) } else { (x - 6.0 - width, Anchor::End) };
        let place = [start, y - height / 2.0, start + width, y + height / 2.0];
        let meets = |other: &[f64; 4]| {
            place[0] < other[2] && other[0] < place[2] && place[1] < other[3] && other[1] < place[3]
        };
        if taken.iter().any(meets) {
            continue;
        }
        taken.push(place);
        let at = (if fits { start } else { start + width }, y + LABEL_SIZE * 0.36);
        svg.label(at, &label, quiet(LABEL_SIZE, anchor));
    }
}

#[cfg(test)]
mod tests {
    use resvg::usvg::roxmltree::Document;

    use super::*;

    fn point(label: &str, x: f64, y: f64) -> Point {
        Point { label: label.into(), x, y, interval: None }
    }

    fn plot(points: Vec<Point>) -> ScatterPlot {
        ScatterPlot {
            title: "t".into(),
            subtitle: "s".into(),
            x: "estimate".into(),
            y: "exact".into(),
            points,
            note: "Pearson 0.9".into(),
        }
    }

    /// Centres of the dots, in order.
    fn centres(svg: &str) -> Vec<(f64, f64)> {
        let document = Document::parse(svg).unwrap();
        let number = |node: &resvg::usvg::roxmltree::Node, name: &str| -> f64 {
            node.attribute(name).unwrap().parse().unwrap()
        };
        let circles = document.descendants().filter(|node| node.has_tag_name("circle"));
        circles.map(|node| (number(&node, "cx"), number(&node, "cy"))).collect()
    }

    #[test]
    fn equal_numbers_lie_on_the_diagonal_that_is_drawn() {
        let svg = plot(vec![point("a", -2.0, -2.0), point("b", 0.5, 0.5), point("c", 1.0, 3.0)]).to_svg();
        let document = Document::parse(&svg).unwrap();
        let dashed =
            document.descendants().find(|node| node.attribute("stroke-dasharray").is_some()).unwrap();
        let [x1, y1, x2, y2]: [f64; 4] =
            ["x1", "y1", "x2", "y2"].map(|name| dashed.attribute(name).unwrap().parse().unwrap());
        let above = |(x, y): (f64, f64)| y1 + (y2 - y1) * (x - x1) / (x2 - x1) - y;
        let found = centres(&svg);
        assert!(above(found[0]).abs() < 0.1 && above(found[1]).abs() < 0.1, "{found:?}");
        assert!(above(found[2]) > 50.0, "measured larger than estimated lies above: {found:?}");
    }

    #[test]
    fn names_stand_by_the_points_farthest_out_and_never_on_each_other() {
        let mut points = vec![point("far", 5.0, 5.0), point("under", 4.999, 5.0)];
        points.extend((0..40).map(|i| point(&format!("near{i}"), 0.001 * f64::from(i), 0.0)));
        let svg = plot(points).to_svg();
        assert!(
            svg.contains(">far</text>") && !svg.contains(">under</text>") && !svg.contains(">near0</text>")
        );
        assert!(svg.contains("<title>under: "), "but its tooltip names it");
    }

    #[test]
    fn what_is_not_finite_is_counted_beside_the_note() {
        let svg = plot(vec![point("a", 1.0, f64::NAN), point("b", 1.0, 2.0)]).to_svg();
        assert!(svg.contains("Pearson 0.9 Not drawn: 1 not finite."));
        assert_eq!(centres(&svg).len(), 1);
    }

    #[test]
    fn odd_data_draws_without_panic() {
        let interval = Some((f64::MIN, f64::INFINITY));
        let cases = [
            vec![],
            vec![point("", 0.0, 0.0)],
            vec![point("same", 3.0, 3.0); 3],
            vec![point(" max", f64::MAX, f64::MIN), point("tiny", 1e-300, -1e-300)],
            vec![Point { interval, ..point("<&>", 1.0, 2.0) }],
        ];
        for points in cases {
            let svg = plot(points).to_svg();
            Document::parse(&svg).expect("well-formed");
            assert!(!svg.contains("NaN") && !svg.contains("\"inf"));
        }
    }
}
