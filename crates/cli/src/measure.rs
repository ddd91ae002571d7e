//! `microtome measure`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use microtome::Method;

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs};
use crate::output;

/// Measure metrics of prompts as they are
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome measure -m gpt2 \"Hello world!\" --metric loss
  microtome measure -m gpt2 --pairs ioi.json --metric logit_diff")]
pub struct Args {
    /// The prompt
    prompt: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ask: AskArgs,
    /// Prompts from a file instead (JSON or CSV): means and intervals over them
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let prompts = args.ask.prompts(args.prompt.as_deref(), None, args.pairs.as_deref())?;
    let experiment = args.ask.experiment(&args.model, prompts, Method::Measure)?;
    answer(&experiment, &args.output)
}
