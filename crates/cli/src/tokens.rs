//! `microtome tokens`.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;

use crate::args::{AskArgs, ModelArgs, load};
use crate::output::{print, tokens_line};

/// Show how text splits into tokens
#[derive(clap::Args)]
pub struct Args {
    /// The text
    text: String,
    #[command(flatten)]
    model: ModelArgs,
    /// Read the text as token ids separated by commas
    #[arg(long)]
    ids: bool,
    /// Print positions, ids and tokens as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let model = load(&args.model.model, args.model.prepare.preparation())?;
    let ask = AskArgs { target: vec![], foil: vec![], ids: args.ids, metric: vec![], read_at: None, seed: 0 };
    let tokens = model.tokens(&ask.text(&args.text)?, args.model.prepare.bos())?;
    if args.json {
        print(&(serde_json::to_string_pretty(&tokens)? + "\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = format!("{}\n", tokens_line(&tokens));
    for (pos, (id, label)) in tokens.ids.iter().zip(&tokens.labels).enumerate() {
        let _ = writeln!(out, "{pos:5} {id:7}  {label:?}");
    }
    let bos = if tokens.bos_prepended { "BOS prepended" } else { "no BOS" };
    let _ = writeln!(out, "{} tokens, {bos}; {}", tokens.ids.len(), model.about().tokenizer);
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}
