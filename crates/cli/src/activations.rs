//! `microtome activations`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use microtome::method::gradient::{Of, metric_gradients};
use microtome::metric::MetricId;
use microtome::model::{Hook, Positions, RunOptions, to_safetensors};

use crate::args::{AskArgs, ModelArgs, load, positions};
use crate::output::print;
use crate::whole_file::write_whole;

/// Write activations, and a metric's derivatives in them, to a safetensors file
///
/// Tensors carry TransformerLens's hook names, batch axis left out; derivatives stand under
/// grad.HOOK. Without --out, lists what would be written.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome activations -m gpt2 \"The cat sat on the\" --hooks 'blocks.*.attn.hook_pattern' -o patterns.safetensors
  microtome activations -m gpt2 \"The Eiffel Tower is in\" --hooks '*hook_z' --keep last --gradient logit_diff -t \" Paris\" -f \" Rome\" -o z.safetensors")]
pub struct Args {
    /// The prompt
    prompt: String,
    #[command(flatten)]
    model: ModelArgs,
    /// Names of hooks, * and ? allowed; several with commas
    #[arg(long, value_name = "GLOBS", value_delimiter = ',', default_value = "*")]
    hooks: Vec<String>,
    /// Positions to keep: all, last, 3,5 or 4.. (queries, for patterns)
    #[arg(long, value_parser = positions, default_value = "all")]
    keep: Positions,
    /// Run only the layers below this one
    #[arg(long, value_name = "LAYER", conflicts_with = "gradient")]
    stop_at_layer: Option<usize>,
    /// Also write this metric's derivatives at the same hooks
    #[arg(long, value_name = "METRIC", requires = "target")]
    gradient: Option<String>,
    /// The right next token, for --gradient
    #[arg(short, long, value_name = "TOKEN")]
    target: Vec<String>,
    /// A wrong next token, for --gradient
    #[arg(short, long, value_name = "TOKEN")]
    foil: Vec<String>,
    /// Read the prompt as token ids separated by commas, and targets as ids
    #[arg(long)]
    ids: bool,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let model = load(&args.model.model, args.model.prepare.preparation())?;
    let ask = AskArgs {
        target: args.target.clone(),
        foil: args.foil.clone(),
        ids: args.ids,
        metric: vec![],
        read_at: None,
        seed: 0,
    };
    let prompt = ask.prompt(&args.prompt, None)?;
    let tokens = model.tokens(&prompt.clean, args.model.prepare.bos())?.ids;
    let mut hooks: Vec<Hook> = Vec::new();
    for glob in &args.hooks {
        for hook in Hook::matching(model.config(), glob)? {
            if !hooks.contains(&hook) {
                hooks.push(hook);
            }
        }
    }
    if let Some(stop) = args.stop_at_layer {
        hooks.retain(|hook| hook.fires_below(stop));
        if hooks.is_empty() {
            bail!("none of these hooks fires before layer {stop}");
        }
    }
    let options = RunOptions {
        reads: hooks.clone(),
        keep: args.keep.clone(),
        logits: Positions::Last,
        stop_at_layer: args.stop_at_layer,
        ..Default::default()
    };
    let mut tensors = model.model().run(&tokens, &options)?.cache.named("");
    if let Some(metric) = &args.gradient {
        let answers = prompt.answers.iter().map(|answer| model.answer(answer, "target"));
        let wrong = prompt.wrong_answers.iter().map(|answer| model.answer(answer, "wrong answer"));
        let (answers, wrong) =
            (answers.collect::<Result<Vec<_>, _>>()?, wrong.collect::<Result<Vec<_>, _>>()?);
        let of = Of { metric: MetricId::named(metric)?, read_at: None, answers: &answers, wrong: &wrong };
        let taken = metric_gradients(&model, &tokens, &[], &hooks, of)?;
        tensors.extend(taken.at.gradients.at(&args.keep, tokens.len())?.named("grad."));
    }
    let mut out = String::new();
    for (name, tensor) in &tensors {
        out += &format!("{name:40} {:?}\n", tensor.dims());
    }
    if let Some(file) = &args.out {
        let bytes = to_safetensors(&tensors).with_context(|| format!("cannot write `{}`", file.display()))?;
        write_whole(file, &bytes)?;
        out =
            format!("{} tensors, {:.1} MB in {}\n", tensors.len(), bytes.len() as f64 / 1e6, file.display());
    }
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}
