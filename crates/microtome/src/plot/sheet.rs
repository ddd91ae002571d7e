//! The sheet every plot is printed on: warm grey ground, white panel with a hairline, title,
//! subtitle, and notes at the foot.

use super::label::{sans_width, wrap};
use super::svg::{Anchor, Svg, TextStyle};

pub(crate) const GROUND: &str = "#f7f6f3";
pub(crate) const PANEL: &str = "#ffffff";
pub(crate) const HAIRLINE: &str = "#e3e1db";
pub(crate) const INK: &str = "#1f1e1b";
pub(crate) const QUIET: &str = "#6b6a65";
/// Space around the panel.
pub(crate) const MARGIN: f64 = 16.0;
/// From the picture's edge to the panel's content.
pub(crate) const PAD: f64 = MARGIN + 22.0;

const TITLE_SIZE: f64 = 15.5;
const NOTE_SIZE: f64 = 12.0;
const NOTE_LEADING: f64 = 17.0;

/// Quiet text of this size.
pub(crate) fn quiet(size: f64, anchor: Anchor) -> TextStyle<'static> {
    TextStyle { size, fill: QUIET, anchor, family: None, weight: 400, degrees: 0.0 }
}

/// Title and subtitle, broken into lines for a content width.
#[derive(Debug)]
pub(crate) struct Header {
    title: Vec<String>,
    subtitle: Vec<String>,
}

impl Header {
    /// Breaks both texts to `width`.
    pub(crate) fn new(title: &str, subtitle: &str, width: f64) -> Header {
        Header {
            title: wrap(title, |line| sans_width(line, TITLE_SIZE) * 1.04 <= width),
            subtitle: notes(subtitle, width),
        }
    }

    /// Where the content below starts.
    pub(crate) fn bottom(&self) -> f64 {
        let title = self.title.len() as f64 * 21.0;
        let subtitle = self.subtitle.len() as f64 * NOTE_LEADING;
        let gap = if self.title.is_empty() && self.subtitle.is_empty() { 0.0 } else { 14.0 };
        PAD + title + subtitle + gap
    }

    /// Draws ground, panel, title and subtitle.
    pub(crate) fn draw(&self, svg: &mut Svg, (width, height): (f64, f64)) {
        svg.rect((0.0, 0.0), (width, height), 0.0, GROUND);
        svg.element(
            "rect",
            &[
                ("x", &(MARGIN + 0.5)),
                ("y", &(MARGIN + 0.5)),
                ("width", &(width - 2.0 * MARGIN - 1.0)),
                ("height", &(height - 2.0 * MARGIN - 1.0)),
                ("rx", &10),
                ("fill", &PANEL),
                ("stroke", &HAIRLINE),
            ],
        );
        let mut y = PAD + 11.0;
        for line in &self.title {
            let style = TextStyle { fill: INK, weight: 600, ..quiet(TITLE_SIZE, Anchor::Start) };
            svg.text((PAD, y), line, style);
            y += 21.0;
        }
        y -= 1.0;
        draw_notes(svg, (PAD, y), &self.subtitle);
    }
}

/// Breaks a quiet text into lines of at most `width`.
pub(crate) fn notes(text: &str, width: f64) -> Vec<String> {
    wrap(text, |line| sans_width(line, NOTE_SIZE) <= width)
}

/// Height of so many lines of notes.
pub(crate) fn notes_height(lines: &[String]) -> f64 {
    lines.len() as f64 * NOTE_LEADING
}

/// Draws notes, the first baseline at `y`.
pub(crate) fn draw_notes(svg: &mut Svg, (x, y): (f64, f64), lines: &[String]) {
    for (index, line) in lines.iter().enumerate() {
        svg.text((x, y + index as f64 * NOTE_LEADING), line, quiet(NOTE_SIZE, Anchor::Start));
    }
}
