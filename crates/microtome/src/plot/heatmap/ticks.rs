//! The labels along a heatmap's axes: how many are drawn, how they stand, where.

use super::AxisLabels;
use crate::plot::axis::thin_every;
use crate::plot::grid::Grid;
use crate::plot::label::{Label, are_numbered, mono_width, sans_width};
use crate::plot::sheet::quiet;
use crate::plot::svg::{Anchor, MONO, Svg, TextStyle};

/// Size of the labels.
pub(super) const TICK_SIZE: f64 = 11.5;
/// Longest label, in columns of text.
const TOKEN_COLUMNS: usize = 16;

/// Labels of one axis with the style they are set in.
pub(super) struct Ticks {
    labels: Vec<Label>,
    numbered: bool,
    /// One label in so many is drawn.
    pub every: usize,
}

impl Ticks {
    /// One label for every `per_cell` entries of the axis.
    pub fn new(axis: &AxisLabels, per_cell: usize) -> Ticks {
        let numbered = are_numbered(&axis.labels);
        let labels = axis.labels.iter().step_by(per_cell).map(|raw| Label::of(raw).shortened(TOKEN_COLUMNS));
        Ticks { labels: labels.collect(), numbered, every: 1 }
    }

    pub fn width(&self, label: &Label) -> f64 {
        let text = label.text();
        if self.numbered { sans_width(&text, TICK_SIZE) } else { mono_width(&text, TICK_SIZE) }
    }

    pub fn widest(&self) -> f64 {
        self.shown().map(|(_, label)| self.width(label)).fold(0.0, f64::max)
    }

    pub fn shown(&self) -> impl Iterator<Item = (usize, &Label)> {
        self.labels.iter().enumerate().step_by(self.every)
    }

    fn style(&self, anchor: Anchor) -> TextStyle<'static> {
        TextStyle { family: (!self.numbered).then_some(MONO), ..quiet(TICK_SIZE, anchor) }
    }
}

/// Chooses upright, slanted (45) or standing (90) column labels and how many are left out.
pub(super) fn arrange_columns(ticks: &mut Ticks, cell_w: f64) -> Option<f64> {
    let widest = ticks.widest();
    if widest + 5.0 <= cell_w {
        return None;
    }
    if ticks.numbered {
        ticks.every = thin_every((widest + 8.0) / cell_w);
        return None;
    }
    if cell_w >= 19.0 {
        return Some(45.0);
    }
    ticks.every = thin_every((TICK_SIZE + 1.0) / cell_w);
    Some(90.0)
}

pub(super) fn draw_row_ticks(svg: &mut Svg, ticks: &Ticks, grid: &Grid) {
    for (row, label) in ticks.shown() {
        let y = grid.top(row) + grid.cell_h / 2.0 + TICK_SIZE * 0.35;
        svg.label((grid.x - 9.0, y), label, ticks.style(Anchor::End));
    }
}

pub(super) fn draw_col_ticks(svg: &mut Svg, ticks: &Ticks, grid: &Grid, degrees: Option<f64>) {
    let bottom = grid.y + grid.height();
    for (col, label) in ticks.shown() {
        let x = grid.center_x(col);
        match degrees {
            None => svg.label((x, bottom + TICK_SIZE + 5.0), label, ticks.style(Anchor::Middle)),
            Some(degrees) => {
                let shift = if degrees == 45.0 { (4.0, 12.0) } else { (TICK_SIZE * 0.35, 7.0) };
                let style = TextStyle { degrees: -degrees, ..ticks.style(Anchor::End) };
                svg.label((x + shift.0, bottom + shift.1), label, style);
            }
        }
    }
}
