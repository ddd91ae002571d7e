//! Heatmaps as terminal text: the same grid, colours and words as the picture.
//!
//! A cell is as wide as its printed value where that fits the terminal; with colour, narrower
//! cells without numbers where it does not, at the narrowest two cells per column (`▌`); and where
//! that is still too wide, blocks of columns below each other, each with its header. Without
//! colour only numbers are written, so that a file or a pipe keeps every value. Row 0 is at the
//! bottom. No line is ever wider than asked.

use unicode_width::UnicodeWidthStr;

use super::color_bar;
use super::heatmap::{Cell, Heatmap};
use super::label::{Label, are_numbered, wrap};
use super::number::NumberFormat;
use super::scale::{ColorScale, Rgb, ScaleKind};

/// How a heatmap is written to a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermOptions {
    /// Columns of the terminal; fewer than [`MIN_WIDTH`] counts as [`MIN_WIDTH`].
    pub width: usize,
    /// Which colours the terminal knows.
    pub color: ColorMode,
}

/// Which colours a terminal knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorMode {
    /// 24-bit colour.
    TrueColor,
    /// The 256-colour palette.
    Ansi256,
    /// No colour, and no escape codes: for pipes and files.
    None,
}

/// The narrowest terminal that is written for.
pub const MIN_WIDTH: usize = 20;
/// What a cell without a value shows.
const MISSING_SIGN: &str = "—";
/// Stands for a space that a line must not be broken at; no label can contain it.
const TIE: &str = "\u{1}";
const RESET: &str = "\x1b[0m";
const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";

/// Draws a heatmap as lines of text, each ending in a newline and none wider than `options.width`.
pub fn render_heatmap(heatmap: &Heatmap, options: TermOptions) -> String {
    let width = options.width.max(MIN_WIDTH);
    let page = Page::new(heatmap, width, options.color);
    let mut out = String::new();
    page.paragraph(&mut out, &heatmap.title, BOLD);
    page.paragraph(&mut out, &heatmap.subtitle, DIM);
    if heatmap.rows.labels.is_empty() || heatmap.cols.labels.is_empty() {
        page.paragraph(&mut out, "nothing to draw: the grid has no cells", "");
        return out;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    let n_cols = heatmap.cols.labels.len();
    let per_block = page.cols_per_block();
    for start in (0..n_cols).step_by(per_block) {
        let cols = start..(start + per_block).min(n_cols);
        if per_block < n_cols {
            let text = format!("{} {} to {} of {n_cols}", heatmap.cols.name, cols.start, cols.end - 1);
            page.paragraph(&mut out, &text, BOLD);
        }
        page.block(&mut out, cols.clone());
        if cols.end < n_cols {
            out.push('\n');
        }
    }
    page.legend(&mut out);
    out
}

/// How wide cells are and what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CellStyle {
    /// A value right-aligned in so many columns, one of them a space.
    Number { width: usize, format: NumberFormat },
    /// Colour alone in so many columns.
    Patch { width: usize },
    /// Two cells in one column.
    Half,
}

struct Page<'a> {
    heatmap: &'a Heatmap,
    scale: ColorScale,
    width: usize,
    color: ColorMode,
    gutter: usize,
    cell: CellStyle,
}

impl<'a> Page<'a> {
    fn new(heatmap: &'a Heatmap, width: usize, color: ColorMode) -> Page<'a> {
        let labels = heatmap.rows.labels.iter().map(|raw| Label::of(raw).columns());
        let widest = labels.chain([heatmap.rows.name.width()]).max().unwrap_or(0);
        let gutter = widest.min(width / 4).min(14) + 1;
        let scale = heatmap.color_scale();
        let mut page = Page { heatmap, scale, width, color, gutter, cell: CellStyle::Half };
        page.cell = page.choose_cell();
        page
    }

    fn choose_cell(&self) -> CellStyle {
        let room = self.width - self.gutter;
        let n_cols = self.heatmap.cols.labels.len();
        let numbers = self.number_styles();
        let fitting = numbers.iter().find(|style| n_cols * style.columns(1) <= room);
        if let Some(CellStyle::Number { width, format }) = fitting.copied() {
            // What room is left goes to the column labels.
            let labels = self.heatmap.cols.labels.iter().map(|raw| Label::of(raw).columns() + 1);
            let wished = labels.max().unwrap_or(0).clamp(width, 16);
            return CellStyle::Number { width: wished.min(room / n_cols.max(1)).max(width), format };
        }
        if self.color == ColorMode::None {
            // Blocks at full precision: a file has no end of lines.
            return numbers[0];
        }
        let patches = [3, 2, 1].map(|width| CellStyle::Patch { width });
        patches.into_iter().find(|style| n_cols * style.columns(1) <= room).unwrap_or(CellStyle::Half)
    }

    /// Number cells from the most precise down to one digit after the point.
    fn number_styles(&self) -> Vec<CellStyle> {
        let full = self.heatmap.number_format();
        let coarser = match full {
            NumberFormat::Fixed(decimals @ 2..) if self.scale.hi().max(-self.scale.lo()) >= 0.5 => {
                Some(NumberFormat::Fixed(decimals - 1))
            }
            _ => None,
        };
        let style = |format: NumberFormat| {
            let values = self.heatmap.values.iter().flatten();
            let widest = values.map(|v| self.number(format, *v).width()).max().unwrap_or(1).max(3);
            CellStyle::Number { width: (widest + 1).min(self.width - self.gutter), format }
        };
        std::iter::once(full).chain(coarser).map(style).collect()
    }

    fn number(&self, format: NumberFormat, value: f64) -> String {
        let text = match self.heatmap.scale {
            ScaleKind::Diverging => format.signed(value),
            ScaleKind::Sequential => format.plain(value),
        };
        // Programs that read a piped table expect the hyphen.
        if self.color == ColorMode::None { text.replace('−', "-").replace('∞', "inf") } else { text }
    }

    fn cols_per_block(&self) -> usize {
        let room = self.width - self.gutter;
        match self.cell {
            CellStyle::Number { width, .. } | CellStyle::Patch { width } => (room / width).max(1),
            CellStyle::Half => room * 2,
        }
    }

    /// One block: a header and all rows, the last row first.
    fn block(&self, out: &mut String, cols: std::ops::Range<usize>) {
        self.header(out, cols.clone());
        for row in (0..self.heatmap.rows.labels.len()).rev() {
            let label = Label::of(&self.heatmap.rows.labels[row]).shortened(self.gutter - 1).text();
            let label = self.styled(&pad_left(&label, self.gutter - 1), DIM);
            let cells = self.row(row, cols.clone());
            push_line(out, &format!("{label} {cells}"));
        }
    }

    fn header(&self, out: &mut String, cols: std::ops::Range<usize>) {
        let name = Label::of(&self.heatmap.rows.name).shortened(self.gutter - 1).text();
        let name = pad_left(&name, self.gutter - 1);
        let labels = &self.heatmap.cols.labels;
        let line = match self.cell {
            CellStyle::Number { width, .. } => {
                let cell = |col: usize| pad_left(&Label::of(&labels[col]).shortened(width - 1).text(), width);
                cols.map(cell).collect::<String>()
            }
            _ => self.ruler(cols),
        };
        push_line(out, &self.styled(&format!("{name} {line}"), DIM));
    }

    /// Labels of narrow cells: every so many columns, by number where the labels are names.
    fn ruler(&self, cols: std::ops::Range<usize>) -> String {
        let labels = &self.heatmap.cols.labels;
        let numbered = are_numbered(labels);
        let text = |col: usize| if numbered { labels[col].clone() } else { col.to_string() };
        let widest = cols.clone().map(|col| text(col).width()).max().unwrap_or(1);
        let per_label = (widest + 1) as f64 / self.cell.columns(2) as f64 * 2.0;
        let every = super::axis::thin_every(per_label);
        let end = self.cell.columns(cols.len());
        let mut line = String::new();
        for col in cols.clone().filter(|col| col.is_multiple_of(every)) {
            let at = self.cell.columns(col - cols.start + 1) - self.cell.columns(1);
            let text = text(col);
            if at >= line.width() && at + text.width() <= end.max(1) {
                line.push_str(&" ".repeat(at - line.width()));
                line.push_str(&text);
            }
        }
        line
    }

    fn row(&self, row: usize, cols: std::ops::Range<usize>) -> String {
        let cells: Vec<Cell> = cols.map(|col| self.heatmap.cell(row, col)).collect();
        let mut line = String::new();
        match self.cell {
            CellStyle::Number { width, format } => {
                for cell in cells {
                    match cell {
                        Cell::Missing => line.push_str(&pad_left(MISSING_SIGN, width)),
                        Cell::Value(value) | Cell::Infinite(value) => {
                            let text = pad_left(&self.number(format, value), width);
                            line.push_str(&self.painted(&text, value));
                        }
                    }
                }
            }
            CellStyle::Patch { width } => {
                for cell in cells {
                    line.push_str(&match cell {
                        Cell::Missing => self.styled(&"░".repeat(width), DIM),
                        Cell::Value(value) => self.painted(&" ".repeat(width), value),
                        Cell::Infinite(value) => self.painted(&pad_left("!", width), value),
                    });
                }
            }
            CellStyle::Half => {
                for pair in cells.chunks(2) {
                    let left = self.ground_code(38, pair[0]);
                    let right = pair.get(1).map(|cell| self.ground_code(48, *cell)).unwrap_or_default();
                    line.push_str(&format!("{left}{right}▌{RESET}"));
                }
            }
        }
        line.replace(&format!("{RESET}{RESET}"), RESET)
    }

    fn legend(&self, out: &mut String) {
        out.push('\n');
        let (lo, _, hi) = color_bar::texts(&self.scale);
        if self.color == ColorMode::None {
            let text = format!("scale {lo} to {hi}, {}", self.heatmap.unit).replace('−', "-");
            self.paragraph(out, &text, "");
        } else {
            self.color_bar(out, &lo, &hi);
        }
        if !are_numbered(&self.heatmap.cols.labels) && !matches!(self.cell, CellStyle::Number { .. }) {
            self.column_key(out);
        } else if !self.heatmap.cols.name.is_empty() {
            self.paragraph(out, &format!("columns: {}", self.heatmap.cols.name), DIM);
        }
        let marked = if self.color == ColorMode::None { "" } else { ", in the end colour" };
        for (cell, text) in self.heatmap.oddities().phrases(marked) {
            let sign = match (cell, self.cell) {
                (Cell::Missing, CellStyle::Number { .. }) => MISSING_SIGN,
                (Cell::Missing, CellStyle::Patch { .. }) => "░",
                (Cell::Missing, CellStyle::Half) => "grey",
                (_, CellStyle::Patch { .. }) => "!",
                _ => "",
            };
            self.paragraph(out, &format!("{sign} {text}"), DIM);
        }
        self.paragraph(out, &self.heatmap.baseline, DIM);
    }

    fn color_bar(&self, out: &mut String, lo: &str, hi: &str) {
        let texts = lo.width() + hi.width() + 2;
        let steps = self.width.saturating_sub(texts).min(25);
        let at = |step: usize| {
            let t = step as f64 / (steps.max(2) - 1) as f64;
            self.scale.lo() * (1.0 - t) + self.scale.hi() * t
        };
        let bar: String = (0..steps).map(|step| self.painted(" ", at(step))).collect();
        if texts + steps + 2 + self.heatmap.unit.width() <= self.width {
            push_line(out, &format!("{lo} {bar} {hi}  {}", Label::of(&self.heatmap.unit).text()));
        } else {
            push_line(out, &format!("{lo} {bar} {hi}"));
            self.paragraph(out, &self.heatmap.unit, "");
        }
    }

    /// Which name stands behind which number of the ruler.
    fn column_key(&self, out: &mut String) {
        const MOST: usize = 128;
        let labels = &self.heatmap.cols.labels;
        // A name is one word here, so that it is not torn from its number.
        let name = |raw: &String| Label::of(raw).shortened(16).text().replace(' ', TIE);
        let entries =
            labels.iter().take(MOST).enumerate().map(|(col, raw)| format!("{col}{TIE}{}", name(raw)));
        let rest =
            if labels.len() > MOST { format!(" … {} more", labels.len() - MOST) } else { String::new() };
        let text = format!("{}: {}{rest}", self.heatmap.cols.name, entries.collect::<Vec<_>>().join(" "));
        for line in wrap(&text, |line| line.replace(TIE, " ").width() <= self.width) {
            push_line(out, &self.styled(&line.replace(TIE, " "), DIM));
        }
    }

    /// A text broken into lines that fit.
    fn paragraph(&self, out: &mut String, text: &str, style: &str) {
        let clean: String = text.split([' ', '\n']).map(|word| Label::of(word).text() + " ").collect();
        for line in wrap(&clean, |line| line.width() <= self.width) {
            push_line(out, &self.styled(&line, style));
        }
    }

    fn styled(&self, text: &str, style: &str) -> String {
        if self.color == ColorMode::None || style.is_empty() || text.is_empty() {
            return text.to_owned();
        }
        format!("{style}{text}{RESET}")
    }

    /// Text on the colour of a value.
    fn painted(&self, text: &str, value: f64) -> String {
        let ground = self.ground_code(48, Cell::Value(value));
        let ink = match self.color {
            ColorMode::None => return text.to_owned(),
            ColorMode::TrueColor => true_color_code(38, self.scale.color(value).ink()),
            ColorMode::Ansi256 => {
                // Palette colours 16 and 231 are black and white, whatever the theme.
                let is_white = rgb_from_ansi256(self.ansi256(value)).ink().r > 128;
                ansi256_code(38, if is_white { 231 } else { 16 })
            }
        };
        format!("{ground}{ink}{text}{RESET}")
    }

    /// The escape code of a cell's colour, as text (38) or as ground (48).
    fn ground_code(&self, layer: u8, cell: Cell) -> String {
        let value = match cell {
            Cell::Value(value) | Cell::Infinite(value) => value,
            Cell::Missing => f64::NAN,
        };
        match self.color {
            ColorMode::TrueColor => true_color_code(layer, self.scale.color(value)),
            ColorMode::Ansi256 => ansi256_code(layer, self.ansi256(value)),
            ColorMode::None => String::new(),
        }
    }

    /// The palette colour of a value. Steps are chosen by hand: the palette is so coarse that the
    /// nearest of its colours often has another hue.
    fn ansi256(&self, value: f64) -> u8 {
        const BLUE: [u8; 5] = [255, 153, 110, 67, 25];
        const RED: [u8; 5] = [255, 217, 174, 131, 124];
        const TEAL: [u8; 5] = [255, 152, 73, 30, 23];
        const MISSING: u8 = 250;
        if value.is_nan() {
            return MISSING;
        }
        let t = self.scale.position(value);
        let ramp = match self.scale.kind() {
            ScaleKind::Sequential => TEAL,
            ScaleKind::Diverging if t > 0.0 => BLUE,
            ScaleKind::Diverging => RED,
        };
        ramp[(t.abs() * 4.0).round() as usize]
    }
}

impl CellStyle {
    /// Columns that `n` cells take.
    fn columns(self, n: usize) -> usize {
        match self {
            CellStyle::Number { width, .. } | CellStyle::Patch { width } => n * width,
            CellStyle::Half => n.div_ceil(2),
        }
    }
}

fn true_color_code(layer: u8, color: Rgb) -> String {
    format!("\x1b[{layer};2;{};{};{}m", color.r, color.g, color.b)
}

fn ansi256_code(layer: u8, index: u8) -> String {
    format!("\x1b[{layer};5;{index}m")
}

/// The colour of a palette entry from 16 up: the 6x6x6 cube, then the grey ramp.
fn rgb_from_ansi256(index: u8) -> Rgb {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    if index >= 232 {
        let level = 8 + 10 * (index - 232);
        return Rgb { r: level, g: level, b: level };
    }
    let cube = usize::from(index.saturating_sub(16));
    Rgb { r: LEVELS[cube / 36], g: LEVELS[cube / 6 % 6], b: LEVELS[cube % 6] }
}

fn pad_left(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(text.width())))
}

/// Ends a line, without the blanks that nobody sees.
fn push_line(out: &mut String, line: &str) {
    out.push_str(line.trim_end_matches(' '));
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::AxisLabels;

    const MODES: [ColorMode; 3] = [ColorMode::TrueColor, ColorMode::Ansi256, ColorMode::None];

    fn grid_of(n_rows: usize, n_cols: usize, value: impl Fn(usize, usize) -> Option<f64>) -> Heatmap {
        let cells = (0..n_rows).flat_map(|r| (0..n_cols).map(move |c| (r, c)));
        Heatmap {
            title: "A title that is long enough to be broken in a narrow terminal".into(),
            subtitle: "When Mary and John went to the store, 日本語 \u{1b}[31m".into(),
            values: cells.map(|(r, c)| value(r, c)).collect(),
            rows: AxisLabels::numbered("layer", "L", n_rows),
            cols: AxisLabels::numbered("head", "H", n_cols),
            unit: "recovery of the logit difference".into(),
            baseline: "0 is the corrupt run, 1 the clean run".into(),
            scale: ScaleKind::Diverging,
        }
    }

    /// The text without escape codes.
    fn plain(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('\x1b') {
            out.push_str(&rest[..start]);
            let end = rest[start..].find('m').expect("every code ends in m");
            rest = &rest[start + end + 1..];
        }
        out + rest
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let tokens = ["When", " Mary", "日本語", "\n", "", "internationalization", " \u{200b}"];
        for (n_rows, n_cols) in [(0, 0), (1, 1), (12, 12), (12, 64), (2, 700), (48, 25)] {
            for width in [0, 20, 33, 80, 120, 300] {
                for color in MODES {
                    let mut heatmap = grid_of(n_rows, n_cols, |r, c| match (r + c) % 9 {
                        0 => None,
                        1 => Some(f64::INFINITY),
                        2 => Some(f64::NAN),
                        k => Some(k as f64 - 5.5),
                    });
                    for names in [0, 1] {
                        if names == 1 {
                            heatmap.cols.labels =
                                (0..n_cols).map(|c| tokens[c % tokens.len()].to_owned()).collect();
                        }
                        let text = render_heatmap(&heatmap, TermOptions { width, color });
                        for line in plain(&text).lines() {
                            assert!(line.width() <= width.max(MIN_WIDTH), "{width} {color:?}: {line}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn without_colour_there_are_no_escapes_and_every_value_is_there() {
        let heatmap = grid_of(3, 40, |r, c| Some((r * 40 + c) as f64 / 100.0 - 0.5));
        let text = render_heatmap(&heatmap, TermOptions { width: 60, color: ColorMode::None });
        assert!(!text.contains('\x1b'));
        for value in heatmap.values.iter().flatten() {
            let printed = NumberFormat::Fixed(2).signed(*value).replace('−', "-");
            assert!(text.split_whitespace().any(|word| word == printed), "{printed}");
        }
    }

    #[test]
    fn the_first_row_is_the_lowest_line_of_cells() {
        for color in MODES {
            let text =
                plain(&render_heatmap(&grid_of(3, 2, |_, _| Some(1.0)), TermOptions { width: 80, color }));
            let line_of = |label: &str| {
                text.lines().position(|line| line.trim_start().starts_with(label)).expect(label)
            };
            assert!(line_of("L2") < line_of("L1") && line_of("L1") < line_of("L0"));
        }
    }

    #[test]
    fn cells_shrink_before_they_split() {
        let style =
            |n_cols, width, color| Page::new(&grid_of(2, n_cols, |_, _| Some(0.5)), width, color).cell;
        assert!(matches!(style(12, 80, ColorMode::TrueColor), CellStyle::Number { .. }));
        assert!(matches!(style(24, 80, ColorMode::TrueColor), CellStyle::Patch { width: 3 }));
        assert!(matches!(style(64, 80, ColorMode::Ansi256), CellStyle::Patch { width: 1 }));
        assert!(matches!(style(130, 80, ColorMode::Ansi256), CellStyle::Half));
        assert!(matches!(style(130, 80, ColorMode::None), CellStyle::Number { .. }));
    }

    #[test]
    fn palette_steps_keep_hue_and_order_of_the_scale() {
        let mut heatmap = grid_of(1, 2, |_, c| Some(if c == 0 { -1.0 } else { 1.0 }));
        let luma = |c: Rgb| 3 * u32::from(c.r) + 6 * u32::from(c.g) + u32::from(c.b);
        for scale in [ScaleKind::Diverging, ScaleKind::Sequential] {
            heatmap.scale = scale;
            heatmap.values[0] = Some(if scale == ScaleKind::Diverging { -1.0 } else { 0.0 });
            let page = Page::new(&heatmap, 80, ColorMode::Ansi256);
            let color = |value: f64| rgb_from_ansi256(page.ansi256(value));
            for step in 1..=4 {
                let value = f64::from(step) / 4.0;
                assert!(luma(color(value)) < luma(color(value - 0.25)), "{scale:?} {value}");
                assert!(color(value).b > color(value).r);
                if scale == ScaleKind::Diverging {
                    assert!(color(-value).r > color(-value).b);
                }
            }
            assert_eq!(color(0.0), Rgb { r: 238, g: 238, b: 238 });
        }
    }

    #[test]
    fn every_line_that_sets_a_colour_resets_it() {
        let text = render_heatmap(
            &grid_of(4, 30, |_, c| Some(c as f64)),
            TermOptions { width: 70, color: ColorMode::TrueColor },
        );
        for line in text.lines().filter(|line| line.contains('\x1b')) {
            let last_code = &line[line.rfind('\x1b').expect("a code")..];
            assert!(last_code.starts_with(RESET), "{line:?}");
        }
    }
}
