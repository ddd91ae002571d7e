//! `microtome sae attribute`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use microtome::Method;
use microtome::method::feature_attribution::{FeatureAttribution, FeatureEstimate};
use microtome::method::feature_sweep::FeatureCells;
use microtome::method::remeasure::Check;

use crate::answer::{answer_then, check_own_file};
use crate::attribution_patch::check;
use crate::output::{self, write_picture};
use crate::sae::Prompts;
use crate::sae_edits::{ChangeArgs, PlaceArgs};

/// What each active feature is worth, estimated by one derivative or read directly, and measured beside it
///
/// By the derivative: the change of the metric when the feature is set to 0, scaled, or patched. With --direct: what the
/// feature writes towards the answer at the position that is read, by itself. --check measures the strongest and says how
/// well the estimates agree.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome sae attribute \"When Mary and John went to the store, John gave a drink to\" --sae my-sae \\
    -t \" Mary\" -f \" John\" --check 20
  microtome sae attribute \"..\" --sae my-sae -t \" Mary\" -f \" John\" --direct --check all
  microtome sae attribute \"..\" -c \"..\" --sae my-sae -t \" Mary\" -f \" John\" --change patch --by-position")]
pub struct AttributeArgs {
    /// The prompt
    prompt: Option<String>,
    #[command(flatten)]
    prompts: Prompts,
    #[command(flatten)]
    change: ChangeArgs,
    /// What a feature writes, read as the logits would, instead of a derivative
    #[arg(long)]
    direct: bool,
    /// Tell positions apart
    #[arg(long)]
    by_position: bool,
    /// How many features are given, those with the largest estimates
    #[arg(long, value_name = "N", default_value_t = 100)]
    top: usize,
    /// Measure the strongest N features, or all that are given
    #[arg(long, value_name = "N|all", value_parser = check)]
    check: Option<Check>,
    /// Draw measured against estimated, as SVG or PNG by the file's ending
    #[arg(long, value_name = "FILE", requires = "check", help_heading = "Output")]
    scatter: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub fn attribute(args: &AttributeArgs) -> Result<ExitCode> {
    let attribution = FeatureAttribution {
        sae: args.prompts.sae.choice(),
        estimate: if args.direct { FeatureEstimate::Direct } else { FeatureEstimate::Gradient },
        change: args.change.change()?,
        by: if args.by_position { FeatureCells::FeaturePosition } else { FeatureCells::Feature },
        at: args.place.at()?,
        error: args.place.error(),
        top: Some(args.top),
        check: args.check,
    };
    let (prompt, corrupt) = (args.prompt.as_deref(), args.change.corrupt.as_deref());
    let experiment = args.prompts.experiment(prompt, corrupt, Method::FeatureAttribution(attribution))?;
    if let Some(file) = &args.scatter {
        check_own_file("--scatter", file, &args.output)?;
    }
    answer_then(&experiment, &args.output, |_, record| {
        let Some(file) = &args.scatter else { return Ok(()) };
        let plot = record.scatter().context("nothing to draw: no feature was measured")?;
        write_picture(file, &plot.to_svg())
    })
}
