//! `microtome promotes`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use microtome::method::promoted_tokens::PromotedTokens;
use microtome::{Component, Method};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs};
use crate::output;

/// Which tokens a head, MLP or neuron promotes and suppresses at a prompt
///
/// What it writes at one position, through the final LayerNorm as it is in the run, as logits of every token. What later
/// layers make of it is left out.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome promotes L2H1,L2H3,m3 \"When Mary and John went to the store, John gave a drink to\"
  microtome promotes -m gpt2 9.9,10.7 \"When Mary and John went to the store, John gave a drink to\" --tokens 5
  microtome promotes L1H3 \"Paris is the capital of\" --read-at 2")]
pub struct Args {
    /// Components, separated by commas: heads 2.1 or L2H1, attention layers a3, MLPs m3, neurons L2N17
    components: String,
    /// The prompt
    prompt: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ask: AskArgs,
    /// Prompts from a file instead (JSON or CSV), one after the other
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    /// How many tokens are given that each raises, and that it lowers
    #[arg(long, value_name = "N", default_value_t = 10)]
    tokens: usize,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let prompts = args.ask.prompts(args.prompt.as_deref(), None, args.pairs.as_deref())?;
    let named = |name: &str| Ok(name.trim().parse::<Component>()?);
    let components = args.components.split(',').map(named).collect::<Result<_>>()?;
    let asked = PromotedTokens { components, tokens: Some(args.tokens) };
    let experiment = args.ask.experiment(&args.model, prompts, Method::PromotedTokens(asked))?;
    answer(&experiment, &args.output)
}
