//! `microtome neurons`: show and strongest; the third, scan, has a file of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use microtome::method::neuron::NeuronProfile;
use microtome::method::strongest_neurons::{RankedBy, StrongestNeurons};
use microtome::{Component, Method};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs, layer, lines_of};
use crate::output;
use crate::scan::{self, ScanArgs};

/// What single neurons do: on prompts, by their weights, without them, over a text
///
/// A neuron's activation is read after the nonlinearity (mlp.hook_post). Generate with neurons cut or held at a value:
/// microtome generate --cut L2N17, --clamp L2N17=5. Every neuron cut by itself: microtome ablate --sweep neurons.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Show(ShowArgs),
    Strongest(StrongestArgs),
    Scan(ScanArgs),
}

/// The prompts neurons are looked at in.
#[derive(clap::Args)]
struct Prompts {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ask: AskArgs,
    /// Prompts from a file instead (JSON or CSV): means and intervals over them
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
}

/// One neuron: when it is active, which tokens it raises and lowers, what is lost without it
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome neurons show L2N17 \"When Mary and John went to the store, John gave a drink to\" -t \" Mary\" -f \" John\"
  microtome neurons show L3N250 --pairs docs/names.json --metric logit_diff,kl --tokens 20
  microtome neurons show -m gpt2 L9N1 \"The Eiffel Tower is in\" --show kl --reference texts.txt")]
struct ShowArgs {
    /// The neuron, as L2N17
    neuron: Component,
    /// The prompt
    prompt: Option<String>,
    #[command(flatten)]
    prompts: Prompts,
    /// How many tokens are given that it raises, and that it lowers
    #[arg(long, value_name = "N", default_value_t = 10)]
    tokens: usize,
    /// Reference prompts of the mean it is ablated to, one a line [default: the prompts themselves]
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    #[command(flatten)]
    output: output::OutputArgs,
}

/// The neurons most active at a position, or that write most towards the answer
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome neurons strongest \"Paris is the capital of\" -t \" France\" --layers 2,3
  microtome neurons strongest \"Paris is the capital of\" -t \" France\" -f \" Italy\" --by direct-attribution --top 50")]
struct StrongestArgs {
    /// The prompt
    prompt: Option<String>,
    #[command(flatten)]
    prompts: Prompts,
    /// Layers looked through, separated by commas [default: all]
    #[arg(long, value_name = "LAYERS", value_delimiter = ',', value_parser = layer)]
    layers: Vec<usize>,
    /// What they are ranked by
    #[arg(long, value_enum, default_value_t = By::Activation)]
    by: By,
    /// How many are given
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    #[command(flatten)]
    output: output::OutputArgs,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The size of their activation
    Activation,
    /// What they write towards the logit of the answer, or the logit difference
    DirectAttribution,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::Show(args) => show(args),
        What::Strongest(args) => strongest(args),
        What::Scan(args) => scan::run(args),
    }
}

fn show(args: &ShowArgs) -> Result<ExitCode> {
    let Prompts { model, ask, pairs } = &args.prompts;
    let prompts = ask.prompts(args.prompt.as_deref(), None, pairs.as_deref())?;
    let reference = match &args.reference {
        Some(file) => lines_of(file)?.iter().map(|line| ask.text(line)).collect::<Result<_>>()?,
        None => vec![],
    };
    let profile = NeuronProfile { neuron: args.neuron, tokens: Some(args.tokens), reference };
    answer(&ask.experiment(model, prompts, Method::Neuron(profile))?, &args.output)
}

fn strongest(args: &StrongestArgs) -> Result<ExitCode> {
    let Prompts { model, ask, pairs } = &args.prompts;
    let prompts = ask.prompts(args.prompt.as_deref(), None, pairs.as_deref())?;
    let by = match args.by {
        By::Activation => RankedBy::Activation,
        By::DirectAttribution => RankedBy::DirectAttribution,
    };
    let asked = StrongestNeurons { layers: args.layers.clone(), by, top: Some(args.top) };
    answer(&ask.experiment(model, prompts, Method::StrongestNeurons(asked))?, &args.output)
}
