//! `microtome edges`.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use microtome::Method;
use microtome::circuit::edge_attribution::{EdgeAttribution, GradientsAt};

use crate::answer::answer_then;
use crate::args::{PairArgs, Way};
use crate::circuit_files::CircuitFiles;
use crate::output;

/// Estimate what every edge between components is worth (edge attribution patching)
///
/// An edge leads from what writes to the residual stream to what reads it. Two runs and one backward pass of each pair
/// estimate them all; with --steps derivatives are averaged between the two prompts (EAP-IG). Exact numbers of single
/// edges: microtome path-patch --from every --to every.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome edges \"Paris is the capital of\" -c \"Rome is the capital of\" -t \" France\" -f \" Italy\"
  microtome edges --pairs docs/names.json --steps 5 --eap ioi-edges.json --graph ioi.svg --top 100
  microtome edges -m gpt2 --pairs ioi.json --steps 5 --along activations --csv=edges.csv")]
pub struct Args {
    #[command(flatten)]
    pairs: PairArgs,
    /// Steps of integrated gradients [default: none, the derivative at the run that is changed]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// What the steps go along
    #[arg(long, value_enum, requires = "steps", default_value_t = Along::Inputs)]
    along: Along,
    /// Noise: corrupt into clean. Denoise: clean into corrupt
    #[arg(long, value_enum, default_value_t = Way::Noise)]
    direction: Way,
    #[command(flatten)]
    files: CircuitFiles,
    /// How many of the strongest edges those files take, pruned to those on a way from input to logits [default: 100]
    #[arg(long, value_name = "N", help_heading = "Output")]
    top: Option<usize>,
    #[command(flatten)]
    output: output::OutputArgs,
}

/// What the steps of integrated gradients go along.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// The input embeddings, from one prompt's to the other's
    Inputs,
    /// What each layer of senders writes, one layer at a time
    Activations,
}

/// Where derivatives are taken, from --steps and --along.
pub fn gradients(steps: Option<usize>, along: Along) -> GradientsAt {
    match (steps, along) {
        (None, _) => GradientsAt::Base,
        (Some(steps), Along::Inputs) => GradientsAt::Inputs(steps),
        (Some(steps), Along::Activations) => GradientsAt::Activations(steps),
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let gradients = gradients(args.steps, args.along);
    let direction = args.direction.into();
    let method = Method::EdgeAttribution(EdgeAttribution { direction, gradients });
    let experiment = args.pairs.experiment(method)?;
    args.files.check_top(args.top, &experiment, &args.output)?;
    answer_then(&experiment, &args.output, |model, record| {
        args.files.write_strongest(args.top, model, record)
    })
}
