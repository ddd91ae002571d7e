//! `microtome heads`.

use std::process::ExitCode;

use anyhow::Result;
use microtome::method::head_scores::HeadScoring;
use microtome::{Experiment, Method};

use crate::answer::answer;
use crate::args::ModelArgs;
use crate::output;

/// Which heads play which role: previous-token, duplicate-token, induction, positional, resting
///
/// Scored on random tokens said twice. Every score is a mean over sequences, with its standard error and
/// interval; a head has every role whose score reaches the role's threshold.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome heads
  microtome heads --show induction --sequences 50
  microtome heads --show positional --least 0.6
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
    /// Score from which a head has a role [default: 0.4 of its attention, 0.8 for positional]
    #[arg(long, value_name = "SHARE")]
    least: Option<f64>,
    /// Seed of the tokens
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let prepared = args.model.prepare.preparation();
    let experiment = Experiment {
        model: args.model.model.clone(),
        weights: prepared.processing,
        precision: prepared.precision,
        bos: args.model.prepare.bos(),
        prompts: vec![],
        method: Method::HeadScores(HeadScoring {
            period: args.period,
            sequences: args.sequences,
            least: args.least,
        }),
        metrics: vec![],
        read_at: None,
        seed: args.seed,
    };
    answer(&experiment, &args.output)
}
