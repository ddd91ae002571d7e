//! From an experiment to its answer on the screen and in files, the same for every subcommand.
//!
//! What can be known to fail before the runs fails before them: a sweep may take an hour.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use microtome::{Experiment, Record, TextModel};

use crate::args::load_for;
use crate::output::{OutputArgs, show};
use crate::progress;
use crate::whole_file::check_writable;

/// Checks the outputs asked for, runs the experiment and shows its record.
pub fn answer(experiment: &Experiment, output: &OutputArgs) -> Result<ExitCode> {
    answer_then(experiment, output, |_, _| Ok(()))
}

/// The same, and something more with the model and the record before it is shown.
pub fn answer_then(
    experiment: &Experiment,
    output: &OutputArgs,
    then: impl FnOnce(&TextModel, &Record) -> Result<()>,
) -> Result<ExitCode> {
    check_tables(experiment, output)?;
    check_files(output)?;
    let model = load_for(experiment)?;
    let record = progress::run(experiment, &model, output.memory)?;
    then(&model, &record)?;
    show(&record, output)
}

/// Whether a file that a subcommand writes by itself has a place of its own that can be written.
pub fn check_own_file(flag: &str, file: &Path, output: &OutputArgs) -> Result<()> {
    if file == Path::new("-") {
        bail!("{flag} writes a file; for one named `-` write ./-");
    }
    for (other, taken) in named(output) {
        if taken.as_deref() == Some(file) {
            bail!("{other} and {flag} both write `{}`; give each its own file", file.display());
        }
    }
    check_writable(file)
}

fn named(output: &OutputArgs) -> [(&'static str, &Option<PathBuf>); 6] {
    [
        ("--record", &output.record),
        ("--json", &output.json),
        ("--csv", &output.csv),
        ("--png", &output.png),
        ("--svg", &output.svg),
        ("--curves", &output.curves),
    ]
}

/// Whether the table to be shown, drawn or written will exist.
fn check_tables(experiment: &Experiment, output: &OutputArgs) -> Result<()> {
    let measured = experiment.tables_of()?;
    if measured.is_empty() {
        let asked = [
            ("--show", output.show.is_some()),
            ("--value", output.value),
            ("--csv", output.csv.is_some()),
            ("--png", output.png.is_some()),
            ("--svg", output.svg.is_some()),
            ("--curves", output.curves.is_some()),
        ];
        if let Some((flag, _)) = asked.iter().find(|(_, asked)| *asked) {
            bail!("{flag} shows a table, and this has none; take --json or --record");
        }
        return Ok(());
    }
    match &output.show {
        Some(metric) if !measured.contains(metric) => {
            bail!(
                "metric `{metric}` is not measured; measured: {}. Name it with --metric",
                measured.join(", ")
            )
        }
        _ => Ok(()),
    }
}

/// Whether every output has a place of its own that can be written.
fn check_files(output: &OutputArgs) -> Result<()> {
    let printed = |file: &PathBuf| file == Path::new("-");
    let given: Vec<(&str, &PathBuf)> =
        named(output).into_iter().filter_map(|(flag, file)| Some((flag, file.as_ref()?))).collect();
    for (i, (flag, file)) in given.iter().enumerate() {
        if let Some((other, _)) = given[..i].iter().find(|(_, earlier)| earlier == file) {
            match printed(file) {
                true => bail!("{other} and {flag} both print; write one to a file: {flag}=FILE"),
                false => bail!("{other} and {flag} both write `{}`; give each its own file", file.display()),
            }
        }
        match (*flag, printed(file)) {
            ("--json" | "--csv", true) => {}
            (_, true) => bail!("{flag} writes a file; for one named `-` write ./-, to print take --json"),
            (_, false) => check_writable(file)?,
        }
    }
    Ok(())
}
