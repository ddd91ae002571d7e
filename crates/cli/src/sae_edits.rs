//! `microtome sae ablate`, `sweep` and `edit`: features changed.

use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use microtome::Method;
use microtome::method::feature_edit::{FeatureEdit, FeatureEdits};
use microtome::method::feature_sweep::{FeatureCells, FeatureSweep, FeatureTargets};
use microtome::model::Positions;
use microtome::sae::{ErrorTerm, FeatureChange};

use crate::answer::answer;
use crate::args::{Way, positions};
use crate::output;
use crate::sae::Prompts;

/// Where features are changed, and what happens to the rest of the activation.
#[derive(clap::Args)]
pub struct PlaceArgs {
    /// Positions that count: all, last, 5, 1,2,3 or 5.. [default: all but BOS]
    #[arg(long, value_name = "POSITIONS")]
    at: Option<String>,
    /// Drop what the features do not explain: the run goes on with the reconstruction at these positions, and changes
    /// are measured against the run in which that is all that happens
    #[arg(long)]
    drop_error: bool,
}

impl PlaceArgs {
    pub fn at(&self) -> Result<Option<Positions>> {
        self.at.as_deref().map(positions).transpose()
    }

    pub fn error(&self) -> ErrorTerm {
        if self.drop_error { ErrorTerm::Drop } else { ErrorTerm::Keep }
    }
}

/// Features set to 0 together
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome sae ablate \"When Mary and John went to the store, John gave a drink to\" --features 12,305 --sae my-sae \\
    -t \" Mary\" -f \" John\"")]
pub struct AblateArgs {
    /// The prompt
    prompt: Option<String>,
    #[command(flatten)]
    prompts: Prompts,
    /// The features, separated by commas
    #[arg(long, value_name = "FEATURES", value_delimiter = ',', required = true)]
    features: Vec<usize>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

/// Every active feature changed by itself, and what that does
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome sae sweep \"When Mary and John went to the store, John gave a drink to\" --sae my-sae -t \" Mary\" -f \" John\"
  microtome sae sweep \"..\" --sae my-sae -t \" Mary\" --at last --change scale=2 --drop-error
  microtome sae sweep \"..\" --corrupt \"..\" --sae my-sae -t \" Mary\" -f \" John\" --change patch --by-position")]
pub struct SweepArgs {
    /// The prompt
    prompt: Option<String>,
    #[command(flatten)]
    prompts: Prompts,
    #[command(flatten)]
    change: ChangeArgs,
    /// These features instead of all active ones, separated by commas
    #[arg(long, value_name = "FEATURES", value_delimiter = ',')]
    features: Vec<usize>,
    /// Change them in one run
    #[arg(long, requires = "features")]
    together: bool,
    /// Change a feature at one position after the other
    #[arg(long, conflicts_with = "together")]
    by_position: bool,
    /// How many runs of a prompt at most: of more features, those that change most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    most: usize,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

/// Features changed in one run, each in its own way
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome sae edit \"Paris is the capital of\" --sae my-sae --feature 305=8,12*=0.5 -t \" France\" -f \" Italy\"")]
pub struct EditArgs {
    /// The prompt
    prompt: Option<String>,
    #[command(flatten)]
    prompts: Prompts,
    /// Changes, separated by commas: 305=8 sets a feature, 305*=2 scales it, 305+=1 adds to it
    #[arg(long, value_name = "F=X", value_delimiter = ',', required = true)]
    feature: Vec<FeatureArg>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

/// A change of a feature: `305=8` sets it, `305*=2` scales it, `305+=1` adds to it.
#[derive(Debug, Clone, Copy)]
pub struct FeatureArg {
    feature: usize,
    change: FeatureChange,
}

impl FeatureArg {
    /// The edit, at these positions.
    pub fn edit(self, at: Option<Positions>) -> FeatureEdit {
        FeatureEdit { feature: self.feature, change: self.change, at }
    }
}

impl FromStr for FeatureArg {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<FeatureArg> {
        let wrong = || {
            format!("`{text}` changes no feature; write 305=8 to set it, 305*=2 to scale it, 305+=1 to add")
        };
        let (feature, number) = text.split_once('=').with_context(wrong)?;
        let (feature, change): (&str, fn(f64) -> FeatureChange) = match feature.chars().last() {
            Some('*') => (&feature[..feature.len() - 1], FeatureChange::Scale),
            Some('+') => (&feature[..feature.len() - 1], FeatureChange::Add),
            _ => (feature, FeatureChange::Set),
        };
        let feature = feature.trim().parse().with_context(wrong)?;
        Ok(FeatureArg { feature, change: change(number.trim().parse().with_context(wrong)?) })
    }
}

/// What happens to every feature.
#[derive(clap::Args)]
pub struct ChangeArgs {
    /// The corrupt prompt for --change patch, of as many tokens as the clean one
    #[arg(short, long, value_name = "PROMPT")]
    pub corrupt: Option<String>,
    /// What happens to each: ablate, scale=2, set=5, add=1, or patch
    #[arg(long, value_name = "CHANGE", default_value = "ablate", allow_hyphen_values = true)]
    change: ChangeArg,
    /// Which run a patch changes
    #[arg(long, value_enum, default_value_t = Way::Denoise)]
    direction: Way,
}

impl ChangeArgs {
    pub fn change(&self) -> Result<FeatureChange> {
        if !matches!(self.change, ChangeArg::Patch) {
            if self.corrupt.is_some() {
                bail!("--corrupt names the other run of a patch; add --change patch");
            }
            if self.direction != Way::Denoise {
                bail!("--direction says which run a patch changes; add --change patch");
            }
        }
        Ok(match self.change {
            ChangeArg::Ablate => FeatureChange::Ablate,
            ChangeArg::Patch => FeatureChange::Patch(self.direction.into()),
            ChangeArg::Number(change, number) => change(number),
        })
    }
}

/// One of these.
#[derive(Debug, Clone, Copy)]
enum ChangeArg {
    Ablate,
    Patch,
    Number(fn(f64) -> FeatureChange, f64),
}

impl FromStr for ChangeArg {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<ChangeArg> {
        let wrong = || format!("`{text}` is no change; expected ablate, patch, scale=2, set=5 or add=1");
        let change: fn(f64) -> FeatureChange = match text.split_once('=').map_or(text, |(name, _)| name) {
            "ablate" if text == "ablate" => return Ok(ChangeArg::Ablate),
            "patch" if text == "patch" => return Ok(ChangeArg::Patch),
            "scale" => FeatureChange::Scale,
            "set" => FeatureChange::Set,
            "add" => FeatureChange::Add,
            _ => bail!(wrong()),
        };
        let (_, number) = text.split_once('=').with_context(wrong)?;
        Ok(ChangeArg::Number(change, number.parse().with_context(wrong)?))
    }
}

pub fn ablate(args: &AblateArgs) -> Result<ExitCode> {
    let sweep = FeatureSweep {
        sae: args.prompts.sae.choice(),
        features: FeatureTargets::Together(args.features.clone()),
        change: FeatureChange::Ablate,
        by: FeatureCells::Feature,
        at: args.place.at()?,
        error: args.place.error(),
        most: None,
    };
    let experiment = args.prompts.experiment(args.prompt.as_deref(), None, Method::FeatureSweep(sweep))?;
    answer(&experiment, &args.output)
}

pub fn sweep(args: &SweepArgs) -> Result<ExitCode> {
    let sweep = FeatureSweep {
        sae: args.prompts.sae.choice(),
        features: match (&args.features[..], args.together) {
            ([], _) => FeatureTargets::Active,
            (list, false) => FeatureTargets::Each(list.to_vec()),
            (list, true) => FeatureTargets::Together(list.to_vec()),
        },
        change: args.change.change()?,
        by: if args.by_position { FeatureCells::FeaturePosition } else { FeatureCells::Feature },
        at: args.place.at()?,
        error: args.place.error(),
        most: Some(args.most),
    };
    let (prompt, corrupt) = (args.prompt.as_deref(), args.change.corrupt.as_deref());
    answer(&args.prompts.experiment(prompt, corrupt, Method::FeatureSweep(sweep))?, &args.output)
}

pub fn edit(args: &EditArgs) -> Result<ExitCode> {
    let at = args.place.at()?;
    let edits = args.feature.iter().map(|change| change.edit(at.clone())).collect();
    let asked = FeatureEdits { sae: args.prompts.sae.choice(), edits, error: args.place.error() };
    answer(&args.prompts.experiment(args.prompt.as_deref(), None, Method::FeatureEdit(asked))?, &args.output)
}
