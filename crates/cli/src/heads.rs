//! `microtome heads`.

use std::process::ExitCode;

use anyhow::Result;
use microtome::method::head_scores::HeadScoring;
use microtome::{Experiment, Method};

use crate::answer::answer;
use crate::args::ModelArgs;
use crate::output;

/// Score every head as a previous-token, duplicate-token and induction head
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome heads --show induction
  microtome heads -m gpt2 --show previous_token --png previous.png")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Random tokens before they are said again [default: 50, or as many as the context holds]
    #[arg(long, value_name = "TOKENS")]
    period: Option<usize>,
    /// Sequences averaged over [default: 10]
    #[arg(long, value_name = "N")]
    sequences: Option<usize>,
    /// Seed of the tokens
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let experiment = Experiment {
        model: args.model.model.clone(),
        weights: args.model.prepare.processing(),
        bos: args.model.prepare.bos(),
        prompts: vec![],
        method: Method::HeadScores(HeadScoring { period: args.period, sequences: args.sequences }),
        metrics: vec![],
        read_at: None,
        seed: args.seed,
    };
    answer(&experiment, &args.output)
}
