//! `microtome verify`.

use std::process::ExitCode;

use anyhow::Result;

/// Run published experiments on the real GPT-2 and print ours beside theirs
#[derive(clap::Args)]
pub struct Args {
    /// The model the figures were published for: gpt2, or a directory that holds it
    model: String,
}

pub fn run(_args: &Args) -> Result<ExitCode> {
    anyhow::bail!("todo")
}
