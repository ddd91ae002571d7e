//! The grid of a heatmap on the page: how many cells are drawn, how large, and where.

use super::heatmap::{Cell, Heatmap};

/// The most columns drawn one by one.
pub const MAX_COLS: usize = 4096;
/// The most rows drawn one by one.
pub const MAX_ROWS: usize = 2048;

/// The grid as it is drawn: possibly fewer rows and columns than given.
pub(crate) struct Grid {
    pub(crate) n_rows: usize,
    pub(crate) n_cols: usize,
    pub(crate) rows_per_cell: usize,
    pub(crate) cols_per_cell: usize,
    pub(crate) cell_w: f64,
    pub(crate) cell_h: f64,
    pub(crate) gap: f64,
    pub(crate) radius: f64,
    pub(crate) x: f64,
    pub(crate) y: f64,
}

impl Grid {
    pub(crate) fn fit(heatmap: &Heatmap) -> Grid {
        let (rows, cols) = (heatmap.rows.labels.len(), heatmap.cols.labels.len());
        let rows_per_cell = rows.div_ceil(MAX_ROWS).max(1);
        let cols_per_cell = cols.div_ceil(MAX_COLS).max(1);
        let (n_rows, n_cols) = (rows.div_ceil(rows_per_cell), cols.div_ceil(cols_per_cell));
        let (cell_w, cell_h) = cell_size(n_rows, n_cols);
        let smaller = cell_w.min(cell_h);
        let (gap, radius) = match smaller {
            s if s >= 22.0 => (3.0, 3.0),
            s if s >= 12.0 => (2.0, 2.0),
            s if s >= 6.0 => (1.0, 1.0),
            _ => (0.0, 0.0),
        };
        Grid { n_rows, n_cols, rows_per_cell, cols_per_cell, cell_w, cell_h, gap, radius, x: 0.0, y: 0.0 }
    }

    pub(crate) fn width(&self) -> f64 {
        self.n_cols as f64 * self.cell_w
    }

    pub(crate) fn height(&self) -> f64 {
        self.n_rows as f64 * self.cell_h
    }

    pub(crate) fn center_x(&self, col: usize) -> f64 {
        self.x + (col as f64 + 0.5) * self.cell_w
    }

    /// Row 0 is the lowest.
    pub(crate) fn top(&self, row: usize) -> f64 {
        self.y + (self.n_rows - 1 - row) as f64 * self.cell_h
    }

    pub(crate) fn is_raster(&self) -> bool {
        self.gap == 0.0
    }

    pub(crate) fn is_binned(&self) -> bool {
        self.rows_per_cell * self.cols_per_cell > 1
    }

    /// The strongest of the values under a drawn cell.
    pub(crate) fn cell(&self, heatmap: &Heatmap, row: usize, col: usize) -> Cell {
        let rows = row * self.rows_per_cell..((row + 1) * self.rows_per_cell).min(heatmap.rows.labels.len());
        let mut strongest = Cell::Missing;
        for r in rows {
            let end = ((col + 1) * self.cols_per_cell).min(heatmap.cols.labels.len());
            for c in col * self.cols_per_cell..end {
                let cell = heatmap.cell(r, c);
                if strength(cell) > strength(strongest) {
                    strongest = cell;
                }
            }
        }
        strongest
    }
}

fn strength(cell: Cell) -> f64 {
    match cell {
        Cell::Value(value) | Cell::Infinite(value) => value.abs(),
        Cell::Missing => -1.0,
    }
}

/// Width and height of a cell: whole pixels, never far from square while there is room.
pub(crate) fn cell_size(n_rows: usize, n_cols: usize) -> (f64, f64) {
    const WIDTH: f64 = 960.0;
    const HEIGHT: f64 = 620.0;
    const LARGEST: (f64, f64) = (54.0, 40.0);
    let (n_rows, n_cols) = (n_rows.max(1) as f64, n_cols.max(1) as f64);
    let fit_w = (WIDTH / n_cols).floor().clamp(1.0, LARGEST.0);
    let fit_h = (HEIGHT / n_rows).floor().clamp(1.0, LARGEST.1);
    // A side may be about twice the other; a strip of few rows or columns may be longer still, so
    // that the grid as a whole stays visible.
    let tall_enough = (280.0 / n_rows).floor();
    let wide_enough = (280.0 / n_cols).floor();
    let cell_w = fit_w.min((2.0 * fit_h).max(wide_enough)).max(1.0);
    let cell_h = fit_h.min((1.8 * fit_w).floor().max(tall_enough)).max(1.0);
    (cell_w, cell_h)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_whole_pixels_and_the_grid_stays_on_the_page() {
        for n_rows in [1, 2, 6, 12, 48, 100, 1024, MAX_ROWS] {
            for n_cols in [1, 2, 8, 25, 64, 128, 1024, 3072, MAX_COLS] {
                let (w, h) = cell_size(n_rows, n_cols);
                assert!(w >= 1.0 && h >= 1.0 && w.fract() == 0.0 && h.fract() == 0.0);
                assert!(w * n_cols as f64 <= 960f64.max(n_cols as f64), "{n_rows}x{n_cols}");
                assert!(h * n_rows as f64 <= 620f64.max(n_rows as f64), "{n_rows}x{n_cols}");
            }
        }
    }

    #[test]
    fn a_strip_of_cells_is_still_visible() {
        for (n_rows, n_cols) in [(1, 3072), (3072, 1), (2, 4096)] {
            let (n_rows, n_cols) = (n_rows.min(MAX_ROWS), n_cols);
            let (w, h) = cell_size(n_rows, n_cols);
            assert!(w * n_cols as f64 >= 36.0 && h * n_rows as f64 >= 36.0);
        }
    }
}
