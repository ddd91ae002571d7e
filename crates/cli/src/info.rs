//! `microtome info`.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use microtome::model::{LoadOptions, Precision, Preparation, Processing, device_name, load};
use microtome::{PrecisionCheck, TextModel, check_precision, check_processing};

use crate::args::PrecisionArg;
use crate::device;
use crate::output::print;
use crate::progress;

/// Say what a model is: sizes, parameters, weights, tokenizer
///
/// Also runs it with folded and with raw weights and checks that both give the same next-token
/// probabilities; with --precision bf16, says how far rounded weights change them.
#[derive(clap::Args)]
pub struct Args {
    /// demo (inside this program), a checkpoint file or directory, or a Hugging Face id
    #[arg(env = "MICROTOME_MODEL", default_value = microtome::model::demo::NAME)]
    model: String,
    /// bf16: also say what rounding the matrices to it does to predictions
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    precision: PrecisionArg,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let mut bar = progress::Download::default();
    let options = LoadOptions::default();
    let loaded = load(&args.model, &options, &mut bar)?;
    let raw = TextModel::from_loaded(loaded.clone(), Processing::Raw)?;
    let n_parameters = raw.n_parameters();
    let folded = TextModel::from_loaded(loaded.clone(), Processing::Folded)?;
    let check = check_processing(&raw, &folded)?;
    let rounding: Option<PrecisionCheck> = match Precision::from(args.precision) {
        Precision::F32 => None,
        precision => {
            let prepared = Preparation { processing: Processing::Folded, precision };
            Some(check_precision(&folded, &TextModel::from_loaded(loaded, prepared)?)?)
        }
    };
    let about = raw.about();
    let config = raw.config();
    if args.json {
        let mut value = serde_json::json!({
            "about": about, "config": config, "parameters": n_parameters, "bos": raw.bos(),
            "folded_against_raw": check, "device": device_name(&device::open()?.device),
        });
        if let (Some(rounding), Some(fields)) = (rounding, value.as_object_mut()) {
            fields.insert("bf16_against_f32".to_owned(), serde_json::to_value(rounding)?);
        }
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
        line("device", device::describe()?);
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
        if let Some(PrecisionCheck {
            largest_logit_difference,
            largest_difference,
            mean_kl_nats,
            largest_kl_nats,
            top1_changed,
            n_tokens,
        }) = rounding
        {
            line(
                "bf16",
                format!(
                    "over {n_tokens} tokens logits differ from f32's by at most {largest_logit_difference:.1e}, \
                     probabilities by {largest_difference:.1e}; KL {mean_kl_nats:.1e} nats on average, \
                     {largest_kl_nats:.1e} at most; the most probable token is another at {top1_changed}"
                ),
            );
        }
        print(&out)?;
    }
    Ok(if check.agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
