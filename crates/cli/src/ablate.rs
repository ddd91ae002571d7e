//! `microtome ablate`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use microtome::method::ablate::{Ablate, Targets};
use microtome::model::Positions;
use microtome::{Component, Method};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs, With, WithArgs, layer, positions};
use crate::output;

/// Cut components out and measure what the answer loses
///
/// Without --heads, every head is cut by itself and the effects are shown as a grid; with it, those
/// components are cut together. Effects are edited - original.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome ablate -m gpt2 \"When Mary and John went to the store, John gave a drink to\" -t \" Mary\" -f \" John\"
  microtome ablate -m gpt2 \"The Eiffel Tower is in\" -t \" Paris\" --heads 9.6,9.9,m0 --with mean
  microtome ablate -m ckpt.pt \"O Romeo, Romeo! wherefore art tho\" -t u --at last --png heads.png")]
pub struct Args {
    /// The prompt
    prompt: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ask: AskArgs,
    /// What is swept
    #[arg(long, value_enum, default_value_t = Sweep::Heads, conflicts_with = "heads")]
    sweep: Sweep,
    /// Layers whose neurons are swept, separated by commas [default: all]
    #[arg(long, value_name = "LAYERS", value_delimiter = ',', value_parser = layer)]
    layers: Vec<usize>,
    /// Components cut together: heads 8.11, MLPs m3, attention layers a3, neurons L3N120
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    heads: Vec<Component>,
    #[command(flatten)]
    with: WithArgs,
    /// Positions at which they are cut: all, last, 3,5 or 4.. (queries, for patterns)
    #[arg(long, value_parser = positions, default_value = "all", allow_hyphen_values = true)]
    at: Positions,
    /// A token whose logit is set back to its unedited value before anything is measured
    #[arg(long, value_name = "TOKEN")]
    clamp: Option<String>,
    /// The corrupt prompt, which --with resample takes values from
    #[arg(short, long, value_name = "PROMPT")]
    corrupt: Option<String>,
    /// Prompts from a file instead (JSON or CSV): means and intervals over them
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    #[command(flatten)]
    output: output::OutputArgs,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Sweep {
    /// Every head
    Heads,
    /// Every attention layer
    Attention,
    /// Every MLP
    Mlps,
    /// Every neuron (of --layers)
    Neurons,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    if !args.layers.is_empty() && args.sweep != Sweep::Neurons {
        bail!("--layers says whose neurons are swept; add --sweep neurons");
    }
    if args.corrupt.is_some() && args.with.with != With::Resample {
        bail!("--corrupt is the prompt to resample from; add --with resample");
    }
    if args.corrupt.is_some() && args.with.from.is_some() {
        bail!("--corrupt and --from both name the prompt to resample from; give one");
    }
    let targets = match (args.heads.is_empty(), args.sweep) {
        (false, _) => Targets::Together(args.heads.clone()),
        (true, Sweep::Heads) => Targets::Heads,
        (true, Sweep::Attention) => Targets::AttentionLayers,
        (true, Sweep::Mlps) => Targets::Mlps,
        (true, Sweep::Neurons) => Targets::Neurons(args.layers.clone()),
    };
    let ablate = Ablate {
        clamp: args.clamp.as_deref().map(|token| args.ask.answer(token)).transpose()?,
        targets,
        with: args.with.replacement(&args.ask)?,
        at: args.at.clone(),
    };
    let prompts = args.ask.prompts(args.prompt.as_deref(), args.corrupt.as_deref(), args.pairs.as_deref())?;
    let experiment = args.ask.experiment(&args.model, prompts, Method::Ablate(ablate))?;
    answer(&experiment, &args.output)
}
