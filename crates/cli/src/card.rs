//! `microtome card`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use microtome_train::card::{self, Trained};

use crate::args::{self, ModelArgs};
use crate::output::print;
use crate::whole_file::write_whole;

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
    /// Folder of the run that made it, for how that was done; several, the first first, where it was made in
    /// steps
    #[arg(long, value_name = "DIR")]
    run: Vec<PathBuf>,
    /// The file each of these runs was trained by, as the card should call it
    #[arg(long, value_name = "CONFIG.toml", requires = "run")]
    config: Vec<String>,
    /// Write the card to a file instead of the terminal
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let spec = &args.model.model;
    if args.run.len() != args.config.len() {
        bail!(
            "{} runs and {} configurations; give --config once for each --run",
            args.run.len(),
            args.config.len()
        );
    }
    let trained = |(dir, config): (&PathBuf, &String)| -> Result<Trained> {
        let path = dir.join("record.json");
        let shown = path.display();
        let text = std::fs::read(&path).with_context(|| format!("cannot read `{shown}`"))?;
        let record =
            serde_json::from_slice(&text).with_context(|| format!("`{shown}` is no run's record.json"))?;
        Ok(Trained { config: config.clone(), record })
    };
    let runs = args.run.iter().zip(&args.config).map(trained).collect::<Result<Vec<_>>>()?;
    let model = args::load(spec, args.model.prepare.preparation())?;
    let card = card::measure(&model, args.seed, args.prompts as usize)
        .with_context(|| format!("`{spec}` cannot be asked the corpus's tasks"))?;
    let text = card.to_markdown(&model, spec, &runs);
    match &args.out {
        Some(path) => write_whole(path, text.as_bytes())?,
        None => print(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}
