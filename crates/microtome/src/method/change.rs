//! What a component is replaced by, as data: 0, a mean over a reference set, another prompt's value,
//! or another attention pattern.

use std::collections::HashMap;

use microtome_model::{Change, Hook, Model, RunOptions, Tensor, Value};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::experiment::{Case, Experiment};
use crate::text_model::{Text, TextModel};

/// What takes the place of an activation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Replacement {
    /// 0.
    Zero,
    /// The mean over reference prompts.
    Mean {
        /// The reference prompts; the experiment's own where left out.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reference: Vec<Text>,
        /// Over all positions together, or position by position.
        #[serde(default)]
        per: Per,
    },
    /// The value in the run of another prompt of the same length.
    Resample {
        /// That prompt; each prompt's corrupt one where left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Text>,
    },
    /// Attention pattern: equal weight on every key seen.
    Uniform,
    /// Attention pattern: no attention at all. The same as [`Replacement::Zero`] for a head.
    ZeroPattern,
    /// Attention pattern: all weight on the query's own position.
    Identity,
    /// Attention pattern: softmax of noise from the experiment's seed.
    Random,
    /// Attention pattern: that of the same head index one layer below; uniform in layer 0.
    Previous,
}

impl Default for Replacement {
    /// Zero: what a cut is where nothing else is said.
    fn default() -> Replacement {
        Replacement::Zero
    }
}

/// What a mean is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// All positions of all reference prompts.
    #[default]
    Overall,
    /// Each position over the reference prompts, which must have the prompt's length.
    Position,
}

impl Replacement {
    /// Its name in results.
    pub fn name(&self) -> &'static str {
        match self {
            Replacement::Zero => "zero",
            Replacement::Mean { .. } => "mean",
            Replacement::Resample { .. } => "resample",
            Replacement::Uniform => "uniform pattern",
            Replacement::ZeroPattern => "zero pattern",
            Replacement::Identity => "identity pattern",
            Replacement::Random => "random pattern",
            Replacement::Previous => "previous layer's pattern",
        }
    }

    /// Whether it replaces an attention pattern rather than an output.
    pub fn is_pattern(&self) -> bool {
        !matches!(self, Replacement::Zero | Replacement::Mean { .. } | Replacement::Resample { .. })
    }

    /// What it is, in words, for a result's notes.
    pub fn describe(&self, experiment: &Experiment) -> String {
        match self {
            Replacement::Zero => "set to 0".to_owned(),
            Replacement::Mean { reference, per } => {
                let whose = match (reference.len(), experiment.prompts.len()) {
                    (0, 1) => "the prompt itself".to_owned(),
                    (0, n) => format!("the {n} prompts themselves"),
                    (1, _) => "one reference prompt".to_owned(),
                    (n, _) => format!("{n} reference prompts"),
                };
                let over = match per {
                    Per::Overall => "over all positions (BOS included where there is one)",
                    Per::Position => "position by position",
                };
                format!("set to the mean {over} of {whose}")
            }
            Replacement::Resample { from: Some(_) } => "set to its value in another prompt".to_owned(),
            Replacement::Resample { from: None } => "set to its value in the corrupt prompt".to_owned(),
            Replacement::Uniform => "attention pattern set to uniform over the positions seen".to_owned(),
            Replacement::ZeroPattern => "attention pattern set to 0".to_owned(),
            Replacement::Identity => "attention pattern set to the position itself".to_owned(),
            Replacement::Random => {
                format!("attention pattern set to softmax of normal noise, seed {}", experiment.seed)
            }
            Replacement::Previous => {
                "attention pattern set to that of the same head one layer below (layer 0: uniform)".to_owned()
            }
        }
    }
}

/// Values taken from other runs, ready to be put in place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    values: HashMap<Hook, Tensor>,
}

impl Sources {
    /// What `replacement` needs at these hooks whatever the prompt: its means.
    pub fn shared(
        replacement: &Replacement,
        experiment: &Experiment,
        model: &TextModel,
        hooks: &[Hook],
    ) -> Result<Sources> {
        let Replacement::Mean { reference, per } = replacement else { return Ok(Sources::default()) };
        let texts: Vec<&Text> = match reference.is_empty() {
            true => experiment.prompts.iter().map(|prompt| &prompt.clean).collect(),
            false => reference.iter().collect(),
        };
        if let Some(hook) = hooks.iter().find(|hook| *per == Per::Overall && hook.site.is_attention()) {
            return Err(Error::MeanOfAttention { hook: hook.to_string() });
        }
        if *per == Per::Position && texts.len() == 1 && reference.is_empty() {
            return Err(Error::Missing {
                what: "reference prompts for the mean",
                hint: "position by position, the mean of one prompt is the prompt itself; give others, for example with --reference",
            });
        }
        let mut sums: HashMap<Hook, Tensor> = HashMap::new();
        let mut count = 0;
        let mut first: Option<Vec<String>> = None;
        for text in texts {
            let tokens = model.tokens(text, experiment.bos)?;
            if *per == Per::Position {
                let first = first.get_or_insert_with(|| tokens.labels.clone());
                if first.len() != tokens.labels.len() {
                    return Err(Error::LengthsDiffer { first: first.clone(), second: tokens.labels });
                }
            }
            count += if *per == Per::Overall { tokens.ids.len() } else { 1 };
            for (hook, value) in activations(model.model(), &tokens.ids, hooks)? {
                let value = if *per == Per::Overall { value.sum(0) } else { Ok(value) };
                let value = value.map_err(microtome_model::Error::from)?;
                let sum = match sums.get(&hook) {
                    Some(sum) => (sum + value).map_err(microtome_model::Error::from)?,
                    None => value,
                };
                sums.insert(hook, sum);
            }
        }
        let mean = |(hook, sum): (Hook, Tensor)| Ok((hook, (sum / count as f64)?));
        let values = sums.into_iter().map(mean).collect::<Result<_, microtome_model::Error>>()?;
        Ok(Sources { values })
    }

    /// What `replacement` needs at these hooks for one prompt: these, or the other prompt's values.
    pub fn for_prompt(
        &self,
        replacement: &Replacement,
        experiment: &Experiment,
        model: &TextModel,
        (index, case): (usize, &Case),
        hooks: &[Hook],
    ) -> Result<Sources> {
        let Replacement::Resample { from } = replacement else {
            self.check_length(replacement, index, case)?;
            return Ok(self.clone());
        };
        let other = match from {
            Some(text) => model.tokens(text, experiment.bos)?,
            None => experiment.corrupt(index, &case.clean, model)?,
        };
        if other.ids.len() != case.clean.ids.len() {
            return Err(Error::LengthsDiffer { first: case.clean.labels.clone(), second: other.labels });
        }
        Ok(Sources { values: activations(model.model(), &other.ids, hooks)? })
    }

    /// A mean by position fits prompts of its own length only.
    fn check_length(&self, replacement: &Replacement, index: usize, case: &Case) -> Result<()> {
        let Replacement::Mean { per: Per::Position, .. } = replacement else { return Ok(()) };
        let Some(value) = self.values.values().next() else { return Ok(()) };
        // The first axis is the position; at a pattern it is the head, and the second is.
        let is_attention = self.values.keys().any(|hook| hook.site.is_attention());
        let (found, expected) = (case.clean.ids.len(), value.dim(usize::from(is_attention))?);
        match found == expected {
            true => Ok(()),
            false => Err(Error::PositionsDiffer { index, found, expected }),
        }
    }

    /// The change that puts `replacement` in place at a hook.
    pub fn change(&self, replacement: &Replacement, hook: Hook, seed: u64) -> Change {
        match replacement {
            Replacement::Zero | Replacement::ZeroPattern => Change::Zero,
            Replacement::Mean { .. } | Replacement::Resample { .. } => {
                Change::Set(Value::Tensor(self.values[&hook].clone()))
            }
            Replacement::Uniform => Change::Uniform,
            Replacement::Identity => Change::Identity,
            Replacement::Random => Change::Random { seed },
            Replacement::Previous if hook.layer == 0 => Change::Uniform,
            Replacement::Previous => Change::Previous,
        }
    }
}

/// The activations of a prompt at some hooks.
pub(crate) fn activations(model: &Model, tokens: &[u32], hooks: &[Hook]) -> Result<HashMap<Hook, Tensor>> {
    let options =
        RunOptions { reads: hooks.to_vec(), logits: microtome_model::Positions::Last, ..Default::default() };
    let run = model.run(tokens, &options)?;
    hooks.iter().map(|&hook| Ok((hook, run.cache.get(hook)?.clone()))).collect()
}
