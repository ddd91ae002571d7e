//! Estimates beside what patching gives: the cells that seem to matter most, or all, run as they are defined.

use serde::{Deserialize, Serialize};

use super::sweep::Swept;
use crate::error::{Error, Result};
use crate::record::Table;
use crate::stats::{Spread, mean, over_prompts, pearson, spearman};

/// Which cells of a table of estimates are measured too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// So many, those with the largest estimates.
    Top(usize),
    /// All.
    All,
}

impl Check {
    /// How many of so many cells.
    pub fn count(self, n_cells: usize) -> usize {
        match self {
            Check::Top(count) => count.min(n_cells),
            Check::All => n_cells,
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            Check::Top(0) => {
                Err(Error::OutOfRange { name: "check", value: 0.0, expected: "1 or more, or all" })
            }
            _ => Ok(()),
        }
    }

    /// The cells, that with the largest estimate first.
    pub(crate) fn cells(self, estimates: &[f64]) -> Vec<usize> {
        let mut cells: Vec<usize> = (0..estimates.len()).collect();
        cells.sort_by(|&a, &b| estimates[b].abs().total_cmp(&estimates[a].abs()));
        cells.truncate(self.count(estimates.len()));
        cells
    }
}

/// Cells whose estimates were measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Remeasured {
    /// Name of the metric.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// The cells, that with the largest estimate first.
    pub cells: Vec<RemeasuredCell>,
    /// Pearson's correlation of estimates and measurements over these cells; left out where one side does not vary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pearson: Option<f64>,
    /// Spearman's rank correlation of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spearman: Option<f64>,
}

/// An estimate and what it is an estimate of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RemeasuredCell {
    /// Its place among the values of the table of estimates.
    pub cell: usize,
    /// What it is called there: `L8H11`.
    pub label: String,
    /// The estimate; over several prompts, the mean of those that were measured.
    pub estimate: f64,
    /// The change of the metric when the activation is patched, or the feature changed; its size where estimates are sizes,
    /// and what is lost where they are direct shares.
    pub exact: f64,
    /// How sure `exact` is, over several prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
}

/// Estimates of a table beside a sweep over some of its cells. `by_prompt` holds the estimates; `as_estimated` makes of a
/// change what they are estimates of. `None` where no cell was finished.
pub(crate) fn remeasured(
    table: &Table,
    cells: &[usize],
    by_prompt: &[Vec<f64>],
    swept: &Swept,
    as_estimated: impl Fn(f64) -> f64,
    seed: u64,
) -> Option<Remeasured> {
    let bases = swept.base_values(0);
    let finished: Vec<(usize, Vec<f64>)> = cells
        .iter()
        .enumerate()
        .filter_map(|(i, &cell)| {
            let values = swept.values(0, i)?;
            Some((cell, values.iter().zip(&bases).map(|(value, base)| as_estimated(value - base)).collect()))
        })
        .collect();
    let changes: Vec<Vec<f64>> =
        (0..bases.len()).map(|prompt| finished.iter().map(|(_, of)| of[prompt]).collect()).collect();
    let (means, spreads) = over_prompts(&changes, seed);
    let cells: Vec<RemeasuredCell> = finished
        .iter()
        .enumerate()
        .map(|(i, &(cell, _))| RemeasuredCell {
            cell,
            label: table.label(cell),
            estimate: mean(&by_prompt[..bases.len()].iter().map(|of| of[cell]).collect::<Vec<_>>()),
            exact: means[i],
            spread: spreads.get(i).copied(),
        })
        .collect();
    let pairs: Vec<(f64, f64)> = cells.iter().map(|cell| (cell.estimate, cell.exact)).collect();
    (!cells.is_empty()).then(|| Remeasured {
        metric: table.metric.clone(),
        unit: table.unit.clone(),
        pearson: pearson(&pairs),
        spearman: spearman(&pairs),
        cells,
    })
}
