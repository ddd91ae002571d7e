//! Options that several subcommands share, and what they turn into.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use microtome::method::change::{Per, Replacement};
use microtome::method::patch::Direction;
use microtome::metric::MetricId;
use microtome::model::demo::NAME as DEMO;
use microtome::model::{HubSettings, LoadOptions, Positions, Precision, Preparation, Processing};
use microtome::sae::{Sae, SaeChoice};
use microtome::tuned_lens::TunedLens;
use microtome::{Answer, Bos, Component, Experiment, Method, Prompt, Record, Text, TextModel};

use crate::device;
use crate::progress;

/// Which model, and how it is prepared.
#[derive(Args, Debug, Clone)]
pub struct ModelArgs {
    /// demo (inside this program), a checkpoint file or directory, or a Hugging Face id (gpt2, org/name)
    #[arg(short, long, env = "MICROTOME_MODEL", value_name = "MODEL", default_value = DEMO)]
    pub model: String,
    #[command(flatten)]
    pub prepare: PrepareArgs,
}

/// How a model is prepared.
#[derive(Args, Debug, Clone)]
pub struct PrepareArgs {
    /// Weight processing: folded as in published GPT-2 results, or raw as in the file
    #[arg(long, value_enum, default_value_t = WeightsArg::Folded)]
    pub weights: WeightsArg,
    /// What the numbers of the matrices are kept as: bf16 takes half the memory and rounds each to eight
    /// significant bits, which changes results
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    pub precision: PrecisionArg,
    /// Do not prepend the BOS token to text
    #[arg(long)]
    pub no_bos: bool,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightsArg {
    Folded,
    Raw,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrecisionArg {
    F32,
    Bf16,
}

impl From<WeightsArg> for Processing {
    fn from(arg: WeightsArg) -> Processing {
        match arg {
            WeightsArg::Folded => Processing::Folded,
            WeightsArg::Raw => Processing::Raw,
        }
    }
}

impl From<PrecisionArg> for Precision {
    fn from(arg: PrecisionArg) -> Precision {
        match arg {
            PrecisionArg::F32 => Precision::F32,
            PrecisionArg::Bf16 => Precision::Bf16,
        }
    }
}

impl PrepareArgs {
    pub fn preparation(&self) -> Preparation {
        Preparation { processing: self.weights.into(), precision: self.precision.into() }
    }

    pub fn bos(&self) -> Bos {
        if self.no_bos { Bos::Omit } else { Bos::Prepend }
    }
}

/// Loads a model, showing downloads.
pub fn load(model: &str, prepared: Preparation) -> Result<TextModel> {
    let mut bar = progress::Download::default();
    let options = LoadOptions { device: device::open()?.device.clone(), ..LoadOptions::default() };
    Ok(TextModel::load(model, prepared, &options, &mut bar)?)
}

/// Loads what an experiment needs: its model, and beside it its autoencoder or tuned lens.
pub fn load_for(experiment: &Experiment) -> Result<TextModel> {
    let mut model = load(&experiment.model, experiment.preparation())?;
    if let Some(choice) = experiment.method.sae() {
        let hint =
            || format!("the autoencoder `{choice}` does not fit this model; name one with --sae that does");
        model = model.with_sae(open_sae(choice)?).with_context(hint)?;
    }
    if let Some(name) = experiment.method.tuned_lens() {
        let hint =
            || format!("the tuned lens `{name}` does not fit this model; name one with --tuned that does");
        model = model.with_tuned_lens(name, TunedLens::open(name)?).with_context(hint)?;
    }
    Ok(model)
}

/// Opens a sparse autoencoder, showing downloads.
pub fn open_sae(choice: &SaeChoice) -> Result<Sae> {
    Ok(Sae::open(choice, &HubSettings::from_env(), &mut progress::Download::default())?)
}

/// Which sparse autoencoder.
#[derive(Args, Debug, Clone)]
pub struct SaeArgs {
    /// The autoencoder: a folder with cfg.json and sae_weights.safetensors, release/id as SAELens has it
    /// (gpt2-small-res-jb/blocks.8.hook_resid_pre), org/repo/folder of the Hugging Face hub, or the demo model's own
    #[arg(long, env = "MICROTOME_SAE", value_name = "SAE", default_value = "demo")]
    pub sae: String,
}

impl SaeArgs {
    /// The one named.
    pub fn choice(&self) -> SaeChoice {
        SaeChoice(self.sae.clone())
    }
}

/// What follows a prompt, and what is measured.
#[derive(Args, Debug, Clone)]
pub struct AskArgs {
    /// The right next token, leading space included; several times for a set of answers
    #[arg(short, long, value_name = "TOKEN")]
    pub target: Vec<String>,
    /// A wrong next token to compare with: gives the logit difference; several times for a set
    #[arg(short, long, value_name = "TOKEN", requires = "target")]
    pub foil: Vec<String>,
    /// Read prompts as token ids separated by commas, and targets as ids
    #[arg(long)]
    pub ids: bool,
    /// What to measure, separated by commas; `microtome metrics` lists all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub metric: Vec<String>,
    /// Position at which metrics are read [default: the last]
    #[arg(long, value_name = "POS")]
    pub read_at: Option<usize>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl AskArgs {
    pub fn text(&self, text: &str) -> Result<Text> {
        if !self.ids {
            return Ok(Text::Text(text.to_owned()));
        }
        Ok(Text::Ids(text.split(',').map(token_id).collect::<Result<_>>()?))
    }

    pub fn answer(&self, text: &str) -> Result<Answer> {
        Ok(if self.ids { Answer::Id(token_id(text)?) } else { Answer::Text(text.to_owned()) })
    }

    pub fn prompt(&self, clean: &str, corrupt: Option<&str>) -> Result<Prompt> {
        Ok(Prompt {
            clean: self.text(clean)?,
            corrupt: corrupt.map(|text| self.text(text)).transpose()?,
            answers: self.target.iter().map(|t| self.answer(t)).collect::<Result<_>>()?,
            wrong_answers: self.foil.iter().map(|t| self.answer(t)).collect::<Result<_>>()?,
        })
    }

    /// The prompts of a command: one typed, or those of a file.
    pub fn prompts(
        &self,
        typed: Option<&str>,
        corrupt: Option<&str>,
        pairs: Option<&Path>,
    ) -> Result<Vec<Prompt>> {
        match (typed, pairs) {
            (Some(_), Some(_)) => bail!("give either a prompt or --pairs FILE, not both"),
            (Some(clean), None) => Ok(vec![self.prompt(clean, corrupt)?]),
            (None, Some(file)) if self.target.is_empty() && self.foil.is_empty() => {
                Ok(microtome::read_pairs(file)?)
            }
            (None, Some(_)) => {
                bail!("with --pairs the answers come from the file; leave out --target and --foil")
            }
            (None, None) => bail!("no prompt; give one in quotes, or --pairs FILE"),
        }
    }

    pub fn experiment(&self, model: &ModelArgs, prompts: Vec<Prompt>, method: Method) -> Result<Experiment> {
        let Preparation { processing, precision } = model.prepare.preparation();
        Ok(Experiment {
            model: model.model.clone(),
            weights: processing,
            precision,
            bos: model.prepare.bos(),
            prompts,
            method,
            metrics: self
                .metric
                .iter()
                .map(|name| Ok(MetricId::named(name.trim())?))
                .collect::<Result<_>>()?,
            read_at: self.read_at,
            seed: self.seed,
        })
    }
}

/// A pair of prompts, or a file of them.
#[derive(Args, Debug, Clone)]
pub struct PairArgs {
    /// The clean prompt
    pub prompt: Option<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    /// The corrupt prompt, of as many tokens as the clean one
    #[arg(short, long, value_name = "PROMPT")]
    pub corrupt: Option<String>,
    #[command(flatten)]
    pub ask: AskArgs,
    /// Prompt pairs from a file instead (JSON or CSV): means and intervals over them
    #[arg(long, value_name = "FILE")]
    pub pairs: Option<PathBuf>,
}

impl PairArgs {
    /// The question about these pairs.
    pub fn experiment(&self, method: Method) -> Result<Experiment> {
        let prompts =
            self.ask.prompts(self.prompt.as_deref(), self.corrupt.as_deref(), self.pairs.as_deref())?;
        self.ask.experiment(&self.model, prompts, method)
    }
}

/// Which run is changed.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Denoise,
    Noise,
}

impl From<Way> for Direction {
    fn from(way: Way) -> Direction {
        match way {
            Way::Denoise => Direction::Denoise,
            Way::Noise => Direction::Noise,
        }
    }
}

/// A record that was written before.
pub fn read_record(file: &Path) -> Result<Record> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{name}`"))?;
    serde_json::from_str(&text).with_context(|| format!("`{name}` is no record"))
}

fn token_id(text: &str) -> Result<u32> {
    text.trim().parse().with_context(|| format!("`{text}` is no token id; with --ids give whole numbers"))
}

/// What takes an ablated component's place.
#[derive(Args, Debug, Clone)]
pub struct WithArgs {
    /// What takes its place
    #[arg(long = "with", value_enum, value_name = "KIND", default_value_t = With::Zero)]
    pub with: With,
    /// Reference prompts for --with mean, one a line [default: the prompts themselves]
    #[arg(long, value_name = "FILE")]
    pub reference: Option<PathBuf>,
    /// Take the mean position by position rather than over all positions
    #[arg(long)]
    pub per_position: bool,
    /// The other prompt for --with resample [default: the corrupt prompt]
    #[arg(long, value_name = "PROMPT")]
    pub from: Option<String>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// 0
    Zero,
    /// The mean over reference prompts
    Mean,
    /// The value in another prompt
    Resample,
    /// Attention pattern: equal weight on every position seen
    Uniform,
    /// Attention pattern: nothing (the same as zero)
    ZeroPattern,
    /// Attention pattern: the position itself
    Identity,
    /// Attention pattern: softmax of seeded noise
    Random,
    /// Attention pattern: that of the same head one layer below
    Previous,
}

impl WithArgs {
    /// Checks that there is something for it to take the place of.
    pub fn needs_a_cut(&self, cut: &[Component]) -> Result<()> {
        if cut.is_empty() && self.with != With::Zero {
            bail!("--with says what takes the place of what is cut; add --cut, for example --cut 1.3");
        }
        Ok(())
    }

    pub fn replacement(&self, ask: &AskArgs) -> Result<Replacement> {
        if self.with != With::Mean && (self.reference.is_some() || self.per_position) {
            bail!("--reference and --per-position say what a mean is taken over; add --with mean");
        }
        if self.with != With::Resample && self.from.is_some() {
            bail!("--from names the prompt to resample from; add --with resample");
        }
        Ok(match self.with {
            With::Zero => Replacement::Zero,
            With::Mean => Replacement::Mean {
                reference: match &self.reference {
                    Some(file) => lines_of(file)?.iter().map(|line| ask.text(line)).collect::<Result<_>>()?,
                    None => vec![],
                },
                per: if self.per_position { Per::Position } else { Per::Overall },
            },
            With::Resample => {
                Replacement::Resample { from: self.from.as_deref().map(|text| ask.text(text)).transpose()? }
            }
            With::Uniform => Replacement::Uniform,
            With::ZeroPattern => Replacement::ZeroPattern,
            With::Identity => Replacement::Identity,
            With::Random => Replacement::Random,
            With::Previous => Replacement::Previous,
        })
    }
}

/// The lines of a file that are not empty.
pub fn lines_of(file: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let lines: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if lines.is_empty() {
        bail!("`{}` holds no prompts; write one a line", file.display());
    }
    Ok(lines)
}

/// A layer's number.
pub fn layer(text: &str) -> Result<usize> {
    text.trim().parse().with_context(|| format!("`{text}` is no layer; give its number, counted from 0"))
}

/// `all`, `last`, `5..`, or positions separated by commas.
pub fn positions(text: &str) -> Result<Positions> {
    let number = |part: &str| {
        let expected = "expected all, last, a position, several with commas, or 5.. for 5 and later";
        part.trim().parse::<usize>().with_context(|| format!("`{text}` names no positions; {expected}"))
    };
    Ok(match text {
        "all" => Positions::All,
        "last" => Positions::Last,
        _ => match text.strip_suffix("..") {
            Some(first) => Positions::From(number(first)?),
            None => Positions::At(text.split(',').map(number).collect::<Result<_>>()?),
        },
    })
}
