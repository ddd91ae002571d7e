//! `microtome run`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use microtome::{Experiment, Record};

use crate::answer::answer;
use crate::output;

/// Run an experiment from a JSON file (docs/formats.md)
#[derive(clap::Args)]
pub struct Args {
    /// The experiment; `-` reads standard input
    file: PathBuf,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let text = match args.file.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()),
        _ => std::fs::read_to_string(&args.file),
    };
    let name = args.file.display();
    let text = text.with_context(|| format!("cannot read `{name}`"))?;
    let experiment: Experiment = match serde_json::from_str(&text) {
        Err(_) if serde_json::from_str::<Record>(&text).is_ok() => bail!(
            "`{name}` is a record, an experiment with its results; `microtome replay {name}` runs it again"
        ),
        other => other.with_context(|| format!("`{name}` is no experiment"))?,
    };
    answer(&experiment, &args.output)
}
