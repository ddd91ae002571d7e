//! `microtome importance`.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use microtome::Method;
use microtome::method::importance::{Importance, Measure};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs};
use crate::output;

/// One number per head: how much it matters for a prompt
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome importance \"The cat sat on the mat. The dog\"
  microtome importance \"Paris is the capital of\" -t \" France\" --metric prob
  microtome importance \"The cat sat on the mat. The dog\" --by ablation-kl")]
pub struct Args {
    /// The prompt
    prompt: String,
    /// What is measured
    #[arg(long, value_enum, default_value_t = By::Gradient)]
    by: By,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Mean size of the derivative of the loss (or the metric named) in the head's pattern: an estimate
    Gradient,
    /// L2 norm of what the head writes, mean over positions
    OutputNorm,
    /// KL(whole || head set to 0), mean over positions
    AblationKl,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let by = match args.by {
        By::Gradient => Measure::Gradient,
        By::OutputNorm => Measure::OutputNorm,
        By::AblationKl => Measure::AblationKl,
    };
    let prompts = vec![args.ask.prompt(&args.prompt, None)?];
    let method = Method::Importance(Importance { by });
    answer(&args.ask.experiment(&args.model, prompts, method)?, &args.output)
}
