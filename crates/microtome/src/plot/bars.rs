//! Signed horizontal bars with their values: contributions, recoveries, next-token scores.
//!
//! Bars keep the order they are given in, first at the top. Blue is positive, red negative; an
//! interval is a thin whisker over its bar. A bar that is not a finite number keeps its label and
//! says so in place of a value.

use super::label::{Label, are_numbered, mono_width, sans_width};
use super::number::NumberFormat;
use super::scale::{ColorScale, ScaleKind};
use super::sheet::{Header, INK, PAD, draw_notes, notes, notes_height, quiet};
use super::svg::{Anchor, MONO, Svg, TextStyle};

/// Named signed values, drawn as horizontal bars.
#[derive(Clone, Debug)]
pub struct BarPlot {
    /// What is shown.
    pub title: String,
    /// On what: the prompt, the model and the weights.
    pub subtitle: String,
    /// What a value counts, and what 0 means where that is not plain.
    pub unit: String,
    /// The bars, first at the top.
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Its name, as it is: a token keeps its leading space.
    pub label: String,
    /// Its length, signed.
    pub value: f64,
    /// Lower and upper end of an interval around the value.
    pub interval: Option<(f64, f64)>,
}

const ROW: f64 = 23.0;
const THICKNESS: f64 = 14.0;
const BARS_WIDTH: f64 = 420.0;
const LABEL_SIZE: f64 = 12.0;
const LABEL_COLUMNS: usize = 28;
const ZERO_LINE: &str = "#8b8983";

impl BarPlot {
    /// The plot as an SVG document.
    pub fn to_svg(&self) -> String {
        let format = NumberFormat::fit(self.bars.iter().map(|bar| bar.value));
        let is_mono = !are_numbered(&self.bars.iter().map(|bar| bar.label.clone()).collect::<Vec<_>>());
        let labels: Vec<Label> =
            self.bars.iter().map(|bar| Label::of(&bar.label).shortened(LABEL_COLUMNS)).collect();
        let width_of = |label: &Label| match is_mono {
            true => mono_width(&label.text(), LABEL_SIZE),
            false => sans_width(&label.text(), LABEL_SIZE),
        };
        let labels_width = labels.iter().map(width_of).fold(0.0, f64::max).ceil();
        let values: Vec<String> = self.bars.iter().map(|bar| self.value_text(bar.value, format)).collect();
        let values_width = values.iter().map(|text| sans_width(text, LABEL_SIZE)).fold(0.0, f64::max).ceil();

        let content = labels_width + 14.0 + BARS_WIDTH + 18.0 + values_width;
        let header = Header::new(&self.title, &self.subtitle, content);
        let top = header.bottom();
        let bottom = top + (self.bars.len() as f64 * ROW).max(if self.bars.is_empty() { 40.0 } else { 0.0 });
        let unit = notes(&self.unit, content);
        let notes_y = bottom + 26.0;
        let end = if unit.is_empty() { bottom } else { notes_y + notes_height(&unit) - 13.0 };
        let size = ((2.0 * PAD + content).ceil(), (end + PAD).ceil());

        let mut svg = Svg::new(size.0, size.1);
        header.draw(&mut svg, size);
        let axis = Axis::fit(&self.bars, PAD + labels_width + 14.0);
        if self.bars.is_empty() {
            svg.text((PAD, top + 22.0), "nothing to draw: no bars", quiet(12.5, Anchor::Start));
        }
        let colors = ColorScale::fit(ScaleKind::Diverging, [1.0].into_iter());
        for (index, bar) in self.bars.iter().enumerate() {
            let middle = top + (index as f64 + 0.5) * ROW;
            let baseline = middle + LABEL_SIZE * 0.36;
            let label_style =
                TextStyle { fill: INK, family: is_mono.then_some(MONO), ..quiet(LABEL_SIZE, Anchor::End) };
            svg.label((PAD + labels_width, baseline), &labels[index], label_style);
            let value_style = TextStyle { fill: INK, ..quiet(LABEL_SIZE, Anchor::End) };
            svg.text((PAD + content, baseline), &values[index], value_style);
            if bar.value.is_nan() {
                continue;
            }
            let (x0, x1) = (axis.x(0.0), axis.x(bar.value));
            let width = (x1 - x0).abs();
            if width > 0.0 {
                // Short of the end of the scale: an area this large needs less.
                let fill = colors.color(if bar.value > 0.0 { 0.88 } else { -0.88 }).hex();
                let radius = 3f64.min(width / 2.0);
                svg.rect((x0.min(x1), middle - THICKNESS / 2.0), (width.max(1.0), THICKNESS), radius, &fill);
            }
            if let Some((lo, hi)) = bar.interval.filter(|(lo, hi)| !lo.is_nan() && !hi.is_nan()) {
                let (x_lo, x_hi) = (axis.x(lo), axis.x(hi));
                // A light line under the dark one keeps it visible on the bar.
                svg.line((x_lo, middle), (x_hi, middle), "#ffffff", 3.0);
                svg.line((x_lo, middle), (x_hi, middle), INK, 1.2);
                for x in [x_lo, x_hi] {
                    svg.line((x, middle - 3.5), (x, middle + 3.5), INK, 1.2);
                }
            }
        }
        let x = axis.x(0.0);
        svg.line((x, top - 2.0), (x, bottom + 2.0), ZERO_LINE, 1.0);
        draw_notes(&mut svg, (PAD, notes_y), &unit);
        svg.finish(&self.title)
    }

    fn value_text(&self, value: f64, format: NumberFormat) -> String {
        let has_negative = self.bars.iter().any(|bar| bar.value < 0.0);
        if has_negative { format.signed(value) } else { format.plain(value) }
    }
}

/// Where values lie on the page.
struct Axis {
    lo: f64,
    hi: f64,
    left: f64,
}

impl Axis {
    /// From the lowest to the highest of values, intervals and 0.
    fn fit(bars: &[Bar], left: f64) -> Axis {
        let (mut lo, mut hi) = (0.0f64, 0.0f64);
        let ends = bars.iter().flat_map(|bar| {
            let (a, b) = bar.interval.unwrap_or((bar.value, bar.value));
            [bar.value, a, b]
        });
        for value in ends.filter(|v| v.is_finite()) {
            lo = lo.min(value);
            hi = hi.max(value);
        }
        if lo == hi {
            hi = 1.0;
        }
        // Halves of the largest floats still have a finite difference.
        Axis { lo: lo.max(f64::MIN / 4.0), hi: hi.min(f64::MAX / 4.0), left }
    }

    fn x(&self, value: f64) -> f64 {
        let t = (value.clamp(self.lo, self.hi) - self.lo) / (self.hi - self.lo);
        self.left + BARS_WIDTH * t.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resvg::usvg::roxmltree::Document;

    fn plot(values: &[f64]) -> BarPlot {
        let bar =
            |(i, value): (usize, &f64)| Bar { label: format!(" tok{i}"), value: *value, interval: None };
        BarPlot {
            title: "Bars".into(),
            subtitle: String::new(),
            unit: "logits".into(),
            bars: values.iter().enumerate().map(bar).collect(),
        }
    }

    /// Drawn bars as (left, width, fill), in order.
    fn drawn(svg: &str) -> Vec<(f64, f64, String)> {
        let document = Document::parse(svg).expect("well-formed");
        let is_bar = |n: &resvg::usvg::roxmltree::Node<'_, '_>| n.attribute("height") == Some("14");
        let number = |n: &resvg::usvg::roxmltree::Node<'_, '_>, key| {
            n.attribute(key).and_then(|v| v.parse().ok()).unwrap_or(f64::NAN)
        };
        let bars = document.descendants().filter(is_bar);
        bars.map(|n| (number(&n, "x"), number(&n, "width"), n.attribute("fill").unwrap_or_default().into()))
            .collect()
    }

    #[test]
    fn lengths_are_proportional_and_signs_face_each_other_across_zero() {
        let bars = drawn(&plot(&[2.0, 1.0, -1.0]).to_svg());
        assert_eq!(bars.len(), 3);
        assert!((bars[0].1 - 2.0 * bars[1].1).abs() < 0.1);
        assert!((bars[1].1 - bars[2].1).abs() < 0.1);
        assert!((bars[2].0 + bars[2].1 - bars[1].0).abs() < 0.1);
        assert_eq!(bars[0].2, bars[1].2);
        assert_ne!(bars[1].2, bars[2].2);
    }

    #[test]
    fn odd_values_draw_without_panic() {
        for values in [
            &[][..],
            &[0.0],
            &[0.0, 0.0],
            &[f64::NAN],
            &[f64::INFINITY, 1.0],
            &[f64::MAX, f64::MIN],
            &[1e-300],
        ] {
            let svg = plot(values).to_svg();
            Document::parse(&svg).expect("well-formed");
            assert!(!svg.contains("NaN") && !svg.contains("\"inf"), "{values:?}");
        }
    }

    #[test]
    fn every_bar_keeps_its_label_and_value() {
        let svg = plot(&[1.5, f64::NAN, -0.25]).to_svg();
        for expected in ["tok0", "tok1", "tok2", "+1.50", "n/a", "−0.25", "logits"] {
            assert!(svg.contains(expected), "{expected}");
        }
    }
}
