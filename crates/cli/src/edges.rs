//! `microtome edges`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use microtome::Method;
use microtome::circuit::EdgeScores;
use microtome::circuit::eap_json::eap_json;
use microtome::circuit::edge_attribution::{EdgeAttribution, GradientsAt};
use microtome::circuit::scores::Keep;
use microtome::method::patch::Direction;

use crate::answer::{answer_then, check_own_file};
use crate::args::{AskArgs, ModelArgs};
use crate::output;
use crate::whole_file::write_whole;

/// Estimate what every edge between components is worth (edge attribution patching)
///
/// An edge leads from what writes to the residual stream to what reads it. Two runs and one backward pass of each pair
/// estimate them all; with --steps derivatives are averaged between the two prompts (EAP-IG). Exact numbers of single
/// edges: microtome path-patch --from every --to every.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome edges \"Paris is the capital of\" -c \"Rome is the capital of\" -t \" France\" -f \" Italy\"
  microtome edges --pairs docs/names.json --steps 5 --eap ioi-edges.json --top 100
  microtome edges -m gpt2 --pairs ioi.json --steps 5 --along activations --csv=edges.csv")]
pub struct Args {
    /// The clean prompt
    prompt: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// The corrupt prompt, of as many tokens as the clean one
    #[arg(short, long, value_name = "PROMPT")]
    corrupt: Option<String>,
    #[command(flatten)]
    ask: AskArgs,
    /// Prompt pairs from a file instead (JSON or CSV): means and intervals over them
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    /// Steps of integrated gradients [default: none, the derivative at the run that is changed]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// What the steps go along
    #[arg(long, value_enum, requires = "steps", default_value_t = Along::Inputs)]
    along: Along,
    /// Noise: corrupt into clean. Denoise: clean into corrupt
    #[arg(long, value_enum, default_value_t = Way::Noise)]
    direction: Way,
    /// Write the scores as the JSON that the EAP-IG library and MIB read, the strongest edges in_graph
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    eap: Option<PathBuf>,
    /// How many of the strongest edges --eap takes into the circuit, pruned to those on a way from input to logits
    #[arg(long, value_name = "N", default_value_t = 100, requires = "eap", help_heading = "Output")]
    top: usize,
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

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Noise,
    Denoise,
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
    let direction = match args.direction {
        Way::Noise => Direction::Noise,
        Way::Denoise => Direction::Denoise,
    };
    let prompts = args.ask.prompts(args.prompt.as_deref(), args.corrupt.as_deref(), args.pairs.as_deref())?;
    let method = Method::EdgeAttribution(EdgeAttribution { direction, gradients });
    let experiment = args.ask.experiment(&args.model, prompts, method)?;
    if let Some(file) = &args.eap {
        check_own_file("--eap", file, &args.output)?;
        if args.top == 0 {
            bail!("--top 0 takes no edge; take at least one");
        }
    }
    answer_then(&experiment, &args.output, |model, record| {
        let Some(file) = &args.eap else { return Ok(()) };
        let scores = EdgeScores::of_record(record)?;
        let circuit = scores.circuit(args.top, Keep::Paths);
        write_whole(file, eap_json(&scores, &circuit, model.config()).as_bytes())
    })
}
