//! Studies: a small model trained, what formed in it measured, and the answer as data.
//!
//! Each is a [`Config`](crate::Config) to train and a report on the run: its `config` gives the former, its
//! `run` trains (or goes on, or finds the run finished) and leaves `study.json`, `study.svg` and
//! `study.png` in the run's folder.

mod heads;
pub mod induction;
pub mod shakespeare;

pub use heads::{HeadRow, ROLE, Role};

use std::path::Path;

use microtome::plot::svg_to_png;
use serde::Serialize;

use crate::checkpoint::json;
use crate::error::Result;
use crate::run_dir::write_whole;

/// How a study ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended<R> {
    /// With its report.
    Whole(R),
    /// Stopped by its observer after this many updates; the same study goes on from there.
    Stopped(u64),
}

/// Writes a report and its picture into the run's folder.
fn write(dir: &Path, report: &impl Serialize, svg: &str) -> Result<()> {
    let path = dir.join("study.json");
    write_whole(&path, &json(report, &path)?)?;
    write_whole(&dir.join("study.svg"), svg.as_bytes())?;
    let png = svg_to_png(svg, 1.5).map_err(microtome::Error::from)?;
    write_whole(&dir.join("study.png"), &png)
}
