//! A grid of values over two named axes: layer x head, layer x position, neuron x token.
//!
//! Row 0 is drawn at the bottom, so that layer 0 sits where the residual stream begins. The
//! picture is sized to the grid: values are printed in the cells while they are few and large
//! enough, then cells shrink, lose their gaps, and end as a raster of 1 to 2 px. Beyond
//! [`MAX_COLS`] x [`MAX_ROWS`] a pixel shows the strongest of the cells under it, and the legend
//! says so, as it says when cells are missing or infinite.

mod cells;
mod ticks;

use self::cells::{draw_cells, draw_dot, draw_hatch, draw_missing, draw_raster, printed_size};
use self::ticks::{TICK_SIZE, Ticks, arrange_columns, draw_col_ticks, draw_row_ticks};
use super::PlotError;
use super::axis::thin_every;
use super::color_bar::{self, BAR_HEIGHT, BAR_WIDTH};
use super::grid::Grid;
pub use super::grid::{MAX_COLS, MAX_ROWS};
use super::label::sans_width;
use super::number::{NumberFormat, count};
use super::scale::{ColorScale, MISSING, ScaleKind};
use super::sheet::{Header, INK, PAD, QUIET, draw_notes, notes, notes_height, quiet};
use super::svg::{Anchor, Svg, TextStyle};

/// A grid of values with everything needed to read it.
///
/// # Example
///
/// ```
/// use microtome::plot::{AxisLabels, Heatmap, ScaleKind};
///
/// let heatmap = Heatmap {
///     title: "Residual stream patched at one position".into(),
///     subtitle: "When Mary and John went to the store".into(),
///     rows: AxisLabels::numbered("layer", "L", 2),
///     cols: AxisLabels { name: "token".into(), labels: vec!["When".into(), " Mary".into()] },
///     values: vec![Some(0.0), Some(0.98), Some(-0.1), None],
///     unit: "recovery".into(),
///     baseline: "0 is the corrupt run, 1 the clean run".into(),
///     scale: ScaleKind::Diverging,
/// };
/// heatmap.check()?;
/// assert!(heatmap.to_svg().starts_with("<svg"));
/// # Ok::<(), microtome::plot::PlotError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Heatmap {
    /// What is shown.
    pub title: String,
    /// On what: the prompt, the model and the weights.
    pub subtitle: String,
    /// The vertical axis; the first label is at the bottom.
    pub rows: AxisLabels,
    /// The horizontal axis; the first label is at the left.
    pub cols: AxisLabels,
    /// Row-major values, row 0 first; `None` was not computed. NaN is drawn as missing, infinities
    /// in the colour of the end of the scale with a mark.
    pub values: Vec<Option<f64>>,
    /// What a value counts: `logit diff`, `nats`, `recovery`.
    pub unit: String,
    /// One line: what 0 or the baseline means.
    pub baseline: String,
    /// What the colours mean.
    pub scale: ScaleKind,
}

/// The name of an axis and one label per row or column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisLabels {
    /// What runs along the axis: `layer`, `head`, `token`.
    pub name: String,
    /// One label per row or column, as they are: tokens keep their leading space.
    pub labels: Vec<String>,
}

impl AxisLabels {
    /// Labels `{prefix}0`, `{prefix}1`, ... for `n` rows or columns.
    pub fn numbered(name: &str, prefix: &str, n: usize) -> AxisLabels {
        AxisLabels { name: name.to_owned(), labels: (0..n).map(|i| format!("{prefix}{i}")).collect() }
    }
}

/// What a cell holds, once told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell {
    /// A finite value.
    Value(f64),
    /// Plus or minus infinity.
    Infinite(f64),
    /// Not computed, or not a number.
    Missing,
}

/// How many cells need a word in the legend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Oddities {
    pub(crate) n_missing: usize,
    pub(crate) n_nan: usize,
    pub(crate) n_infinite: usize,
}

impl Heatmap {
    /// Checks that there is one value per cell.
    ///
    /// # Errors
    ///
    /// [`PlotError::CellCount`] where `values` is longer or shorter than rows x columns. Drawing
    /// does not need the check: absent cells are drawn as missing, and the legend counts them.
    pub fn check(&self) -> Result<(), PlotError> {
        let (n_rows, n_cols) = (self.rows.labels.len(), self.cols.labels.len());
        if self.values.len() == n_rows * n_cols {
            return Ok(());
        }
        Err(PlotError::CellCount { title: self.title.clone(), n_rows, n_cols, n_values: self.values.len() })
    }

    /// The heatmap as an SVG document.
    pub fn to_svg(&self) -> String {
        draw(self)
    }

    /// The colours of this grid.
    pub fn color_scale(&self) -> ColorScale {
        ColorScale::fit(self.scale, self.values.iter().flatten().copied())
    }

    pub(crate) fn number_format(&self) -> NumberFormat {
        NumberFormat::fit(self.values.iter().flatten().copied())
    }

    pub(crate) fn cell(&self, row: usize, col: usize) -> Cell {
        match self.values.get(row * self.cols.labels.len() + col).copied().flatten() {
            Some(value) if value.is_finite() => Cell::Value(value),
            Some(value) if value.is_infinite() => Cell::Infinite(value),
            _ => Cell::Missing,
        }
    }

    pub(crate) fn oddities(&self) -> Oddities {
        let n_cells = self.rows.labels.len() * self.cols.labels.len();
        let given = &self.values[..self.values.len().min(n_cells)];
        Oddities {
            n_missing: n_cells - given.iter().flatten().count(),
            n_nan: given.iter().flatten().filter(|v| v.is_nan()).count(),
            n_infinite: given.iter().flatten().filter(|v| v.is_infinite()).count(),
        }
    }
}

impl Oddities {
    /// One phrase per kind of cell that is not a plain value; `marked` says how infinities look.
    pub(crate) fn phrases(self, marked: &str) -> Vec<(Cell, String)> {
        let mut out = Vec::new();
        if self.n_missing > 0 {
            out.push((Cell::Missing, format!("{} without a value", count(self.n_missing))));
        }
        if self.n_nan > 0 {
            out.push((Cell::Missing, format!("{} not a number", count(self.n_nan))));
        }
        if self.n_infinite > 0 {
            let text = format!("{} infinite{marked}", count(self.n_infinite));
            out.push((Cell::Infinite(f64::INFINITY), text));
        }
        out
    }
}

fn draw(heatmap: &Heatmap) -> String {
    let mut grid = Grid::fit(heatmap);
    let scale = heatmap.color_scale();
    let is_empty = grid.n_rows == 0 || grid.n_cols == 0;

    let mut row_ticks = Ticks::new(&heatmap.rows, grid.rows_per_cell);
    row_ticks.every = thin_every((TICK_SIZE + 2.0) / grid.cell_h);
    let mut col_ticks = Ticks::new(&heatmap.cols, grid.cols_per_cell);
    let degrees = arrange_columns(&mut col_ticks, grid.cell_w);

    // Left margin: row labels, and slanted column labels that reach out to the left.
    let row_label_width = row_ticks.widest();
    let reach = match degrees {
        Some(45.0) => col_ticks
            .shown()
            .map(|(col, label)| col_ticks.width(label) * 0.71 - (col as f64 + 0.5) * grid.cell_w)
            .fold(0.0, f64::max),
        _ => 0.0,
    };
    grid.x = (PAD + row_label_width + 10.0).max(PAD + reach).ceil();

    // Contents decide the width, within what still reads as one picture.
    let header_wish = sans_width(&heatmap.title, 16.0).max(sans_width(&heatmap.subtitle, 12.0));
    let content = (grid.x - PAD + grid.width()).max(header_wish.min(560.0)).max(400.0).ceil();
    let header = Header::new(&heatmap.title, &heatmap.subtitle, content);
    let row_name_height = if heatmap.rows.name.is_empty() { 0.0 } else { 18.0 };
    grid.y = header.bottom() + row_name_height;

    let col_label_height = match degrees {
        None => TICK_SIZE + 8.0,
        Some(45.0) => col_ticks.widest() * 0.71 + 14.0,
        Some(_) => col_ticks.widest() + 10.0,
    };
    let below_grid = grid.y + if is_empty { 40.0 } else { grid.height() + col_label_height };
    let below_name = below_grid + if heatmap.cols.name.is_empty() { 4.0 } else { 24.0 };
    let bar_y = below_name + 12.0;
    let extras = legend_extras(heatmap, &grid);
    let extras_width: f64 = extras.iter().map(|(_, text)| sans_width(text, 12.0) + 36.0).sum();
    let unit_width = sans_width(&heatmap.unit, 12.0);
    let extras_beside = BAR_WIDTH + 12.0 + unit_width + 16.0 + extras_width <= content;
    let extras_in_row = extras_beside || extras_width <= content;
    let extras_height = match extras.len() {
        0 => 0.0,
        _ if extras_beside => 0.0,
        _ if extras_in_row => 26.0,
        n => n as f64 * 18.0 + 8.0,
    };
    let baseline = notes(&heatmap.baseline, content);
    let notes_y = bar_y + BAR_HEIGHT + 34.0 + extras_height;
    let notes_bottom =
        if baseline.is_empty() { notes_y - 14.0 } else { notes_y + notes_height(&baseline) - 13.0 };
    let size = ((PAD * 2.0 + content).ceil(), (notes_bottom + PAD).ceil());

    let mut svg = Svg::new(size.0, size.1);
    header.draw(&mut svg, size);
    draw_hatch(&mut svg);
    if is_empty {
        svg.text((PAD, grid.y + 22.0), "nothing to draw: the grid has no cells", quiet(12.5, Anchor::Start));
    } else {
        draw_axis_names(&mut svg, heatmap, &grid, below_grid);
        draw_row_ticks(&mut svg, &row_ticks, &grid);
        draw_col_ticks(&mut svg, &col_ticks, &grid, degrees);
        if grid.is_raster() {
            draw_raster(&mut svg, heatmap, &grid, &scale);
        } else {
            draw_cells(&mut svg, heatmap, &grid, &scale);
        }
    }
    color_bar::draw(&mut svg, &scale, &heatmap.unit, (PAD, bar_y));
    let beside = PAD + BAR_WIDTH + 12.0 + if unit_width > 0.0 { unit_width + 22.0 } else { 6.0 };
    let (mut x, mut y) = if extras_beside { (beside, bar_y + 8.5) } else { (PAD, bar_y + BAR_HEIGHT + 36.0) };
    for (cell, text) in &extras {
        draw_swatch(&mut svg, (x, y), *cell, &grid, &scale);
        svg.text((x + 19.0, y), text, quiet(12.0, Anchor::Start));
        if extras_in_row {
            x += sans_width(text, 12.0) + 36.0;
        } else {
            y += 18.0;
        }
    }
    draw_notes(&mut svg, (PAD, notes_y), &baseline);
    svg.finish(&heatmap.title)
}

fn draw_axis_names(svg: &mut Svg, heatmap: &Heatmap, grid: &Grid, below_grid: f64) {
    let name = TextStyle { fill: INK, ..quiet(12.0, Anchor::Start) };
    let row_name_width = sans_width(&heatmap.rows.name, 12.0);
    let right = grid.x - 9.0;
    if PAD + row_name_width <= right {
        svg.text((right, grid.y - 8.0), &heatmap.rows.name, TextStyle { anchor: Anchor::End, ..name });
    } else {
        svg.text((PAD, grid.y - 8.0), &heatmap.rows.name, name);
    }
    let col_name_width = sans_width(&heatmap.cols.name, 12.0);
    // Centred under the grid where that keeps it on the panel.
    let middle = grid.x + grid.width() / 2.0;
    if middle - col_name_width / 2.0 >= PAD {
        svg.text(
            (middle, below_grid + 15.0),
            &heatmap.cols.name,
            TextStyle { anchor: Anchor::Middle, ..name },
        );
    } else {
        svg.text((PAD, below_grid + 15.0), &heatmap.cols.name, name);
    }
}

/// What the legend must say beyond the scale.
fn legend_extras(heatmap: &Heatmap, grid: &Grid) -> Vec<(Option<Cell>, String)> {
    let prints = printed_size(heatmap, grid, heatmap.number_format()).is_some();
    let marked = match (prints, grid.is_raster()) {
        (true, _) | (_, true) => ", in the end colour",
        _ => ", in the end colour with a dot",
    };
    let mut extras: Vec<(Option<Cell>, String)> =
        heatmap.oddities().phrases(marked).into_iter().map(|(cell, text)| (Some(cell), text)).collect();
    if grid.is_binned() {
        let text = format!(
            "each pixel shows the strongest of {} x {} cells",
            count(grid.rows_per_cell),
            count(grid.cols_per_cell)
        );
        extras.push((None, text));
    }
    extras
}

fn draw_swatch(svg: &mut Svg, (x, y): (f64, f64), cell: Option<Cell>, grid: &Grid, scale: &ColorScale) {
    let (at, size) = ((x, y - 10.0), (13.0, 12.0));
    match cell {
        Some(Cell::Missing) if grid.is_raster() => svg.rect(at, size, 2.0, &MISSING.hex()),
        Some(Cell::Missing) => draw_missing(svg, at, size, 2.0),
        Some(Cell::Value(value) | Cell::Infinite(value)) => {
            let color = scale.color(value);
            svg.rect(at, size, 2.0, &color.hex());
            svg.text(
                (x + 6.5, y - 0.5),
                "∞",
                TextStyle { fill: &color.ink().hex(), ..quiet(10.0, Anchor::Middle) },
            );
        }
        None => draw_dot(svg, (x + 6.5, y - 4.0), 1.5, QUIET),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::grid::cell_size;
    use crate::plot::scale::ZERO;
    use crate::plot::svg_to_png;
    use resvg::tiny_skia::Pixmap;
    use resvg::usvg::roxmltree::Document;

    pub(crate) fn grid_of(
        n_rows: usize,
        n_cols: usize,
        value: impl Fn(usize, usize) -> Option<f64>,
    ) -> Heatmap {
        let values =
            (0..n_rows).flat_map(|r| (0..n_cols).map(move |c| (r, c))).map(|(r, c)| value(r, c)).collect();
        Heatmap {
            title: "Title".into(),
            subtitle: "a prompt · a model".into(),
            rows: AxisLabels::numbered("layer", "L", n_rows),
            cols: AxisLabels::numbered("head", "H", n_cols),
            values,
            unit: "nats".into(),
            baseline: "0 is the clean run".into(),
            scale: ScaleKind::Diverging,
        }
    }

    /// Filled rectangles as (x, y, fill).
    fn rects(svg: &str) -> Vec<(f64, f64, String)> {
        let document = Document::parse(svg).expect("well-formed");
        let number = |n: &resvg::usvg::roxmltree::Node<'_, '_>, key| {
            n.attribute(key).and_then(|v| v.parse().ok()).unwrap_or(0.0)
        };
        document
            .descendants()
            .filter(|n| n.has_tag_name("rect") && n.ancestors().all(|a| !a.has_tag_name("defs")))
            .map(|n| (number(&n, "x"), number(&n, "y"), n.attribute("fill").unwrap_or_default().to_owned()))
            .collect()
    }

    fn texts(svg: &str) -> Vec<String> {
        let document = Document::parse(svg).expect("well-formed");
        let text = |n: resvg::usvg::roxmltree::Node<'_, '_>| {
            n.descendants().filter_map(|d| d.text().filter(|_| d.is_text())).collect()
        };
        document.descendants().filter(|n| n.has_tag_name("text")).map(text).collect()
    }

    #[test]
    fn row_zero_is_at_the_bottom_and_column_zero_at_the_left() {
        let svg = grid_of(2, 2, |r, c| Some(if (r, c) == (0, 0) { 1.0 } else { 0.0 })).to_svg();
        let end = ColorScale::fit(ScaleKind::Diverging, [1.0].into_iter()).color(1.0).hex();
        let cells = rects(&svg);
        let (x, y, _) = cells.iter().find(|(_, _, fill)| *fill == end).expect("the coloured cell").clone();
        let zeros: Vec<_> = cells.iter().filter(|(_, _, fill)| *fill == ZERO.hex()).collect();
        assert_eq!(zeros.len(), 3);
        assert!(zeros.iter().all(|(zx, zy, _)| *zx >= x && *zy <= y));
    }

    #[test]
    fn labels_and_titles_are_escaped_and_spaces_made_visible() {
        let mut heatmap = grid_of(1, 2, |_, _| Some(1.0));
        heatmap.title = "a < b & \"c\"".into();
        heatmap.cols.labels = vec![" <John>".into(), "\n".into()];
        let drawn = texts(&heatmap.to_svg());
        for expected in ["a < b & \"c\"", "·<John>", "⏎", "layer", "head", "nats", "0 is the clean run"] {
            assert!(drawn.iter().any(|t| t == expected), "{expected} not in {drawn:?}");
        }
    }

    #[test]
    fn every_shape_of_grid_and_value_draws_without_panic_and_well_formed() {
        let odd = [
            None,
            Some(f64::NAN),
            Some(f64::INFINITY),
            Some(f64::NEG_INFINITY),
            Some(1.0),
            Some(-1e300),
            Some(0.0),
        ];
        for (n_rows, n_cols) in
            [(0, 0), (0, 5), (5, 0), (1, 1), (12, 12), (12, 64), (48, 25), (1, 300), (300, 1), (7, 900)]
        {
            for fill in 0..=odd.len() {
                let heatmap = grid_of(n_rows, n_cols, |r, c| {
                    odd[if fill < odd.len() { fill } else { (r + c) % odd.len() }]
                });
                for scale in [ScaleKind::Diverging, ScaleKind::Sequential] {
                    let svg = Heatmap { scale, ..heatmap.clone() }.to_svg();
                    Document::parse(&svg).expect("well-formed");
                    assert!(!svg.contains("NaN") && !svg.contains("\"inf"), "{n_rows}x{n_cols}");
                }
            }
        }
    }

    #[test]
    fn missing_and_infinite_cells_are_counted_in_the_legend() {
        let svg = grid_of(2, 3, |r, c| match (r, c) {
            (0, 0) => None,
            (0, 1) => Some(f64::NAN),
            (1, 0) => Some(f64::INFINITY),
            _ => Some(0.5),
        })
        .to_svg();
        let drawn = texts(&svg).join("\n");
        for expected in ["1 without a value", "1 not a number", "1 infinite", "∞"] {
            assert!(drawn.contains(expected), "{expected} not in {drawn}");
        }
        assert_eq!(rects(&svg).iter().filter(|(_, _, fill)| fill == "url(#microtome-hatch)").count(), 2 + 2);
    }

    #[test]
    fn a_short_value_list_is_an_error_on_check_and_missing_when_drawn() {
        let mut heatmap = grid_of(2, 2, |_, _| Some(1.0));
        heatmap.check().expect("one value per cell");
        heatmap.values.pop();
        let message = heatmap.check().expect_err("a value is absent").to_string();
        assert_eq!(message, "heatmap `Title` has 2 rows x 2 columns = 4 cells but 3 values");
        assert!(texts(&heatmap.to_svg()).iter().any(|t| t == "1 without a value"));
    }

    #[test]
    fn values_are_printed_in_few_cells_and_not_in_many() {
        let drawn = texts(&grid_of(12, 12, |_, _| Some(0.37)).to_svg());
        assert_eq!(drawn.iter().filter(|t| *t == "0.37").count(), 144);
        let drawn = texts(&grid_of(48, 25, |_, _| Some(0.37)).to_svg());
        assert_eq!(drawn.iter().filter(|t| *t == "0.37").count(), 0);
    }

    #[test]
    fn a_very_large_grid_stays_a_small_file_of_bounded_size() {
        let svg = grid_of(100, 3072, |r, c| Some(((r * 31 + c * 17) % 201) as f64 - 100.0)).to_svg();
        assert!(svg.len() < 8_000_000, "{} bytes", svg.len());
        let svg = grid_of(3, 50_257, |r, c| Some((r + c) as f64)).to_svg();
        assert!(texts(&svg).iter().any(|t| t.contains("strongest of 1 x 13 cells")));
        let document = Document::parse(&svg).expect("well-formed");
        let width: f64 =
            document.root_element().attribute("width").and_then(|w| w.parse().ok()).expect("a width");
        assert!(width < 5000.0);
    }

    #[test]
    fn the_strongest_cell_survives_binning() {
        let svg = grid_of(1, 50_000, |_, c| Some(if c == 33_333 { -5.0 } else { 0.001 })).to_svg();
        let end = ColorScale::fit(ScaleKind::Diverging, [5.0].into_iter()).color(-5.0).hex();
        assert!(svg.contains(&format!("<path fill=\"{end}\"")));
    }

    #[test]
    fn raster_cells_land_on_their_pixels() {
        // A single strong cell in a raster-sized grid must be where its row and column say.
        let svg = grid_of(200, 400, |r, c| Some(if (r, c) == (3, 250) { 1.0 } else { 0.0 })).to_svg();
        let picture = Pixmap::decode_png(&svg_to_png(&svg, 1.0).expect("a png")).expect("decodes");
        let end = ColorScale::fit(ScaleKind::Diverging, [1.0].into_iter()).color(1.0);
        let at = |want: (u8, u8, u8)| {
            let hits = picture
                .pixels()
                .iter()
                .enumerate()
                .filter(move |(_, p)| (p.red(), p.green(), p.blue()) == want);
            hits.map(|(i, _)| (i as u32 % picture.width(), i as u32 / picture.width())).collect::<Vec<_>>()
        };
        let ground = at((ZERO.r, ZERO.g, ZERO.b));
        let left = ground.iter().map(|p| p.0).min().expect("ground");
        let bottom = ground.iter().map(|p| p.1).max().expect("ground");
        let (cell_w, cell_h) = cell_size(200, 400);
        let expected = (left + 250 * cell_w as u32, bottom + 1 - 4 * cell_h as u32);
        assert!(at((end.r, end.g, end.b)).contains(&expected));
    }

    #[test]
    fn the_same_heatmap_is_the_same_text() {
        let heatmap = grid_of(30, 200, |r, c| Some((r as f64 * 0.7 + c as f64 * 1.3).sin()));
        assert_eq!(heatmap.to_svg(), heatmap.to_svg());
    }
}
