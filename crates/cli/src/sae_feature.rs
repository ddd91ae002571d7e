//! `microtome sae feature` and `scan`: one feature by the weights, and where in a text features are active.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use microtome::corpus_scan::{CorpusScan, SaeFeatures};
use microtome::method::feature_profile::FeatureProfile;
use microtome::sae::Sae;
use microtome::{Method, Record};

use crate::answer::answer_then;
use crate::args::{AskArgs, ModelArgs, SaeArgs, open_sae};
use crate::features_text::summary_text;
use crate::output::{self, print};
use crate::scan::ScanOptions;

/// One feature: the tokens it raises and lowers, the features nearest to it, its passages in a scan
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome sae feature 305 --sae my-sae --tokens 20
  microtome sae feature 305 --sae my-sae --scan scan.json")]
pub struct FeatureArgs {
    /// The feature
    feature: usize,
    #[command(flatten)]
    sae: SaeArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// How many tokens are given that it raises, and that it lowers
    #[arg(long, value_name = "N", default_value_t = 10)]
    tokens: usize,
    /// How many of the nearest features are given
    #[arg(long, value_name = "N", default_value_t = 10)]
    nearest: usize,
    /// A scan of the same autoencoder, whose passages are shown
    #[arg(long, value_name = "FILE")]
    scan: Option<PathBuf>,
    #[command(flatten)]
    output: output::OutputArgs,
}

/// Where in a text features are most active, how often, and how their activation is distributed
///
/// As microtome neurons scan, of all features or of some. The text is a file of any length, read a batch of windows at a time. With
/// --out the scan is saved every few seconds and --resume goes on with it, to the same numbers.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome sae scan corpus.txt --sae my-sae --out scan.json
  microtome sae scan corpus.txt --sae my-sae --features 12,305 --top 20
  microtome sae scan -m gpt2 openwebtext.txt --sae gpt2-small-res-jb/blocks.8.hook_resid_pre --limit 1000000 --out scan.json")]
pub struct ScanArgs {
    /// The text file; `-` reads standard input, all of it at once
    text: PathBuf,
    #[command(flatten)]
    sae: SaeArgs,
    /// These features instead of all, separated by commas
    #[arg(long, value_name = "FEATURES", value_delimiter = ',')]
    features: Vec<usize>,
    #[command(flatten)]
    how: ScanOptions,
}

pub fn feature(args: &FeatureArgs) -> Result<ExitCode> {
    let profile = FeatureProfile {
        sae: args.sae.choice(),
        feature: args.feature,
        tokens: Some(args.tokens),
        nearest: Some(args.nearest),
    };
    let ask = AskArgs { target: vec![], foil: vec![], ids: false, metric: vec![], read_at: None, seed: 0 };
    let experiment = ask.experiment(&args.model, vec![], Method::FeatureProfile(profile))?;
    let scan = args.scan.as_deref().map(CorpusScan::read).transpose()?;
    let mut passages = String::new();
    let code = answer_then(&experiment, &args.output, |_, record| {
        if let Some(scan) = &scan {
            passages = passages_of(scan, record, args.feature)?;
        }
        Ok(())
    })?;
    if args.output.json.is_none() {
        print(&passages)?;
    }
    Ok(code)
}

/// What a scan says of a feature.
fn passages_of(scan: &CorpusScan, record: &Record, feature: usize) -> Result<String> {
    let report = record.results.feature.as_ref().context("no feature")?;
    match &scan.sae {
        Some(sae) if sae.hash == report.sae.hash => {}
        Some(sae) => bail!("the scan is of another autoencoder, {}; scan with this one", sae.name),
        None => bail!("the scan is of neurons; make one with `microtome sae scan`"),
    }
    let name = feature.to_string();
    let found = scan.features.iter().find(|summary| summary.feature == name);
    let found =
        found.with_context(|| format!("the scan has no feature {feature}; name it with --features there"))?;
    Ok(summary_text(scan, found))
}

pub fn scan(args: &ScanArgs) -> Result<ExitCode> {
    let begun = args.how.begun()?;
    let choice = args.sae.choice();
    let model = args.how.load()?.with_sae(open_sae(&choice)?)?;
    let sae: &Sae = model.sae(&choice)?;
    args.how.scan(&args.text, &model, &SaeFeatures::new(sae, &args.features)?, begun)
}
