//! Tasks: pairs of prompts made from templates and lists of words, for the model that is loaded.
//!
//! A pair is a clean prompt, a corrupt one with the same number of tokens, right and wrong answers of one token each. What
//! they differ in stands at the same positions, so that an activation of one can be put into the other.
//!
//! 1. A word of a list is used where it is one token of the model's vocabulary in the place it takes; what had to be dropped
//!    is said, and too few words left is an error.
//! 2. Prompts are drawn with ChaCha8 from the seed, each task from a stream of its own.
//! 3. Every pair is put into tokens and checked as a pair of the user's own would be ([`check`]).
//!
//! Left out: prompts that the model was not asked about in its corpus are not told from those that it was; `microtome card` does
//! that for the embedded model.

mod agreement;
mod draw;
mod facts;
mod greater_than;
mod indirect_object;
mod induction;
mod vocabulary;
mod words;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::experiment::Prompt;
use crate::text_model::{Bos, TextModel};

pub use vocabulary::Dropped;

/// A task that prompts can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// What a clean prompt asks, and what a corrupt one has in its place.
    pub describe: &'static str,
    /// The metric it is published with.
    pub metric: &'static str,
    /// Ways to corrupt a prompt, the usual one first.
    pub corruptions: &'static [&'static str],
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    IndirectObject,
    GreaterThan,
    Induction,
    Facts,
    Agreement,
}

/// All tasks.
pub const TASKS: &[Task] = &[
    Task {
        name: "ioi",
        title: "Indirect object",
        describe: "\"When Mary and John went to the store, John gave a drink to\" -> \" Mary\"; half of the prompts name the \
                   indirect object first (ABBA), half the subject (BABA). Corrupt, abc: three other names, none of them twice; \
                   third: only the repeated name is another; swapped: the other name is repeated",
        metric: "logit_diff",
        corruptions: &["abc", "third", "swapped"],
        kind: Kind::IndirectObject,
    },
    Task {
        name: "greater-than",
        title: "Greater than",
        describe: "\"The war lasted from the year 1732 to the year 17\" -> \"33\" to \"99\", not \"00\" to \"32\". Corrupt: the \
                   first year ends in 01",
        metric: "prob_diff",
        corruptions: &["01"],
        kind: Kind::GreaterThan,
    },
    Task {
        name: "induction",
        title: "Induction",
        describe: "Random tokens said twice, cut off before the last one. Corrupt: they were others the first time; wrong is what \
                   followed then",
        metric: "logit_diff",
        corruptions: &["others"],
        kind: Kind::Induction,
    },
    Task {
        name: "facts",
        title: "Factual recall",
        describe: "\"Paris is the capital of\" -> \" France\". Corrupt: another capital of as many tokens",
        metric: "logit_diff",
        corruptions: &["other"],
        kind: Kind::Facts,
    },
    Task {
        name: "agreement",
        title: "Agreement of subject and verb",
        describe: "\"The keys to the cabinet\" -> \" are\", not \" is\"; the nearer noun has either number. Corrupt: the subject has \
                   the other number",
        metric: "logit_diff",
        corruptions: &["number"],
        kind: Kind::Agreement,
    },
];

/// Which prompts to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Make {
    /// Name of the task.
    pub task: String,
    /// How many pairs.
    pub count: usize,
    /// How prompts are corrupted; the task's usual way where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corruption: Option<String>,
    /// Whether all prompts must have one length.
    #[serde(default)]
    pub lengths: Lengths,
    /// Seed of the draw.
    #[serde(default)]
    pub seed: u64,
}

/// Whether all prompts must have one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Lengths {
    /// Clean and corrupt of a pair agree, pairs may differ.
    #[default]
    Any,
    /// Every prompt has as many tokens as the first: means can be taken position by position.
    Same,
}

/// Pairs for a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Made {
    /// The pairs.
    pub prompts: Vec<Prompt>,
    /// Words that are not one token of this vocabulary, and what they would have been.
    pub dropped: Vec<Dropped>,
}

/// A pair that was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refused {
    /// Its place in the file, counted from 1.
    pub number: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Most pairs made at once.
pub const MOST_PAIRS: usize = 10_000;

/// Draws of one pair before it is given up.
const ATTEMPTS: usize = 1000;

impl Task {
    /// The task of this name.
    ///
    /// # Errors
    /// [`Error::UnknownTask`] with the nearest name and all there are.
    pub fn named(name: &str) -> Result<Task> {
        let names = || TASKS.iter().map(|task| task.name);
        TASKS.iter().copied().find(|task| task.name == name).ok_or_else(|| Error::UnknownTask {
            name: name.to_owned(),
            nearest: microtome_model::nearest(name, names()).unwrap_or_default(),
            known: names().collect::<Vec<_>>().join(", "),
        })
    }

    fn corruption(&self, asked: Option<&str>) -> Result<&'static str> {
        let Some(asked) = asked else { return Ok(self.corruptions[0]) };
        self.corruptions.iter().copied().find(|name| *name == asked).ok_or_else(|| Error::UnknownCorruption {
            name: asked.to_owned(),
            task: self.name,
            known: self.corruptions.join(", "),
        })
    }
}

impl Make {
    /// Makes the pairs.
    ///
    /// # Errors
    /// A task or corruption that does not exist; [`Error::OutOfRange`] for a count out of range; [`Error::TooFewWords`] where
    /// the vocabulary has too few of a task's words as one token; [`Error::NoPair`] where no pair of the length asked for can be
    /// drawn; a model without a tokenizer, but for `induction`.
    pub fn run(&self, model: &TextModel, bos: Bos) -> Result<Made> {
        let task = Task::named(&self.task)?;
        if !(1..=MOST_PAIRS).contains(&self.count) {
            let expected = "1 to 10000";
            return Err(Error::OutOfRange {
                name: "the number of pairs",
                value: self.count as f64,
                expected,
            });
        }
        let corruption = task.corruption(self.corruption.as_deref())?;
        let draw = draw::Draw::new(self.seed, task.kind as u64);
        match task.kind {
            Kind::IndirectObject => {
                let task = indirect_object::IndirectObject::new(model, corruption)?;
                self.drawn(model, bos, draw, task.dropped.clone(), |index, draw| task.pair(index, draw))
            }
            Kind::GreaterThan => {
                let task = greater_than::GreaterThan::new(model)?;
                self.drawn(model, bos, draw, task.dropped.clone(), |_, draw| task.pair(draw))
            }
            Kind::Induction => {
                let task = induction::Induction::new(model)?;
                self.drawn(model, bos, draw, vec![], |_, draw| task.pair(draw))
            }
            Kind::Facts => {
                let task = facts::Facts::new(model)?;
                self.drawn(model, bos, draw, task.dropped.clone(), |_, draw| task.pair(draw))
            }
            Kind::Agreement => {
                let task = agreement::Agreement::new(model)?;
                self.drawn(model, bos, draw, task.dropped.clone(), |_, draw| task.pair(draw))
            }
        }
    }

    /// As many pairs as are asked for, each of which passes the check; a pair that does not is drawn again.
    fn drawn(
        &self,
        model: &TextModel,
        bos: Bos,
        mut draw: draw::Draw,
        dropped: Vec<Dropped>,
        mut pair: impl FnMut(usize, &mut draw::Draw) -> Prompt,
    ) -> Result<Made> {
        let mut prompts: Vec<Prompt> = Vec::with_capacity(self.count);
        let mut length: Option<usize> = None;
        let mut why = String::new();
        while prompts.len() < self.count {
            let next = (0..ATTEMPTS).find_map(|_| {
                let prompt = pair(prompts.len(), &mut draw);
                match checked_length(&prompt, model, bos) {
                    Ok(found) if self.lengths == Lengths::Same && length.is_some_and(|len| len != found) => {
                        why = "none of the length of the first".to_owned();
                        None
                    }
                    Ok(found) => Some((prompt, found)),
                    Err(error) => {
                        why = error.to_string();
                        None
                    }
                }
            });
            let Some((prompt, found)) = next else {
                return Err(Error::NoPair {
                    task: self.task.clone(),
                    number: prompts.len() + 1,
                    reason: why,
                });
            };
            length.get_or_insert(found);
            prompts.push(prompt);
        }
        Ok(Made { prompts, dropped })
    }
}

/// Sorts the user's own pairs into those a model can be asked about and those it cannot: clean and corrupt of as many tokens,
/// within the context, every answer one token, an answer and a wrong answer at least.
pub fn check(prompts: Vec<Prompt>, model: &TextModel, bos: Bos) -> (Vec<Prompt>, Vec<Refused>) {
    let mut refused = Vec::new();
    let mut kept = Vec::with_capacity(prompts.len());
    for (index, prompt) in prompts.into_iter().enumerate() {
        match checked_length(&prompt, model, bos) {
            Ok(_) => kept.push(prompt),
            Err(error) => refused.push(Refused { number: index + 1, reason: error.to_string() }),
        }
    }
    (kept, refused)
}

/// The number of tokens of both prompts of a pair that can be asked about.
fn checked_length(prompt: &Prompt, model: &TextModel, bos: Bos) -> Result<usize> {
    let clean = model.tokens(&prompt.clean, bos)?;
    let corrupt = prompt.corrupt.as_ref().ok_or(Error::Missing {
        what: "the corrupt prompt",
        hint: "give each prompt a corrupt one of the same number of tokens",
    })?;
    let corrupt = model.tokens(corrupt, bos)?;
    if corrupt.ids.len() != clean.ids.len() {
        return Err(Error::LengthsDiffer { first: clean.labels, second: corrupt.labels });
    }
    for (answers, role, what) in
        [(&prompt.answers, "target", "an answer"), (&prompt.wrong_answers, "wrong answer", "a wrong answer")]
    {
        if answers.is_empty() {
            return Err(Error::Missing { what, hint: "a pair has at least one of each, of one token" });
        }
        answers.iter().try_for_each(|answer| model.answer(answer, role).map(drop))?;
    }
    Ok(clean.ids.len())
}
