//! `microtome importance`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use microtome::Method;
use microtome::method::importance::{Importance, Measure, Parts};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs};
use crate::output;

/// One number per head or MLP: how much it matters for a prompt, or for many
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome importance \"The cat sat on the mat. The dog\"
  microtome importance \"Paris is the capital of\" -t \" France\" --metric prob
  microtome importance \"The cat sat on the mat. The dog\" --by ablation-kl --of mlps
  microtome importance --pairs docs/ioi.json --metric logit_diff")]
pub struct Args {
    /// The prompt
    prompt: Option<String>,
    /// What is measured
    #[arg(long, value_enum, default_value_t = By::Gradient)]
    by: By,
    /// Of what
    #[arg(long, value_enum, default_value_t = Of::Heads)]
    of: Of,
    /// Prompts from a file instead (JSON or CSV): means and intervals over them
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ask: AskArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Mean size of the derivative of the loss (or the metric named) in a head's pattern, or times an MLP's output:
    /// an estimate
    Gradient,
    /// The same over all entries of the pattern, keys ahead of their query among them
    GradientFull,
    /// Mean size of the derivative times the pattern
    GradientTimesPattern,
    /// The same over all entries
    GradientTimesPatternFull,
    /// L2 norm of what it writes, mean over positions
    OutputNorm,
    /// L2 norm of a head's z, mean over positions
    ZNorm,
    /// KL(whole || component set to 0), mean over positions
    AblationKl,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Every attention head
    Heads,
    /// Every MLP
    Mlps,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let by = match args.by {
        By::Gradient => Measure::Gradient,
        By::GradientFull => Measure::GradientFull,
        By::GradientTimesPattern => Measure::GradientTimesPattern,
        By::GradientTimesPatternFull => Measure::GradientTimesPatternFull,
        By::ZNorm => Measure::ZNorm,
        By::OutputNorm => Measure::OutputNorm,
        By::AblationKl => Measure::AblationKl,
    };
    let of = match args.of {
        Of::Heads => Parts::Heads,
        Of::Mlps => Parts::Mlps,
    };
    let prompts = args.ask.prompts(args.prompt.as_deref(), None, args.pairs.as_deref())?;
    let method = Method::Importance(Importance { by, of });
    answer(&args.ask.experiment(&args.model, prompts, method)?, &args.output)
}
