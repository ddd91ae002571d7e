//! `microtome replay`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use microtome::Experiment;

use crate::args::{load_for, read_record};
use crate::output::{STOPPED, count, duration, print};
use crate::progress;

/// Run a record's experiment again and compare every number
///
/// Ends with success where all agree, with failure where any differs.
#[derive(clap::Args)]
pub struct Args {
    /// A record written with --record
    record: PathBuf,
    /// Use this model instead of the one named in the record (a path that has moved)
    #[arg(short, long)]
    model: Option<String>,
    /// How far numbers may be apart, relative to the larger (absolute below 1)
    #[arg(long, default_value_t = 1e-4, value_parser = tolerance, allow_negative_numbers = true)]
    tolerance: f64,
}

/// Differences printed before the rest are counted.
const SHOWN: usize = 20;

pub fn run(args: &Args) -> Result<ExitCode> {
    let old = read_record(&args.record)?;
    let moved = args.model.clone().map(|model| Experiment { model, ..old.experiment.clone() });
    let model = load_for(moved.as_ref().unwrap_or(&old.experiment))?;
    let new = progress::run(&old.experiment, &model, None)?;
    if !new.is_complete() {
        eprintln!(
            "stopped: {} of {} runs finished; nothing was compared",
            new.results.runs, new.results.runs_wanted
        );
        return Ok(ExitCode::from(STOPPED));
    }
    let differences = old.differences(&new, args.tolerance);
    let mut out = String::new();
    for difference in differences.iter().take(SHOWN) {
        out += &format!("{difference}\n");
    }
    if differences.len() > SHOWN {
        out += &format!("and {} more\n", differences.len() - SHOWN);
    }
    let times = format!("then {}, now {}", duration(old.elapsed_secs), duration(new.elapsed_secs));
    out += &match differences.len() {
        0 => format!("all numbers agree within {:e}; {times}\n", args.tolerance),
        n => format!("{}; {times}\n", count(n, "difference")),
    };
    print(&out)?;
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tolerance(text: &str) -> Result<f64> {
    let expected = || format!("`{text}` is no tolerance; expected 0 or more, for example 1e-4");
    let number: f64 = text.parse().with_context(expected)?;
    ensure!(number >= 0.0, expected());
    Ok(number)
}
