//! `microtome attribute`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use microtome::Method;
use microtome::method::attribution::{Attribution, Heads, Reading};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs, layer};
use crate::output;

/// Direct logit attribution: what each component writes, by itself, towards the answer
///
/// Shares of the target's logit, or with --foil of the logit difference, at the last position or --read-at. They
/// sum to it exactly: heads, MLPs, attention biases, embeddings and a constant.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome attribute \"When Mary and John went to the store, John gave a drink to\" -t \" Mary\" -f \" John\"
  microtome attribute \"Paris is the capital of\" -t \" France\" --show direct_mlps
  microtome attribute \"Paris is the capital of\" -t \" France\" --neurons 0,1 --show direct_neurons
  microtome attribute \"Paris is the capital of\" -t \" France\" --by-source --show direct_sources --png sources.png
  microtome attribute -m gpt2 --pairs docs/ioi.json --show direct_accumulated")]
pub struct Args {
    /// The prompt
    prompt: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ask: AskArgs,
    /// Layers whose neurons are told apart, separated by commas
    #[arg(long, value_name = "LAYERS", value_delimiter = ',', value_parser = layer)]
    neurons: Vec<usize>,
    /// Tell a head's share apart by the positions it looks at
    #[arg(long)]
    by_source: bool,
    /// How outputs are read
    #[arg(long, value_enum, default_value_t = ReadingArg::Exact)]
    reading: ReadingArg,
    /// Prompts from a file instead (JSON or CSV): means and intervals over them
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    #[command(flatten)]
    output: output::OutputArgs,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum ReadingArg {
    /// Through the final LayerNorm, its scale frozen: shares sum to the logit
    Exact,
    /// As TransformerLens's cache.logit_attrs: the final LayerNorm's gain and bias left out
    TlLogitAttrs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let attribution = Attribution {
        neurons: args.neurons.clone(),
        heads: if args.by_source { Heads::BySource } else { Heads::Whole },
        reading: match args.reading {
            ReadingArg::Exact => Reading::Exact,
            ReadingArg::TlLogitAttrs => Reading::TlLogitAttrs,
        },
    };
    let prompts = args.ask.prompts(args.prompt.as_deref(), None, args.pairs.as_deref())?;
    let method = Method::DirectAttribution(attribution);
    answer(&args.ask.experiment(&args.model, prompts, method)?, &args.output)
}
