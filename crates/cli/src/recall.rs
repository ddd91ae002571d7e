//! `microtome recall`.

use std::process::ExitCode;

use anyhow::Result;
use microtome::Method;
use microtome::circuit::factual_recall::FactualRecall;

use crate::answer::answer;
use crate::args::PairArgs;
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
    #[command(flatten)]
    pairs: PairArgs,
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
    let PairArgs { prompt, model, corrupt, ask, pairs } = &args.pairs;
    let made = prompt.is_none() && pairs.is_none();
    if made && !(ask.target.is_empty() && ask.foil.is_empty() && corrupt.is_none()) {
        anyhow::bail!("--corrupt, --target and --foil belong to a prompt; give it in quotes");
    }
    let method = Method::FactualRecall(FactualRecall { count: args.count, window: args.window });
    let experiment = match made {
        true => ask.experiment(model, vec![], method)?,
        false => args.pairs.experiment(method)?,
    };
    answer(&experiment, &args.output)
}
