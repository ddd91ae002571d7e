//! `microtome info`.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use microtome::model::{LoadOptions, Processing, load};
use microtome::{TextModel, check_processing};

use crate::output::print;
use crate::progress;

/// Say what a model is: sizes, parameters, weights, tokenizer
///
/// Also runs it with folded and with raw weights and checks that both give the same next-token
/// probabilities.
#[derive(clap::Args)]
pub struct Args {
    /// demo (inside this program), a checkpoint file or directory, or a Hugging Face id
    #[arg(env = "MICROTOME_MODEL", default_value = microtome::model::demo::NAME)]
    model: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let mut bar = progress::Download::default();
    let options = LoadOptions::default();
    let loaded = load(&args.model, &options, &mut bar)?;
    let raw = TextModel::from_loaded(loaded.clone(), Processing::Raw)?;
    let n_parameters = raw.n_parameters()?;
    let folded = TextModel::from_loaded(loaded, Processing::Folded)?;
    let check = check_processing(&raw, &folded)?;
    let about = raw.about();
    let config = raw.config();
    if args.json {
        let value = serde_json::json!({
            "about": about, "config": config, "parameters": n_parameters, "bos": raw.bos(),
            "folded_against_raw": check,
        });
        print(&(serde_json::to_string_pretty(&value)? + "\n"))?;
    } else {
        let mut out = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(out, "{name:12} {value}");
        };
        line("model", format!("{} ({})", about.model, about.family));
        line("files", about.files.join("\n             "));
        line(
            "sizes",
            format!(
                "{} layers x {} heads, d_model {}, d_head {}, d_mlp {}, vocabulary {}, context {}",
                config.n_layers,
                config.n_heads,
                config.d_model,
                config.d_head,
                config.d_mlp(),
                config.d_vocab,
                config.n_ctx
            ),
        );
        line(
            "kind",
            format!(
                "{}, {}",
                config
                    .mlp
                    .map_or("attention only".to_owned(), |mlp| format!("MLP with {}", mlp.activation.name())),
                config
                    .norm
                    .map_or("no LayerNorm".to_owned(), |norm| format!("LayerNorm, eps {:e}", norm.eps)),
            ),
        );
        line("parameters", format!("{:.2} M, {} in the file", n_parameters as f64 / 1e6, about.dtype));
        line("weight hash", about.weight_hash.clone());
        line("tokenizer", about.tokenizer.clone());
        line("BOS", raw.bos().map_or("none".to_owned(), |id| format!("{} (id {id})", raw.label(id))));
        for assumption in &about.assumptions {
            line("assumed", assumption.clone());
        }
        let verdict = if check.agrees { "agree" } else { "DIFFER" };
        line(
            "check",
            format!(
                "folded and raw weights {verdict}: next-token probabilities differ by at most {:.1e} over {} tokens",
                check.largest_difference, check.n_tokens
            ),
        );
        print(&out)?;
    }
    Ok(if check.agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
