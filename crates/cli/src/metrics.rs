//! `microtome metrics`.

use std::process::ExitCode;

use anyhow::Result;
use microtome::metric::METRICS;

use crate::output::print;

/// List all metrics with their units and definitions
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_: &Args) -> Result<ExitCode> {
    let mut out = String::new();
    for metric in METRICS {
        out += &format!("{:13} {:12} {}\n", metric.name(), metric.unit(), metric.describe());
    }
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}
