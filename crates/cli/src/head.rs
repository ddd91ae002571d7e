//! `microtome head`.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use microtome::method::circuit_weights::{Embedding, Size};
use microtome::method::head_circuit::HeadCircuit;
use microtome::{Component, Method};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs};
use crate::output;

/// What one head's weights match and move: its QK and OV circuits over all pairs of tokens
///
/// The strongest pairs at either end, whether the head copies what it looks at (1) or lowers it (-1), and what
/// it makes of single tokens. About the weights alone; no prompt is run.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome head 4.3
  microtome head 4.3 --embedding after-mlp0 --size layer-norm --token \" Mary\" --token \" John\"
  microtome head 3.1 --pairs 50 --json > circuit.json")]
pub struct Args {
    /// The head, as 8.11 or L8H11
    head: Component,
    /// What of a token the head reads
    #[arg(long, value_enum, default_value_t = EmbeddingArg::Embed)]
    embedding: EmbeddingArg,
    /// How large a token is as the head reads it
    #[arg(long, value_enum, default_value_t = SizeArg::AsIs)]
    size: SizeArg,
    /// How many of the strongest pairs are given at either end
    #[arg(long, value_name = "N", default_value_t = 20)]
    pairs: usize,
    /// A token whose own row and column are given, leading space included; several times for several
    #[arg(long, value_name = "TOKEN")]
    token: Vec<String>,
    /// Read tokens as ids
    #[arg(long)]
    ids: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum EmbeddingArg {
    /// Its embedding, W_E
    Embed,
    /// Its embedding plus what MLP 0 makes of it, as later layers find it
    #[value(name = "after-mlp0")]
    AfterMlp0,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum SizeArg {
    /// As large as the embedding is
    AsIs,
    /// As the head's LayerNorm makes it
    LayerNorm,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let ask = AskArgs { target: vec![], foil: vec![], ids: args.ids, metric: vec![], read_at: None, seed: 0 };
    let circuit = HeadCircuit {
        head: args.head,
        embedding: match args.embedding {
            EmbeddingArg::Embed => Embedding::Embed,
            EmbeddingArg::AfterMlp0 => Embedding::AfterMlp0,
        },
        size: match args.size {
            SizeArg::AsIs => Size::AsIs,
            SizeArg::LayerNorm => Size::LayerNorm,
        },
        pairs: Some(args.pairs),
        tokens: args.token.iter().map(|token| ask.answer(token)).collect::<Result<_>>()?,
    };
    answer(&ask.experiment(&args.model, vec![], Method::HeadCircuit(circuit))?, &args.output)
}
