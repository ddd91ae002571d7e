//! `microtome sae`: sparse autoencoders.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use microtome::method::features::{FeatureReading, LossRuns};
use microtome::sae::{SaeChoice, SaeReport};
use microtome::{Experiment, Method};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs, SaeArgs, open_sae, positions};
use crate::output::{self, print};
use crate::sae_attribute::{self, AttributeArgs};
use crate::sae_edits::{self, AblateArgs, EditArgs, SweepArgs};
use crate::sae_feature::{self, FeatureArgs, ScanArgs};
use crate::sae_train;

/// Sparse autoencoders: what they are, which features are active, what they are worth
///
/// An autoencoder, or a transcoder, is a folder in SAELens's format, release/id as SAELens names them, or a folder of a
/// Hugging Face repository. It is run on the model it was trained on, with weights processed as they were then; anything else is
/// refused.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Info(InfoArgs),
    Features(FeaturesArgs),
    Ablate(AblateArgs),
    Sweep(SweepArgs),
    Edit(EditArgs),
    Attribute(AttributeArgs),
    Feature(FeatureArgs),
    Scan(ScanArgs),
    Train(sae_train::Args),
}

/// Say what an autoencoder is: architecture, hook point, sizes, the model it was trained on
#[derive(clap::Args)]
struct InfoArgs {
    /// The autoencoder: a folder, release/id, or org/repo/folder
    sae: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Prompts, and the autoencoder they are looked at through.
#[derive(clap::Args)]
pub struct Prompts {
    #[command(flatten)]
    pub sae: SaeArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub ask: AskArgs,
    /// Prompts from a file instead (JSON or CSV)
    #[arg(long, value_name = "FILE")]
    pub pairs: Option<PathBuf>,
}

impl Prompts {
    /// The question about a prompt that was typed, or those of the file.
    pub fn experiment(
        &self,
        typed: Option<&str>,
        corrupt: Option<&str>,
        method: Method,
    ) -> Result<Experiment> {
        let prompts = self.ask.prompts(typed, corrupt, self.pairs.as_deref())?;
        self.ask.experiment(&self.model, prompts, method)
    }
}

/// Which features are active in a prompt, token by token, and how well the autoencoder stands for the activations
///
/// L0, explained variance and the loss recovered are over all positions but BOS. The table shows each metric when the
/// activation is replaced by the reconstruction, by 0 and by its mean.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome sae features \"When Mary and John went to the store\" --sae my-sae --top 5
  microtome sae features -m gpt2 \"The Eiffel Tower is in\" --sae gpt2-small-res-jb/blocks.8.hook_resid_pre
  microtome sae features --pairs docs/names.json --sae my-sae --watch 12,305 --json=features.json")]
struct FeaturesArgs {
    /// The prompt
    prompt: Option<String>,
    #[command(flatten)]
    prompts: Prompts,
    /// How many features are given of each token, and overall
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Positions that count: all, last, 5, 1,2,3 or 5.. [default: all but BOS]
    #[arg(long, value_name = "POSITIONS")]
    at: Option<String>,
    /// Features that are given however weak they are, separated by commas
    #[arg(long, value_name = "FEATURES", value_delimiter = ',')]
    watch: Vec<usize>,
    /// Leave out the losses, and the runs they take
    #[arg(long)]
    no_losses: bool,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::Info(args) => info(args),
        What::Features(args) => features(args),
        What::Ablate(args) => sae_edits::ablate(args),
        What::Sweep(args) => sae_edits::sweep(args),
        What::Edit(args) => sae_edits::edit(args),
        What::Attribute(args) => sae_attribute::attribute(args),
        What::Feature(args) => sae_feature::feature(args),
        What::Scan(args) => sae_feature::scan(args),
        What::Train(args) => sae_train::run(args),
    }
}

fn features(args: &FeaturesArgs) -> Result<ExitCode> {
    let reading = FeatureReading {
        sae: args.prompts.sae.choice(),
        top: Some(args.top),
        at: args.at.as_deref().map(positions).transpose()?,
        watch: args.watch.clone(),
        losses: if args.no_losses { LossRuns::LeftOut } else { LossRuns::Measured },
    };
    let experiment = args.prompts.experiment(args.prompt.as_deref(), None, Method::Features(reading))?;
    answer(&experiment, &args.output)
}

fn info(args: &InfoArgs) -> Result<ExitCode> {
    let report = open_sae(&SaeChoice(args.sae.clone()))?.report();
    if args.json {
        print(&(serde_json::to_string_pretty(&report)? + "\n"))?;
    } else {
        print(&info_text(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn info_text(report: &SaeReport) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:12} {value}");
    };
    let k = report.k.map_or(String::new(), |k| format!(", the {k} largest of each position"));
    line("autoencoder", report.name.to_string());
    line("kind", format!("{}{k}", report.architecture));
    match &report.hook_out {
        None => line("hook", report.hook.clone()),
        Some(out) => {
            line("reads at", report.hook.clone());
            line("writes at", out.clone());
        }
    }
    let written = report.d_out.map_or(String::new(), |d_out| format!(" that write {d_out}"));
    line("sizes", format!("{} features of {} numbers{written}", report.d_sae, report.d_in));
    line("normalised", report.normalization.clone());
    line("trained on", report.trained_on.clone().unwrap_or_else(|| "its files do not say".to_owned()));
    let weights = match report.weights {
        Some(weights) => format!("{} (--weights {})", weights.name(), weights.name()),
        None => "folded or raw: both have the same activations there".to_owned(),
    };
    line("weights", weights);
    let bos = if report.prepend_bos { "in front of text" } else { "none" };
    let context = report.context_size.map_or(String::new(), |size| format!(", {size} tokens at a time"));
    line("BOS", format!("{bos}{context}"));
    line("pages", report.neuronpedia.clone().unwrap_or_else(|| "none".to_owned()));
    line("hash", report.hash.clone());
    out
}
