//! `microtome attribution-patch`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use microtome::Method;
use microtome::method::attribution_patching::{AttributionPatching, Correction};
use microtome::method::patch::Patch;
use microtome::method::remeasure::Check;

use crate::answer::{answer_then, check_own_file};
use crate::args::PairArgs;
use crate::output::{self, write_picture};
use crate::patch::WhichArgs;

/// Estimate what patching each activation would change (attribution patching)
///
/// One backward pass estimates every cell of microtome patch: the difference between the two runs times the metric's
/// derivative. --check measures the strongest cells, or all, and says how well the estimates agree.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome attribution-patch \"Paris is the capital of\" -c \"Rome is the capital of\" -t \" France\" -f \" Italy\" --check 20
  microtome attribution-patch --pairs docs/names.json --site resid_pre --steps 10
  microtome attribution-patch -m gpt2 --pairs ioi.json --site q --qk-fix --grad-drop --check all --scatter agree.svg")]
pub struct Args {
    #[command(flatten)]
    pairs: PairArgs,
    #[command(flatten)]
    which: WhichArgs,
    /// Steps of integrated gradients: scores that share out the whole change, not nearer to each single patch [default: none, the
    /// derivative at the run that is patched]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Compute the softmax again with the patched queries or keys (site q or k)
    #[arg(long)]
    qk_fix: bool,
    /// Mean size over derivatives that each leave out what one layer writes, so that nothing cancels
    #[arg(long)]
    grad_drop: bool,
    /// Measure the strongest N cells by patching, or all
    #[arg(long, value_name = "N|all", value_parser = check)]
    check: Option<Check>,
    /// Draw measured against estimated, as SVG or PNG by the file's ending
    #[arg(long, value_name = "FILE", requires = "check", help_heading = "Output")]
    scatter: Option<PathBuf>,
    #[command(flatten)]
    output: output::OutputArgs,
}

/// How many cells are measured, a number or `all`.
pub fn check(text: &str) -> Result<Check> {
    if text == "all" {
        return Ok(Check::All);
    }
    match text.parse() {
        Ok(count) if count > 0 => Ok(Check::Top(count)),
        _ => bail!("`{text}` is no number of cells; write 1 or more, or all"),
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let Patch { site, by, direction, at } = args.which.patch()?;
    let wanted = [(args.qk_fix, Correction::QkFix), (args.grad_drop, Correction::GradDrop)];
    let corrections = wanted.into_iter().filter_map(|(wanted, correction)| wanted.then_some(correction));
    let method = Method::AttributionPatching(AttributionPatching {
        site,
        by,
        direction,
        at,
        steps: args.steps,
        corrections: corrections.collect(),
        check: args.check,
    });
    let experiment = args.pairs.experiment(method)?;
    if let Some(file) = &args.scatter {
        check_own_file("--scatter", file, &args.output)?;
    }
    answer_then(&experiment, &args.output, |_, record| {
        let Some(file) = &args.scatter else { return Ok(()) };
        let plot = record.scatter().context("nothing to draw: no cell was measured")?;
        write_picture(file, &plot.to_svg())
    })
}
