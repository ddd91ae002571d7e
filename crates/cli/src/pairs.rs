//! `microtome pairs`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use microtome::method::pairs::Pairs;
use microtome::model::Positions;
use microtome::{Component, Method};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs, With, WithArgs, positions};
use crate::output;

/// Cut components two at a time: what both together do beyond each alone, and which are backups
///
/// The interaction of two components is the effect of cutting both minus the effects of cutting each; 0 where they
/// work apart. Where it hurts the answer, the later one stands in for the earlier: a backup.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome pairs \"When Mary and John went to the store, John gave a drink to\" -t \" Mary\" -f \" John\" --png pairs.png
  microtome pairs --pairs docs/ioi.json -m gpt2 --among 9.9,9.6,10.0 --at last
  microtome pairs \"Paris is the capital of\" -t \" France\" --among m0,m1,m2 --against 0.1,0.3")]
pub struct Args {
    /// The prompt
    prompt: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ask: AskArgs,
    /// Components that are paired [default: every head]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    among: Vec<Component>,
    /// What each of them is paired with [default: each other; one alone: every head]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    against: Vec<Component>,
    #[command(flatten)]
    with: WithArgs,
    /// Positions at which they are cut: all, last, 3,5 or 4.. (queries, for patterns)
    #[arg(long, value_parser = positions, default_value = "all", allow_hyphen_values = true)]
    at: Positions,
    /// The corrupt prompt, which --with resample takes values from
    #[arg(short, long, value_name = "PROMPT")]
    corrupt: Option<String>,
    /// Prompts from a file instead (JSON or CSV): means and intervals over them
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    if args.corrupt.is_some() && args.with.with != With::Resample {
        bail!("--corrupt is the prompt to resample from; add --with resample");
    }
    let pairs = Pairs {
        among: args.among.clone(),
        against: args.against.clone(),
        with: args.with.replacement(&args.ask)?,
        at: args.at.clone(),
    };
    let prompts = args.ask.prompts(args.prompt.as_deref(), args.corrupt.as_deref(), args.pairs.as_deref())?;
    let experiment = args.ask.experiment(&args.model, prompts, Method::Pairs(pairs))?;
    answer(&experiment, &args.output)
}
