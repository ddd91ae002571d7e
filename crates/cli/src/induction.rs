//! `microtome induction`.

use std::process::ExitCode;

use anyhow::Result;
use microtome::circuit::induction::InductionCircuit;
use microtome::{Experiment, Method};

use crate::answer::answer;
use crate::args::ModelArgs;
use crate::output;

/// Find the induction circuit: which previous-token heads feed the keys of the induction heads
///
/// The heads that attend most to what followed the same token earlier on are followed: how much of each earlier head
/// their keys read by the weights, and what is lost when they read its output in another text (path patching).
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome induction
  microtome induction -m runs/induction/last --heads 2 --sequences 20
  microtome induction -m gpt2 --show k_composition --svg composition.svg")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Induction heads followed [default: 3]
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Random tokens before they are said again [default: 20, or as many as context and vocabulary hold]
    #[arg(long, value_name = "TOKENS")]
    period: Option<usize>,
    /// Sequences averaged over [default: 8]
    #[arg(long, value_name = "N")]
    sequences: Option<usize>,
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
        method: Method::InductionCircuit(InductionCircuit {
            heads: args.heads,
            period: args.period,
            sequences: args.sequences,
        }),
        metrics: vec![],
        read_at: None,
        seed: args.seed,
    };
    answer(&experiment, &args.output)
}
