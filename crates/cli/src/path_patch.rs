//! `microtome path-patch`.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use microtome::Method;
use microtome::circuit::path_patch::{MlpsBetween, PathPatch, Receivers, Senders};
use microtome::circuit::{Node, Receiver};
use microtome::model::Positions;

use crate::answer::answer_then;
use crate::args::{PairArgs, Way, positions};
use crate::circuit_files::CircuitFiles;
use crate::output;

/// Patch what components write as chosen others see it, and nothing else
///
/// The sender writes what it writes in the other run; only the receiver sees that. By default corrupt outputs of every
/// head go straight to the logits of the clean run.
#[derive(clap::Args)]
#[command(
    after_help = "Receivers: a head's query, key or value as L9H6.q, L9H6.k, L9H6.v; an MLP as m3; logits.

Examples:
  microtome path-patch \"When Mary and John went to the store, John gave a drink to\" \\
    -c \"When Mary and John went to the store, Mary gave a drink to\" -t \" Mary\" -f \" John\"
  microtome path-patch -m gpt2 --pairs ioi.json --to 9.9.q,9.6.q,10.0.q --together --mlps recomputed
  microtome path-patch --pairs docs/names.json --from every --to every --graph exact.svg --eap exact.json --top 60"
)]
pub struct Args {
    #[command(flatten)]
    pairs: PairArgs,
    /// Senders: heads (every one), every (heads, MLPs and the input), or a list such as 0.1,m0,input
    #[arg(long, value_name = "LIST", default_value = "heads")]
    from: String,
    /// Patch the senders listed together rather than one by one
    #[arg(long)]
    from_together: bool,
    /// Receivers: every, or a list such as logits or L9H6.q,L9H9.q,m3
    #[arg(long, value_name = "LIST", default_value = "logits")]
    to: String,
    /// Let the receivers listed see it together rather than one by one
    #[arg(long)]
    together: bool,
    /// MLPs in between: frozen (the direct path alone) or recomputed (they pass the change on)
    #[arg(long, value_enum, default_value_t = Between::Frozen)]
    mlps: Between,
    /// Noise: corrupt into clean. Denoise: clean into corrupt
    #[arg(long, value_enum, default_value_t = Way::Noise)]
    direction: Way,
    /// Positions at which senders' outputs are patched: all, last, 3,5 or 4..
    #[arg(long, value_parser = positions, default_value = "all", allow_hyphen_values = true)]
    at: Positions,
    #[command(flatten)]
    files: CircuitFiles,
    /// Edges of the circuit that these files show, the strongest, pruned to those on a way from input to logits; of a patch from
    /// every sender to every receiver [default: 100]
    #[arg(long, value_name = "N", help_heading = "Output")]
    top: Option<usize>,
    #[command(flatten)]
    output: output::OutputArgs,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Frozen,
    Recomputed,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let listed =
        |text: &str| text.split(',').map(|name| Ok(name.parse::<Node>()?)).collect::<Result<Vec<_>>>();
    let from = match (&args.from[..], args.from_together) {
        ("heads", false) => Senders::Heads,
        ("every", false) => Senders::Every,
        ("heads" | "every", true) => {
            anyhow::bail!("--from-together takes a list of senders; every run patches one set of them")
        }
        (list, false) => Senders::Each(listed(list)?),
        (list, true) => Senders::Together(listed(list)?),
    };
    let inputs =
        |text: &str| text.split(',').map(|name| Ok(name.parse::<Receiver>()?)).collect::<Result<Vec<_>>>();
    let to = match (&args.to[..], args.together) {
        ("every", false) => Receivers::Every,
        ("every", true) => {
            anyhow::bail!(
                "--together takes a list of receivers; patching into all of them is a patch of the sender"
            )
        }
        (list, together) => match inputs(list)? {
            one if one.len() == 1 || together => Receivers::Together(one),
            several => Receivers::Each(several),
        },
    };
    let patch = PathPatch {
        from,
        to,
        mlps: match args.mlps {
            Between::Frozen => MlpsBetween::Frozen,
            Between::Recomputed => MlpsBetween::Recomputed,
        },
        direction: args.direction.into(),
        at: args.at.clone(),
    };
    let experiment = args.pairs.experiment(Method::PathPatch(patch))?;
    args.files.check_top(args.top, &experiment, &args.output)?;
    answer_then(&experiment, &args.output, |model, record| {
        args.files.write_strongest(args.top, model, record)
    })
}
