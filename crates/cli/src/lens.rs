//! `microtome lens`.

use std::process::ExitCode;

use anyhow::Result;
use microtome::method::logit_lens::LogitLens;
use microtome::{Component, Method};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs, WithArgs};
use crate::output;

/// Read the residual stream as next-token probabilities at every layer and position
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome lens \"Paris is the capital of\" -t \" France\" --show prob
  microtome lens \"Paris is the capital of\" -t \" France\" --cut 3.1,4.2 --png lens.png")]
pub struct Args {
    /// The prompt
    prompt: String,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ask: AskArgs,
    /// Components cut at all positions first: heads 8.11, attention layers a8, MLPs m8, neurons L8N120
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cut: Vec<Component>,
    #[command(flatten)]
    with: WithArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    args.with.needs_a_cut(&args.cut)?;
    let lens = LogitLens { cut: args.cut.clone(), with: args.with.replacement(&args.ask)? };
    let prompts = vec![args.ask.prompt(&args.prompt, None)?];
    let experiment = args.ask.experiment(&args.model, prompts, Method::LogitLens(lens))?;
    answer(&experiment, &args.output)
}
