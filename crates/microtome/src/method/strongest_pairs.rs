//! The largest and smallest entries of a product of two thin matrices, without ever holding the product.
//!
//! `A B` with `A` `[rows, d]` and `B` `[d, columns]` is computed some rows at a time; of each block only the best entries
//! are kept, and the sums that give mean, deviation and diagonal. At GPT-2's 50257 tokens the product has 2.5e9 entries
//! (10 GB); a block of 64 MiB is 330 rows of it.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use microtome_model::{Tensor, with_rows};
use rayon::prelude::*;

use crate::error::Result;

/// An entry with its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Entry {
    pub row: usize,
    pub column: usize,
    pub value: f32,
}

/// What is known of a product after some of its rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scan {
    /// Largest first.
    pub highest: Vec<Entry>,
    /// Smallest first.
    pub lowest: Vec<Entry>,
    /// Rows looked at.
    pub rows: usize,
    /// Rows whose largest entry is that of their own column.
    pub diagonal_first: usize,
    sum: f64,
    squares: f64,
    diagonal: f64,
    entries: f64,
}

impl Scan {
    /// Mean of all entries looked at.
    pub fn mean(&self) -> f64 {
        self.sum / self.entries
    }

    /// Their standard deviation.
    pub fn deviation(&self) -> f64 {
        (self.squares / self.entries - self.mean().powi(2)).max(0.0).sqrt()
    }

    /// Mean of the diagonal's.
    pub fn diagonal_mean(&self) -> f64 {
        self.diagonal / self.rows as f64
    }
}

/// Largest first, then by place, so that ties have one order.
fn descending(a: &Entry, b: &Entry) -> Ordering {
    b.value.total_cmp(&a.value).then(a.row.cmp(&b.row)).then(a.column.cmp(&b.column))
}

fn ascending(a: &Entry, b: &Entry) -> Ordering {
    a.value.total_cmp(&b.value).then(a.row.cmp(&b.row)).then(a.column.cmp(&b.column))
}

/// The best of a few, kept in order.
struct Best {
    kept: Vec<Entry>,
    count: usize,
    order: fn(&Entry, &Entry) -> Ordering,
}

impl Best {
    fn new(count: usize, order: fn(&Entry, &Entry) -> Ordering) -> Best {
        Best { kept: Vec::with_capacity(count + 1), count, order }
    }

    /// The worst value kept, once there are enough.
    fn bound(&self, none: f32) -> f32 {
        self.kept.last().filter(|_| self.kept.len() == self.count).map_or(none, |entry| entry.value)
    }

    fn offer(&mut self, entry: Entry) {
        let full = self.kept.len() == self.count;
        if full && self.kept.last().is_none_or(|last| (self.order)(&entry, last) != Ordering::Less) {
            return;
        }
        let at = self.kept.partition_point(|kept| (self.order)(kept, &entry) == Ordering::Less);
        self.kept.insert(at, entry);
        self.kept.truncate(self.count);
    }
}

/// How many rows of `columns` entries are computed at once, in so much memory.
pub(crate) fn rows_at_once(columns: usize, bytes: usize) -> usize {
    (bytes / (columns * size_of::<f32>()).max(1)).clamp(1, 1024)
}

/// Scans `a b`; `done` is told after each block how many rows are done, and may stop it.
pub(crate) fn scan(
    a: &Tensor,
    b: &Tensor,
    count: usize,
    at_once: usize,
    done: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Scan> {
    let (rows, columns) = (a.dim(0)?, b.dim(1)?);
    let mut found = Scan::default();
    let (mut highest, mut lowest) = (Best::new(count, descending), Best::new(count, ascending));
    for start in (0..rows).step_by(at_once) {
        let len = at_once.min(rows - start);
        let block = a.narrow(0, start, len)?.matmul(b)?; // [rows, columns]
        // Nothing at or inside these can still get in: of equal entries the earlier stands first.
        let kept = Bounds { above: highest.bound(f32::NEG_INFINITY), below: lowest.bound(f32::INFINITY) };
        let of_rows: Vec<OfRow> = with_rows(&block, |values| {
            let row = |(i, row): (usize, &[f32])| OfRow::new(start + i, row, count, kept);
            values.par_chunks(columns).enumerate().map(row).collect()
        })?;
        // In their order, so that the number of threads changes nothing.
        for row in of_rows {
            row.highest.kept.into_iter().for_each(|entry| highest.offer(entry));
            row.lowest.kept.into_iter().for_each(|entry| lowest.offer(entry));
            found.sum += row.sum;
            found.squares += row.squares;
            found.diagonal += row.diagonal;
            found.diagonal_first += usize::from(row.diagonal_first);
        }
        found.rows += len;
        found.entries += (len * columns) as f64;
        if done(found.rows).is_break() {
            break;
        }
    }
    (found.highest, found.lowest) = (highest.kept, lowest.kept);
    Ok(found)
}

/// What one row adds.
struct OfRow {
    highest: Best,
    lowest: Best,
    sum: f64,
    squares: f64,
    diagonal: f64,
    diagonal_first: bool,
}

/// What an entry must pass to be among the best.
#[derive(Clone, Copy)]
struct Bounds {
    above: f32,
    below: f32,
}

impl OfRow {
    fn new(row: usize, values: &[f32], count: usize, bounds: Bounds) -> OfRow {
        let totals = Totals::of(values);
        let (mut highest, mut lowest) = (Best::new(count, descending), Best::new(count, ascending));
        // Of thousands of rows few have an entry among the best; the others are not looked through again.
        if totals.most > bounds.above {
            let better = values.iter().enumerate().filter(|(_, value)| **value > bounds.above);
            better.for_each(|(column, &value)| highest.offer(Entry { row, column, value }));
        }
        if totals.least < bounds.below {
            let better = values.iter().enumerate().filter(|(_, value)| **value < bounds.below);
            better.for_each(|(column, &value)| lowest.offer(Entry { row, column, value }));
        }
        let diagonal = values.get(row).copied().unwrap_or(f32::NAN);
        OfRow {
            highest,
            lowest,
            sum: totals.sum,
            squares: totals.squares,
            diagonal: f64::from(diagonal),
            diagonal_first: totals.most <= diagonal,
        }
    }
}

/// Sums and ends of a row.
struct Totals {
    sum: f64,
    squares: f64,
    most: f32,
    least: f32,
}

impl Totals {
    /// Eight sums side by side, which the processor adds together.
    fn of(values: &[f32]) -> Totals {
        let (mut sums, mut squares) = ([0.0f64; 8], [0.0f64; 8]);
        let (mut most, mut least) = ([f32::NEG_INFINITY; 8], [f32::INFINITY; 8]);
        let eights = values.chunks_exact(8);
        let rest = eights.remainder();
        for eight in eights {
            for i in 0..8 {
                let (value, wide) = (eight[i], f64::from(eight[i]));
                sums[i] += wide;
                squares[i] += wide * wide;
                most[i] = if value > most[i] { value } else { most[i] };
                least[i] = if value < least[i] { value } else { least[i] };
            }
        }
        let wide = || rest.iter().map(|&x| f64::from(x));
        Totals {
            sum: sums.iter().sum::<f64>() + wide().sum::<f64>(),
            squares: squares.iter().sum::<f64>() + wide().map(|x| x * x).sum::<f64>(),
            most: most.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max),
            least: least.iter().chain(rest).copied().fold(f32::INFINITY, f32::min),
        }
    }
}

#[cfg(test)]
mod tests {
    use microtome_model::Device;

    use super::*;

    #[test]
    fn blocks_of_any_size_find_what_the_whole_product_has() {
        let number = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 1009.0 - 0.5;
        let matrix = |rows: usize, columns: usize, first: usize| {
            let values: Vec<f32> = (0..rows * columns).map(|i| number(first + i)).collect();
            Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
        };
        let (a, b) = (matrix(37, 3, 0), matrix(3, 37, 500));
        let whole: Vec<f32> = a.matmul(&b).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let mut entries: Vec<Entry> = whole
            .iter()
            .enumerate()
            .map(|(i, &value)| Entry { row: i / 37, column: i % 37, value })
            .collect();
        for at_once in [1, 5, 64] {
            let found = scan(&a, &b, 9, at_once, &mut |_| ControlFlow::Continue(())).unwrap();
            entries.sort_by(descending);
            assert_eq!(found.highest, entries[..9]);
            entries.sort_by(ascending);
            assert_eq!(found.lowest, entries[..9]);
            let mean = whole.iter().map(|&x| f64::from(x)).sum::<f64>() / whole.len() as f64;
            let variance =
                whole.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / whole.len() as f64;
            assert!((found.mean() - mean).abs() < 1e-12);
            assert!((found.deviation() - variance.sqrt()).abs() < 1e-9);
            let diagonal = (0..37).map(|i| f64::from(whole[i * 38])).sum::<f64>() / 37.0;
            assert!((found.diagonal_mean() - diagonal).abs() < 1e-12);
            let first =
                (0..37).filter(|&i| whole[i * 37..(i + 1) * 37].iter().all(|&x| x <= whole[i * 38])).count();
            assert_eq!(found.diagonal_first, first);
        }
    }

    #[test]
    fn a_scan_stopped_keeps_the_rows_it_has_seen() {
        let a = Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 4.0], (4, 1), &Device::Cpu).unwrap();
        let b = Tensor::from_vec(vec![1.0f32, -1.0, 0.5, 0.25], (1, 4), &Device::Cpu).unwrap();
        let found = scan(&a, &b, 2, 1, &mut |rows| match rows {
            2 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        let found = found.unwrap();
        assert_eq!(found.rows, 2);
        assert_eq!(found.highest[0], Entry { row: 1, column: 0, value: 2.0 });
    }
}
