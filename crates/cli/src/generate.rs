//! `microtome generate`.

use std::process::ExitCode;

use anyhow::Result;
use microtome::method::clamp::Clamp;
use microtome::method::feature_edit::FeatureEdits;
use microtome::method::generate::Generate;
use microtome::sae::ErrorTerm;
use microtome::{Component, Method};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs, SaeArgs, WithArgs};
use crate::output;
use crate::sae_edits::FeatureArg;

/// Generate text, with and without components, or with neurons or features held at a value
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome generate -m gpt2 \"The cat sat on the mat. The dog\" --max 30
  microtome generate -m gpt2 \"The Eiffel Tower is in\" --cut 9.6,9.9 --with uniform --temperature 1 --seed 7
  microtome generate \"One day, Mary and John went to the river. John\" --clamp L2N17=5
  microtome generate \"One day, Mary and John went to the river. John\" --sae my-sae --feature 305=8")]
pub struct Args {
    /// The prompt
    prompt: String,
    #[command(flatten)]
    model: ModelArgs,
    /// How many tokens to add at most
    #[arg(long, value_name = "N", default_value_t = 40)]
    max: usize,
    /// 0 takes the most probable token; above, tokens are drawn from the 50 most probable
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f64,
    /// Components cut on every token of a second text: heads 8.11, MLPs m3, neurons L3N120
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cut: Vec<Component>,
    #[command(flatten)]
    with: WithArgs,
    /// Neurons held at a value on every token of the second text: L2N17=5
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_hyphen_values = true)]
    clamp: Vec<Clamp>,
    #[command(flatten)]
    sae: SaeArgs,
    /// Features changed on every token of the second text, BOS left out: 305=8 sets one, 305*=2 scales it, 305+=1 adds to it
    #[arg(long, value_name = "F=X", value_delimiter = ',')]
    feature: Vec<FeatureArg>,
    /// Drop what the features do not explain
    #[arg(long, requires = "feature")]
    drop_error: bool,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Read the prompt as token ids separated by commas
    #[arg(long)]
    ids: bool,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let ask = AskArgs {
        target: vec![],
        foil: vec![],
        ids: args.ids,
        metric: vec![],
        read_at: None,
        seed: args.seed,
    };
    args.with.needs_a_cut(&args.cut)?;
    let generate = Generate {
        max_new_tokens: args.max,
        temperature: args.temperature,
        cut: args.cut.clone(),
        with: args.with.replacement(&ask)?,
        clamp: args.clamp.clone(),
        features: match &args.feature[..] {
            [] => None,
            changes => Some(FeatureEdits {
                sae: args.sae.choice(),
                edits: changes.iter().map(|change| change.edit(None)).collect(),
                error: if args.drop_error { ErrorTerm::Drop } else { ErrorTerm::Keep },
            }),
        },
    };
    let prompts = vec![ask.prompt(&args.prompt, None)?];
    let experiment = ask.experiment(&args.model, prompts, Method::Generate(generate))?;
    answer(&experiment, &args.output)
}
