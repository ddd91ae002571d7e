//! `microtome edit`.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use microtome::Method;
use microtome::method::change::Replacement;
use microtome::method::edit::{ChangeSpec, EditRun, EditSpec};
use microtome::model::{Positions, Units};

use crate::answer::answer;
use crate::args::{AskArgs, ModelArgs, positions};
use crate::output;

/// Edit named hooks and compare with the unedited run
///
/// An edit is HOOK[UNITS]@POSITIONS=CHANGE, where [UNITS] (heads, neurons or dimensions) and
/// @POSITIONS (all, last, 3,5, 4..) may be left out, and HOOK may be a glob. CHANGE is zero, mean (of
/// the prompt), resample (from the corrupt prompt), set:X, add:X, scale:X, uniform, identity, random,
/// previous, or cut:QUERY-KEY,QUERY-KEY.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome edit -m gpt2 \"The Eiffel Tower is in\" -t \" Paris\" -e 'blocks.9.attn.hook_z[6,9]@last=zero'
  microtome edit -m gpt2 \"The cat sat on the\" -e 'blocks.*.hook_mlp_out=scale:0.5' -e 'blocks.0.attn.hook_pattern[1]=uniform'
  microtome edit -m gpt2 \"A B A\" -e 'blocks.5.attn.hook_attn_scores[1]=cut:3-1,3-2'")]
pub struct Args {
    /// The prompt
    prompt: String,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ask: AskArgs,
    /// The corrupt prompt, which the change `resample` takes values from
    #[arg(short, long, value_name = "PROMPT")]
    corrupt: Option<String>,
    /// An edit; several times for several
    #[arg(short, long = "edit", value_name = "EDIT", value_parser = edit_spec, required = true)]
    edits: Vec<EditSpec>,
    #[command(flatten)]
    output: output::OutputArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let prompts = vec![args.ask.prompt(&args.prompt, args.corrupt.as_deref())?];
    let method = Method::Edit(EditRun { edits: args.edits.clone() });
    let experiment = args.ask.experiment(&args.model, prompts, method)?;
    answer(&experiment, &args.output)
}

fn edit_spec(text: &str) -> Result<EditSpec> {
    let (place, change) = text
        .rsplit_once('=')
        .with_context(|| format!("`{text}` changes nothing; write HOOK[UNITS]@POSITIONS=CHANGE"))?;
    let (place, at) = match place.split_once('@') {
        Some((place, at)) => (place, positions(at)?),
        None => (place, Positions::All),
    };
    let (hook, units) = match place.strip_suffix(']').and_then(|place| place.rsplit_once('[')) {
        Some((hook, list)) => {
            let number = |part: &str| {
                part.trim()
                    .parse()
                    .with_context(|| format!("`{part}` in `{text}` is no head or neuron number"))
            };
            (hook, Units::At(list.split(',').map(number).collect::<Result<_>>()?))
        }
        None => (place, Units::All),
    };
    Ok(EditSpec { hook: hook.to_owned(), units, at, change: change_spec(change)? })
}

fn change_spec(text: &str) -> Result<ChangeSpec> {
    let (name, argument) = text.split_once(':').unwrap_or((text, ""));
    let number = || -> Result<f64> {
        argument.parse().with_context(|| format!("`{name}` needs a number, for example {name}:0.5"))
    };
    let replace = |with| Ok(ChangeSpec::Replace(with));
    match name {
        "set" => Ok(ChangeSpec::Set(number()?)),
        "add" => Ok(ChangeSpec::Add(number()?)),
        "scale" => Ok(ChangeSpec::Scale(number()?)),
        "cut" => {
            let edge = |part: &str| -> Result<(usize, usize)> {
                let (query, key) = part
                    .split_once('-')
                    .with_context(|| format!("`{part}` is no edge; write QUERY-KEY, for example 5-2"))?;
                let position = |digits: &str| {
                    digits.trim().parse::<usize>().with_context(|| {
                        format!("`{digits}` in `{part}` is no position; write QUERY-KEY, for example 5-2")
                    })
                };
                Ok((position(query)?, position(key)?))
            };
            Ok(ChangeSpec::KnockOut(argument.split(',').map(edge).collect::<Result<_>>()?))
        }
        _ if !argument.is_empty() => bail!("`{name}` takes no argument"),
        "zero" => replace(Replacement::Zero),
        "mean" => replace(Replacement::Mean { reference: vec![], per: Default::default() }),
        "resample" => replace(Replacement::Resample { from: None }),
        "uniform" => replace(Replacement::Uniform),
        "identity" => replace(Replacement::Identity),
        "random" => replace(Replacement::Random),
        "previous" => replace(Replacement::Previous),
        _ => bail!(
            "`{name}` is no change; there are zero, mean, resample, set:X, add:X, scale:X, uniform, identity, random, previous, cut:QUERY-KEY"
        ),
    }
}
