//! `microtome card`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use microtome::whole_file::write_whole;
use microtome_train::{RunRecord, card};

use crate::args::{self, ModelArgs};
use crate::output::print;

/// Measure a model that has read the generator's corpus: accuracy by task, and its circuits
///
/// Asks prompts that no corpus contains (indirect objects, facts, repeats, years, agreement, sums,
/// pronouns), finds name movers, induction heads and what facts depend on, and writes it down as Markdown.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Prompts of each task
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..))]
    prompts: u32,
    /// Seed of the prompts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The run's record.json, for how the model was made
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The file it was trained by, as the card should call it
    #[arg(long, value_name = "CONFIG.toml", requires = "record")]
    config: Option<String>,
    /// Write the card to a file instead of the terminal
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let spec = &args.model.model;
    let record: Option<RunRecord> = match &args.record {
        Some(path) => {
            let shown = path.display();
            let text = std::fs::read(path).with_context(|| format!("cannot read `{shown}`"))?;
            Some(
                serde_json::from_slice(&text)
                    .with_context(|| format!("`{shown}` is no run's record.json"))?,
            )
        }
        None => None,
    };
    let model = args::load(spec, args.model.prepare.processing())?;
    let card = card::measure(&model, args.seed, args.prompts as usize)
        .with_context(|| format!("`{spec}` cannot be asked the corpus's tasks"))?;
    let text = card.to_markdown(&model, spec, record.as_ref(), args.config.as_deref());
    match &args.out {
        Some(path) => write_whole(path, text.as_bytes())
            .with_context(|| format!("cannot write `{}`", path.display()))?,
        None => print(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}
