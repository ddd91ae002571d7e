//! `microtome lens`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use microtome::method::logit_lens::{LogitLens, Norm, Rows};
use microtome::{Component, Method};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs, WithArgs};
use crate::output;

/// Read the residual stream as next-token probabilities at every layer and position
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome lens \"Paris is the capital of\" -t \" France\" --show prob
  microtome lens \"Paris is the capital of\" -t \" France\" --cut 3.1,4.2 --png lens.png
  microtome lens \"Paris is the capital of\" -t \" France\" -f \" Italy\" --rows contributions
  microtome lens \"Paris is the capital of\" --corrupt \"Rome is the capital of\" -t \" France\" --show prob
  microtome lens \"Paris is the capital of\" -t \" France\" --show kl --tuned demo --curves kl.png
  microtome lens --pairs capitals.json --show prob --curves capitals.svg")]
pub struct Args {
    /// The prompt
    prompt: Option<String>,
    /// Another prompt of as many tokens: its lens, and the difference of the two
    #[arg(short, long, value_name = "PROMPT", requires = "prompt")]
    corrupt: Option<String>,
    /// Several prompts from a file, read at one position each: their mean and each of them
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ask: AskArgs,
    /// Which rows are read
    #[arg(long, value_enum, default_value_t = RowsArg::Layers)]
    rows: RowsArg,
    /// How a row becomes what the unembedding multiplies [default: final; frozen for contributions]
    #[arg(long, value_enum)]
    norm: Option<NormArg>,
    /// Read layers through a tuned lens too, beside the logit lens: a folder with config.json and params.pt, as `microtome train
    /// lens` or the package tuned-lens saves it, or demo, the demo model's own
    #[arg(long, value_name = "LENS")]
    tuned: Option<String>,
    /// The probability that the answer is asked to reach [default: 0.5]
    #[arg(long, value_name = "PROB", requires = "target")]
    threshold: Option<f64>,
    /// Components cut at all positions first: heads 8.11, attention layers a8, MLPs m8, neurons L8N120
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cut: Vec<Component>,
    #[command(flatten)]
    with: WithArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum RowsArg {
    /// The stream before layer 0 and after every layer
    Layers,
    /// The stream before each attention layer and each MLP
    Sublayers,
    /// What each of them adds, and the constant: they sum to the logits
    Contributions,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum NormArg {
    /// The final LayerNorm, with the row's own deviation
    Final,
    /// No LayerNorm
    None,
    /// The final LayerNorm with the scale of the last row
    Frozen,
    /// The same without gain and bias: TransformerLens's apply_ln_to_stack
    TlCachedScale,
}

impl From<RowsArg> for Rows {
    fn from(arg: RowsArg) -> Rows {
        match arg {
            RowsArg::Layers => Rows::Layers,
            RowsArg::Sublayers => Rows::Sublayers,
            RowsArg::Contributions => Rows::Contributions,
        }
    }
}

impl From<NormArg> for Norm {
    fn from(arg: NormArg) -> Norm {
        match arg {
            NormArg::Final => Norm::Final,
            NormArg::None => Norm::None,
            NormArg::Frozen => Norm::Frozen,
            NormArg::TlCachedScale => Norm::TlCachedScale,
        }
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    args.with.needs_a_cut(&args.cut)?;
    let lens = LogitLens {
        cut: args.cut.clone(),
        with: args.with.replacement(&args.ask)?,
        rows: args.rows.into(),
        norm: args.norm.map(Norm::from),
        tuned: args.tuned.clone(),
        threshold: args.threshold,
    };
    let mut prompts =
        args.ask.prompts(args.prompt.as_deref(), args.corrupt.as_deref(), args.pairs.as_deref())?;
    if args.pairs.is_some() && prompts.len() > 1 {
        // A file of pairs has a corrupt prompt beside each; the lens of several prompts reads the clean ones.
        prompts.iter_mut().for_each(|prompt| prompt.corrupt = None);
    }
    let experiment = args.ask.experiment(&args.model, prompts, Method::LogitLens(lens))?;
    answer(&experiment, &args.output)
}
