//! `microtome recall`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use microtome::Method;
use microtome::circuit::factual_recall::FactualRecall;

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs};
use crate::output;

/// Find how facts are recalled: where the subject is enriched, and which heads bring the answer to the end
///
/// Prompts that differ in their subject alone: \"Paris is the capital of\" and \"Rome is the capital of\". Without any, they
/// are made for the model's vocabulary (as `microtome task make facts` does).
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome recall
  microtome recall \"Paris is the capital of\" -c \"Rome is the capital of\" -t \" France\" -f \" Italy\"
  microtome recall -m gpt2 --count 40 --window 3 --svg recall.svg
  microtome recall --pairs facts.json --show lost --png heads.png")]
pub struct Args {
    /// The clean prompt
    prompt: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// The corrupt prompt, about another subject of as many tokens
    #[arg(short, long, value_name = "PROMPT")]
    corrupt: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
    /// Prompt pairs from a file instead (JSON or CSV): means and intervals over them
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    /// Without prompts: how many are made [default: 16]
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Layers whose attention, or MLPs, are patched together around each one [default: 1]
    #[arg(long, value_name = "LAYERS")]
    window: Option<usize>,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let made = args.prompt.is_none() && args.pairs.is_none();
    let prompts = match made {
        true => vec![],
        false => args.ask.prompts(args.prompt.as_deref(), args.corrupt.as_deref(), args.pairs.as_deref())?,
    };
    if made && !(args.ask.target.is_empty() && args.ask.foil.is_empty() && args.corrupt.is_none()) {
        anyhow::bail!("--corrupt, --target and --foil belong to a prompt; give it in quotes");
    }
    let method = Method::FactualRecall(FactualRecall { count: args.count, window: args.window });
    let experiment = args.ask.experiment(&args.model, prompts, method)?;
    answer(&experiment, &args.output)
}
