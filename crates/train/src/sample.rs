//! Texts continued on the way, drawn at temperature 0.8 from the 50 most probable tokens, up to the end of
//! the context.

use microtome::method::change::Replacement;
use microtome::method::generate::Generate;
use microtome::model::{Precision, Processing};
use microtome::{Bos, Experiment, Method, Prompt, Text, TextModel};

use crate::config::SampleConfig;
use crate::error::Result;

const TEMPERATURE: f64 = 0.8;

/// The prompt with its continuation.
///
/// # Errors
/// [`Error::Measure`](crate::Error::Measure) where the prompt cannot be read or is too long.
pub(crate) fn sample(model: &TextModel, sample: &SampleConfig, seed: u64) -> Result<String> {
    let experiment = Experiment {
        model: model.about().model.clone(),
        weights: Processing::Raw,
        precision: Precision::F32,
        bos: Bos::Prepend,
        prompts: vec![Prompt {
            clean: Text::Text(sample.prompt.clone()),
            corrupt: None,
            answers: vec![],
            wrong_answers: vec![],
        }],
        method: Method::Generate(Generate {
            max_new_tokens: sample.tokens,
            temperature: TEMPERATURE,
            cut: vec![],
            with: Replacement::Zero,
            clamp: vec![],
            features: None,
        }),
        metrics: vec![],
        read_at: None,
        seed,
    };
    let record = experiment.run_quietly(model)?;
    let text = record.results.generation.map_or(String::new(), |generation| generation.control_text);
    Ok(format!("{}{text}", sample.prompt))
}

/// Whether a prompt can be read and leaves room to go on.
///
/// # Errors
/// [`Error::Measure`](crate::Error::Measure) where not.
pub(crate) fn check(model: &TextModel, sample: &SampleConfig) -> Result<()> {
    model.tokens(&Text::Text(sample.prompt.clone()), Bos::Prepend)?;
    Ok(())
}
