//! `microtome composition`.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use microtome::Method;
use microtome::method::composition::{Baseline, Composition};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs};
use crate::output;

/// How much every head reads of what every earlier head writes, by the weights; and how much each copies
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome composition --show k_composition --less random
  microtome composition --show copying
  microtome composition --show k_composition --png composition.png --csv=composition.csv")]
pub struct Args {
    /// What is taken off every score
    #[arg(long, value_enum, default_value_t = Less::None)]
    less: Less,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Less {
    /// Nothing
    None,
    /// What unrelated matrices of the same shape reach
    Random,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let less = match args.less {
        Less::None => Baseline::None,
        Less::Random => Baseline::Random,
    };
    let ask = AskArgs { target: vec![], foil: vec![], ids: false, metric: vec![], read_at: None, seed: 0 };
    let method = Method::Composition(Composition { less });
    answer(&ask.experiment(&args.model, vec![], method)?, &args.output)
}
