//! `microtome verify`.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use microtome::model::Processing;
use microtome::published::{Figure, verify};
use microtome::{DEFAULT_BUDGET, Watch};

use crate::args::load;
use crate::output::print;

/// Run published experiments on GPT-2 small and print ours beside theirs
///
/// docs/published.md says where each figure comes from and gives its command. Ends with success where
/// all agree.
#[derive(clap::Args)]
pub struct Args {
    /// GPT-2 small: gpt2, or a directory that holds it
    #[arg(default_value = "gpt2")]
    model: String,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let model = load(&args.model, Processing::Folded.into())?;
    let never = AtomicBool::new(false);
    let mut watch =
        Watch { cancel: &never, progress: &mut |_, _| {}, partial: None, memory_budget: DEFAULT_BUDGET };
    let figures = verify(&model, &mut watch).with_context(|| {
        format!("the figures are for GPT-2 small; `{}` cannot run their experiments", args.model)
    })?;
    let mut out = String::new();
    let mut experiment = "";
    for figure in &figures {
        if figure.experiment != experiment {
            experiment = figure.experiment;
            out +=
                &format!("\n{experiment}\n  {:34} {:>10} {:>10} {:>10}\n", "", "published", "ours", "apart");
        }
        let Figure { what, published, found, tolerance, .. } = figure;
        let verdict = if figure.agrees() { "" } else { "  differs" };
        let apart = found - published;
        out += &format!("  {what:34} {published:>10.3} {found:>10.3} {apart:>+10.4}{verdict}");
        out += &if verdict.is_empty() { "\n".to_owned() } else { format!(" (by more than {tolerance})\n") };
    }
    let agree = figures.iter().filter(|figure| figure.agrees()).count();
    out += &format!("\n{agree} of {} figures agree\n", figures.len());
    print(&out)?;
    Ok(if agree == figures.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
