//! `microtome steer`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use microtome::method::steering::{DirectionLength, Over, Steering, SteeringDirection};
use microtome::{Component, Method};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs, SaeArgs, open_sae};
use crate::output;

/// Steer: add a direction to the residual stream, measure the prompt and write on
///
/// The direction is the difference of the activations of two sets of texts, or what a neuron or a feature writes. Every strength gives
/// one row of the table and, with --max, one text; 0 is the model as it is.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome steer \"One day, Mary\" --towards \" happy\" --away \" sad\" --layer 3 --strength -4,0,4 --max 20
  microtome steer \"Paris is the capital of\" --towards \"Rome is the capital of\" --away \"Paris is the capital of\" \\
    --layer 4 --strength 0.5,1,2 -t \" Italy\" -f \" France\"
  microtome steer \"One day\" --neuron L2N17 --layer 3 --strength 2,8 --unit --max 20
  microtome steer \"One day\" --sae my-sae --feature 305 --strength 5,20 --max 20")]
pub struct Args {
    /// The prompt
    prompt: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ask: AskArgs,
    /// Prompts from a file instead (JSON or CSV): means and intervals over them; texts go on from the first
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    /// A text the direction leads to; several may be given, their mean counts
    #[arg(long, value_name = "TEXT", conflicts_with = "neuron")]
    towards: Vec<String>,
    /// A text the direction leads away from; several may be given
    #[arg(long, value_name = "TEXT", conflicts_with = "neuron")]
    away: Vec<String>,
    /// Which positions of these texts count: the last, or all but BOS
    #[arg(long, value_enum, default_value_t = OverArg::Last)]
    over: OverArg,
    /// What this neuron writes, for example L2N17
    #[arg(long)]
    neuron: Option<Component>,
    #[command(flatten)]
    sae: SaeArgs,
    /// What this feature of the autoencoder writes
    #[arg(long, value_name = "FEATURE", conflicts_with_all = ["neuron", "towards", "away"])]
    feature: Option<usize>,
    /// The layer in front of which it is added [default with --feature: where the autoencoder's activation enters a layer]
    #[arg(long, required_unless_present = "feature")]
    layer: Option<usize>,
    /// How much of it is added
    #[arg(
        long,
        value_name = "NUMBERS",
        value_delimiter = ',',
        default_value = "1",
        allow_hyphen_values = true
    )]
    strength: Vec<f64>,
    /// Bring the direction to length 1 first
    #[arg(long)]
    unit: bool,
    /// Write on for so many tokens, once for every strength
    #[arg(long, value_name = "N", default_value_t = 0)]
    max: usize,
    /// 0 takes the most probable token; above, tokens are drawn from the 50 most probable
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    #[command(flatten)]
    output: output::OutputArgs,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum OverArg {
    Last,
    All,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let texts = |texts: &[String]| texts.iter().map(|text| args.ask.text(text)).collect::<Result<Vec<_>>>();
    let along = match (args.neuron, args.feature) {
        (Some(neuron), _) => SteeringDirection::Neuron(neuron),
        (None, Some(feature)) => SteeringDirection::Feature { sae: args.sae.choice(), feature },
        _ if args.towards.is_empty() || args.away.is_empty() => {
            bail!(
                "no direction; give --towards TEXT and --away TEXT, --neuron L2N17, or --sae SAE --feature 305"
            )
        }
        _ => SteeringDirection::Difference {
            towards: texts(&args.towards)?,
            away: texts(&args.away)?,
            over: match args.over {
                OverArg::Last => Over::Last,
                OverArg::All => Over::All,
            },
        },
    };
    let steering = Steering {
        layer: match (args.layer, &along) {
            (Some(layer), _) => layer,
            (None, SteeringDirection::Feature { sae, .. }) => open_sae(sae)?.layer_after(),
            (None, _) => bail!(
                "no layer; give the one in front of which the direction is added, for example --layer 3"
            ),
        },
        along,
        strengths: args.strength.clone(),
        length: if args.unit { DirectionLength::One } else { DirectionLength::AsIs },
        max_new_tokens: args.max,
        temperature: args.temperature,
    };
    let prompts = args.ask.prompts(args.prompt.as_deref(), None, args.pairs.as_deref())?;
    let experiment = args.ask.experiment(&args.model, prompts, Method::Steering(steering))?;
    answer(&experiment, &args.output)
}
