//! `microtome attention`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use microtome::method::attention::{Weighting, weighted_patterns};
use microtome::method::attention_stats::AttentionStats;
use microtome::method::detect::{Back, Detector, Score, Target};
use microtome::plot::AttentionPage;
use microtome::{Component, Experiment, Method, TextModel};

use crate::answer::{answer_then, check_own_file};
use crate::args::{AskArgs, ModelArgs};
use crate::output;
use crate::whole_file::write_whole;

/// Statistics of every head's attention on prompts, detectors, and patterns to look at
///
/// Entropy, distance, and the shares on the first position, on self and on the previous token, by head;
/// over several prompts the mean with its spread. One head's pattern whole with --head; all heads in one
/// HTML file, which opens offline, with --html.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome attention \"The cat sat on the mat. The cat sat on the\" --show attention_distance
  microtome attention \"When Mary and John went to the store, John gave a drink to\" --head 4.3 --show pattern
  microtome attention \"The cat sat. The cat\" --html attention.html --weighting output
  microtome attention --pairs docs/ioi.json --detect induction_head --score tl_mul --show tl_mul/induction_head
  microtome attention \"a b c\" --mask mask.json --show share/mask

A mask is a JSON file: a list of [query, key] pairs, or a matrix with a row for every token.")]
pub struct Args {
    /// The prompt
    prompt: Option<String>,
    /// Read prompts from a JSON or CSV file instead (docs/formats.md); their corrupt prompts and answers are not used
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    /// Read the prompt as token ids separated by commas
    #[arg(long)]
    ids: bool,
    /// What the entries of a pattern are multiplied by
    #[arg(long, value_enum, default_value_t = WeightingArg::Pattern)]
    weighting: WeightingArg,
    /// Where a head would look: previous_token_head, duplicate_token_head, induction_head, or N (or N@FROM) for the key N
    /// tokens back (of queries from FROM on); several with commas
    #[arg(long, value_name = "TARGETS", value_delimiter = ',')]
    detect: Vec<String>,
    /// A target of your own, a JSON file
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// How patterns are compared with targets; several with commas
    #[arg(long, value_enum, value_name = "SCORES", value_delimiter = ',', default_value = "share")]
    score: Vec<ScoreArg>,
    /// The head whose pattern is given whole, and shown first in --html
    #[arg(long, value_name = "HEAD")]
    head: Option<Component>,
    /// Write all heads' patterns as one HTML file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Seed of the resamples behind intervals
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum WeightingArg {
    /// Nothing
    Pattern,
    /// The norm of the key's value vector
    Value,
    /// The norm of the key's value vector after W_O
    Output,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
enum ScoreArg {
    /// Mean attention on the target, over queries that have one
    Share,
    /// transformer_lens.head_detector's "mul"
    TlMul,
    /// The same, attention to position 0 left out
    TlMulExbos,
    /// The same, attention to the query itself left out
    TlMulExcur,
    /// transformer_lens.head_detector's "abs"
    TlAbs,
}

impl ScoreArg {
    fn score(self) -> Score {
        match self {
            ScoreArg::Share => Score::Share,
            ScoreArg::TlMul => Score::TlMul,
            ScoreArg::TlMulExbos => Score::TlMulExbos,
            ScoreArg::TlMulExcur => Score::TlMulExcur,
            ScoreArg::TlAbs => Score::TlAbs,
        }
    }
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
    let mut prompts = ask.prompts(args.prompt.as_deref(), None, args.pairs.as_deref())?;
    for prompt in &mut prompts {
        (prompt.corrupt, prompt.answers, prompt.wrong_answers) = (None, vec![], vec![]);
    }
    let several = prompts.len() > 1;
    for (flag, given) in [("--html", args.html.is_some()), ("--head", args.head.is_some())] {
        if several && given {
            bail!("{flag} shows the attention of one prompt; give one in quotes");
        }
    }
    let stats = AttentionStats {
        weighting: match args.weighting {
            WeightingArg::Pattern => Weighting::Pattern,
            WeightingArg::Value => Weighting::Value,
            WeightingArg::Output => Weighting::Output,
        },
        detectors: detectors(args)?,
        head: args.head,
    };
    let experiment = ask.experiment(&args.model, prompts, Method::Attention(stats.clone()))?;
    if let Some(file) = &args.html {
        check_own_file("--html", file, &args.output)?;
    }
    answer_then(&experiment, &args.output, |model, _| match &args.html {
        Some(file) => write_page(file, model, &experiment, &stats),
        None => Ok(()),
    })
}

fn write_page(file: &Path, model: &TextModel, experiment: &Experiment, stats: &AttentionStats) -> Result<()> {
    let tokens = model.tokens(&experiment.prompts[0].clean, experiment.bos)?;
    let patterns = weighted_patterns(model, &tokens.ids, stats.weighting)?;
    let head = stats.head.unwrap_or(Component::Head { layer: 0, head: 0 });
    let page =
        AttentionPage { model, tokens: &tokens, patterns: &patterns, weighting: stats.weighting, head };
    write_whole(file, page.to_html()?.as_bytes())
}

fn detectors(args: &Args) -> Result<Vec<Detector>> {
    let mut targets = args.detect.iter().map(|name| target(name.trim())).collect::<Result<Vec<_>>>()?;
    if let Some(file) = &args.mask {
        targets.push(mask(file)?);
    }
    let of = |target: Target| {
        args.score.iter().map(move |score| Detector { target: target.clone(), score: score.score() })
    };
    Ok(targets.into_iter().flat_map(of).collect())
}

fn target(name: &str) -> Result<Target> {
    if let Some(named) = Target::NAMED.into_iter().find(|target| target.name() == name) {
        return Ok(named);
    }
    let (offset, from) = match name.split_once('@') {
        Some((offset, from)) => (offset, Some(from)),
        None => (name, None),
    };
    let number = |text: &str| {
        text.parse::<usize>().with_context(|| {
            format!(
                "`{name}` is no target; there are {}, N for the key N tokens back, and N@FROM",
                Target::NAMED.map(|target| target.name()).join(", ")
            )
        })
    };
    Ok(Target::Back(Back { offset: number(offset)?, from: from.map(number).transpose()? }))
}

/// Pairs of two whole numbers are pairs; rows of any other length, or numbers with a fraction, a matrix. A two by two
/// matrix is read as one where its rows are 0 and 1 alone.
fn mask(file: &Path) -> Result<Target> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{name}`"))?;
    let expected = "expected a JSON list of [query, key] pairs, or of rows of numbers";
    let rows: Vec<Vec<f64>> =
        serde_json::from_str(&text).with_context(|| format!("`{name}` is no mask: {expected}"))?;
    let whole = |x: &f64| *x >= 0.0 && x.fract() == 0.0;
    let pairs = rows.iter().all(|row| row.len() == 2 && row.iter().all(whole));
    let two_by_two =
        rows.len() == 2 && rows.iter().flatten().all(|x| [0.0, 1.0].contains(x)) && rows[0][1] == 0.0;
    Ok(match pairs && !two_by_two {
        true => Target::Pairs(rows.iter().map(|row| (row[0] as usize, row[1] as usize)).collect()),
        false => Target::Matrix(rows),
    })
}
