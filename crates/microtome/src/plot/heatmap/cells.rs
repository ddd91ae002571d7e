//! The cells of a heatmap: rectangles with their numbers and tooltips, or a raster where they are many.

use super::{AxisLabels, Cell, Heatmap};
use crate::plot::grid::Grid;
use crate::plot::label::{Label, sans_width};
use crate::plot::number::{NumberFormat, short_signed};
use crate::plot::scale::{ColorScale, MISSING, ZERO};
use crate::plot::sheet::{HAIRLINE, PANEL, quiet};
use crate::plot::svg::{Anchor, Svg, TextStyle, px};

/// The pattern of cells that were not computed.
pub(super) fn draw_hatch(svg: &mut Svg) {
    svg.open("defs", &[]);
    svg.open(
        "pattern",
        &[
            ("id", &"microtome-hatch"),
            ("width", &6),
            ("height", &6),
            ("patternUnits", &"userSpaceOnUse"),
            ("patternTransform", &"rotate(45)"),
        ],
    );
    svg.rect((0.0, 0.0), (6.0, 6.0), 0.0, PANEL);
    svg.rect((0.0, 0.0), (1.2, 6.0), 0.0, "#d9d6ce");
    svg.close("pattern");
    svg.close("defs");
}

/// The most cells that get their value printed.
const MAX_PRINTED: usize = 400;
/// The most cells that get a tooltip; beyond, the file would be mostly tooltips.
const MAX_TOOLTIPS: usize = 2500;

pub(super) fn draw_cells(svg: &mut Svg, heatmap: &Heatmap, grid: &Grid, scale: &ColorScale) {
    let format = heatmap.number_format();
    let printed_size = printed_size(heatmap, grid, format);
    let has_tooltips = grid.n_rows * grid.n_cols <= MAX_TOOLTIPS;
    let size = (grid.cell_w - grid.gap, grid.cell_h - grid.gap);
    for row in (0..grid.n_rows).rev() {
        for col in 0..grid.n_cols {
            let (x, y) = (grid.x + col as f64 * grid.cell_w, grid.top(row));
            let at = (x + grid.gap / 2.0, y + grid.gap / 2.0);
            let cell = grid.cell(heatmap, row, col);
            if has_tooltips {
                svg.open("g", &[]);
                svg.tooltip(&tooltip(heatmap, row, col, cell));
            }
            match cell {
                Cell::Missing => draw_missing(svg, at, size, grid.radius),
                Cell::Value(value) | Cell::Infinite(value) => {
                    let color = scale.color(value);
                    svg.rect(at, size, grid.radius, &color.hex());
                    let center = (at.0 + size.0 / 2.0, at.1 + size.1 / 2.0);
                    if let Some(font_size) = printed_size {
                        let fill = color.ink().hex();
                        let style = TextStyle { fill: &fill, ..quiet(font_size, Anchor::Middle) };
                        svg.text((center.0, center.1 + font_size * 0.36), &format.plain(value), style);
                    } else if matches!(cell, Cell::Infinite(_)) {
                        draw_dot(svg, center, (size.0.min(size.1) * 0.18).max(1.0), &color.ink().hex());
                    }
                }
            }
            if has_tooltips {
                svg.close("g");
            }
        }
    }
}

fn tooltip(heatmap: &Heatmap, row: usize, col: usize, cell: Cell) -> String {
    let label = |axis: &AxisLabels, index: usize| Label::of(&axis.labels[index]).text();
    let place = format!("{}, {} ({col})", label(&heatmap.rows, row), label(&heatmap.cols, col));
    match cell {
        Cell::Value(value) | Cell::Infinite(value) => {
            format!("{place}: {} {}", short_signed(value), heatmap.unit)
        }
        Cell::Missing => format!("{place}: no value"),
    }
}

/// The font size of printed values, where they can be printed.
pub(super) fn printed_size(heatmap: &Heatmap, grid: &Grid, format: NumberFormat) -> Option<f64> {
    if grid.n_rows * grid.n_cols > MAX_PRINTED || grid.is_binned() {
        return None;
    }
    let widest =
        heatmap.values.iter().flatten().map(|v| sans_width(&format.plain(*v), 1.0)).fold(1.0, f64::max);
    let by_width = (grid.cell_w - grid.gap - 5.0) / widest;
    let by_height = (grid.cell_h - grid.gap) * 0.6;
    let size = by_width.min(by_height).min(12.0);
    (size >= 8.5).then_some(size)
}

pub(super) fn draw_missing(svg: &mut Svg, (x, y): (f64, f64), (width, height): (f64, f64), radius: f64) {
    svg.element(
        "rect",
        &[
            ("x", &px(x + 0.5)),
            ("y", &px(y + 0.5)),
            ("width", &px(width - 1.0)),
            ("height", &px(height - 1.0)),
            ("rx", &px(radius)),
            ("fill", &"url(#microtome-hatch)"),
            ("stroke", &HAIRLINE),
        ],
    );
}

pub(super) fn draw_dot(svg: &mut Svg, (x, y): (f64, f64), radius: f64, fill: &str) {
    svg.element("circle", &[("cx", &px(x)), ("cy", &px(y)), ("r", &px(radius)), ("fill", &fill)]);
}

/// Small cells: one path per colour over a ground of zeros, runs of equal cells merged, since a
/// rectangle per cell would make files of tens of megabytes. Colours are rounded to 128 steps per
/// side of the scale.
pub(super) fn draw_raster(svg: &mut Svg, heatmap: &Heatmap, grid: &Grid, scale: &ColorScale) {
    use std::collections::BTreeMap;
    use std::fmt::Write;

    let limit = scale.hi().max(-scale.lo());
    let color_of = |cell: Cell| match cell {
        Cell::Value(value) | Cell::Infinite(value) => {
            let level = (value.clamp(scale.lo(), scale.hi()) / limit * 128.0).round();
            scale.color(level / 128.0 * limit)
        }
        Cell::Missing => MISSING,
    };
    // Each path remembers where it is, since relative moves are shorter.
    let mut paths: BTreeMap<String, (String, (i64, i64))> = BTreeMap::new();
    let (cell_w, cell_h) = (grid.cell_w as i64, grid.cell_h as i64);
    for row in (0..grid.n_rows).rev() {
        let y = (grid.n_rows - 1 - row) as i64 * cell_h;
        let mut col = 0;
        while col < grid.n_cols {
            let color = color_of(grid.cell(heatmap, row, col));
            let start = col;
            while col < grid.n_cols && color_of(grid.cell(heatmap, row, col)) == color {
                col += 1;
            }
            if color == ZERO {
                continue;
            }
            let x = start as i64 * cell_w;
            let width = (col - start) as i64 * cell_w;
            let (path, at) = paths.entry(color.hex()).or_default();
            let _ = write!(path, "m{} {}h{width}v{cell_h}h-{width}z", x - at.0, y - at.1);
            *at = (x, y);
        }
    }
    let origin = format!("translate({} {})", px(grid.x.round()), px(grid.y.round()));
    svg.open("g", &[("transform", &origin), ("shape-rendering", &"crispEdges")]);
    svg.rect((0.0, 0.0), (grid.width(), grid.height()), 0.0, &ZERO.hex());
    for (color, (path, _)) in &paths {
        svg.element("path", &[("fill", color), ("d", path)]);
    }
    svg.close("g");
}
