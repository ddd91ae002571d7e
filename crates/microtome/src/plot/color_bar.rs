//! The bar that says which value a colour is: its ends, its zero and the unit.

use super::label::sans_width;
use super::number::{short, short_signed};
use super::scale::{ColorScale, ScaleKind};
use super::sheet::quiet;
use super::svg::{Anchor, Svg, px};

pub(crate) const BAR_WIDTH: f64 = 220.0;
pub(crate) const BAR_HEIGHT: f64 = 9.0;

/// The ends of a scale as printed, and 0 where it lies between them.
pub(crate) fn texts(scale: &ColorScale) -> (String, Option<&'static str>, String) {
    let end = |value: f64| match scale.kind() {
        ScaleKind::Diverging => short_signed(value),
        ScaleKind::Sequential => short(value),
    };
    let zero = (scale.lo() < 0.0 && scale.hi() > 0.0).then_some("0");
    (end(scale.lo()), zero, end(scale.hi()))
}

/// Draws the bar with its upper left corner at `(x, y)`, the ends below it and the unit at its right.
pub(crate) fn draw(svg: &mut Svg, scale: &ColorScale, unit: &str, (x, y): (f64, f64)) {
    const STOPS: usize = 24;
    let at = |t: f64| scale.lo() * (1.0 - t) + scale.hi() * t;
    svg.open("defs", &[]);
    // Inlined in one page, two pictures may share an id only for the same gradient.
    let id = match scale.kind() {
        ScaleKind::Diverging => "microtome-diverging".to_owned(),
        ScaleKind::Sequential => format!("microtome-sequential-{:.3}", scale.position(0.0)).replace('.', "_"),
    };
    svg.open("linearGradient", &[("id", &id)]);
    for stop in 0..=STOPS {
        let t = stop as f64 / STOPS as f64;
        svg.element("stop", &[("offset", &px(t)), ("stop-color", &scale.color(at(t)).hex())]);
    }
    svg.close("linearGradient");
    svg.close("defs");
    svg.rect((x, y), (BAR_WIDTH, BAR_HEIGHT), 3.0, &format!("url(#{id})"));

    let (lo, zero, hi) = texts(scale);
    let text_y = y + BAR_HEIGHT + 14.0;
    svg.text((x, text_y), &lo, quiet(11.0, Anchor::Start));
    svg.text((x + BAR_WIDTH, text_y), &hi, quiet(11.0, Anchor::End));
    if let Some(zero) = zero {
        let t = -scale.lo() / 2.0 / (scale.hi() / 2.0 - scale.lo() / 2.0);
        // A zero close to an end would run into the end's own number.
        let along = BAR_WIDTH * t;
        if along > sans_width(&lo, 11.0) + 8.0 && BAR_WIDTH - along > sans_width(&hi, 11.0) + 8.0 {
            svg.text((x + along, text_y), zero, quiet(11.0, Anchor::Middle));
        }
    }
    svg.text((x + BAR_WIDTH + 12.0, y + 8.5), unit, quiet(12.0, Anchor::Start));
}
