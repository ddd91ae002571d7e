//! `microtome task`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;
use microtome::task::{Dropped, Lengths, Make, TASKS, check};
use microtome::{Prompt, TextModel, pairs_as_csv, pairs_as_json, read_pairs};

use crate::args::{ModelArgs, load};
use crate::output::print;
use crate::whole_file::{check_writable, write_whole};

/// Make prompt pairs for a task, or check a file of one's own
///
/// Clean and corrupt prompts have the same number of tokens, and every answer is one token of the model's vocabulary.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome task list
  microtome task make ioi -n 50 -o ioi.json
  microtome task make ioi -m gpt2 --corruption swapped --same-length -o ioi.csv
  microtome task check my-pairs.csv -m gpt2 -o usable.json")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List the tasks
    List,
    /// Make prompt pairs
    Make(MakeArgs),
    /// Tell which pairs of a file (JSON or CSV) the model can be asked about
    Check(CheckArgs),
}

#[derive(clap::Args)]
struct MakeArgs {
    /// Name of the task; `microtome task list` lists all
    task: String,
    #[command(flatten)]
    model: ModelArgs,
    /// How many pairs
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    count: usize,
    /// How prompts are corrupted [default: the task's usual way]
    #[arg(long, value_name = "NAME")]
    corruption: Option<String>,
    /// Give all prompts the number of tokens of the first, so that means can be taken position by position
    #[arg(long)]
    same_length: bool,
    /// Seed of the draw
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The file, CSV where its name ends so, else JSON [default: JSON to the terminal]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(clap::Args)]
struct CheckArgs {
    /// The file
    pairs: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Write the pairs that can be used, CSV where the name ends so, else JSON
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::List => list(),
        What::Make(args) => make(args),
        What::Check(args) => check_file(args),
    }
}

fn list() -> Result<ExitCode> {
    let mut out = String::new();
    for task in TASKS {
        let corruptions = task.corruptions.join(", ");
        let _ = writeln!(out, "{:13} {}", task.name, task.describe);
        let _ = writeln!(out, "{:13} corruptions: {corruptions}; metric: {}", "", task.metric);
    }
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn make(args: &MakeArgs) -> Result<ExitCode> {
    if let Some(file) = &args.out {
        check_writable(file)?;
    }
    let model = load(&args.model.model, args.model.prepare.preparation())?;
    let make = Make {
        task: args.task.clone(),
        count: args.count,
        corruption: args.corruption.clone(),
        lengths: if args.same_length { Lengths::Same } else { Lengths::Any },
        seed: args.seed,
    };
    let made = make.run(&model, args.model.prepare.bos())?;
    write(&made.prompts, args.out.as_deref(), &model)?;
    if !made.dropped.is_empty() {
        eprintln!("left out, not one token of this vocabulary: {}", dropped_words(&made.dropped));
    }
    Ok(ExitCode::SUCCESS)
}

fn check_file(args: &CheckArgs) -> Result<ExitCode> {
    let prompts = read_pairs(&args.pairs)?;
    if let Some(file) = &args.out {
        check_writable(file)?;
    }
    let model = load(&args.model.model, args.model.prepare.preparation())?;
    let total = prompts.len();
    let (kept, refused) = check(prompts, &model, args.model.prepare.bos());
    let mut out = String::new();
    for pair in &refused {
        let _ = writeln!(out, "pair {}: {}", pair.number, pair.reason);
    }
    let _ = writeln!(out, "{} of {total} pairs can be used", kept.len());
    print(&out)?;
    if kept.is_empty() {
        bail!("no pair of `{}` can be used with this model", args.pairs.display());
    }
    if args.out.is_some() {
        write(&kept, args.out.as_deref(), &model)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(prompts: &[Prompt], file: Option<&Path>, model: &TextModel) -> Result<()> {
    let Some(file) = file else { return print(&pairs_as_json(prompts)) };
    let is_csv = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let text = if is_csv { pairs_as_csv(prompts, model)? } else { pairs_as_json(prompts) };
    write_whole(file, text.as_bytes())?;
    eprintln!("wrote {} pairs to {}", prompts.len(), file.display());
    Ok(())
}

/// The first of them, and how many more there are.
fn dropped_words(dropped: &[Dropped]) -> String {
    const SHOWN: usize = 12;
    let words: Vec<String> =
        dropped.iter().take(SHOWN).map(|dropped| format!("`{}`", dropped.word)).collect();
    let more = dropped.len().saturating_sub(SHOWN);
    match more {
        0 => words.join(", "),
        _ => format!("{} and {more} more", words.join(", ")),
    }
}
