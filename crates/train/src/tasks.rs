//! How well a model does what the corpus teaches, on prompts kept back from it.
//!
//! What counts as right:
//!
//! - indirect objects, facts, repeats, sums, pronouns: the answer is the most probable token (each of its
//!   tokens, where it has several);
//! - agreement: the answer is more probable than every wrong form of the verb;
//! - greater-than: the most probable token is a year after the first; beside it stands the probability
//!   of all such years (Hanna et al. 2023).

use microtome::metric::{log_sum_exp, most_probable};
use microtome::model::{Positions, RunOptions, with_rows};
use microtome::{Bos, Text, TextModel};

use crate::corpus::{Task, held_out, held_out_years};
use crate::error::Result;

/// What a model got right of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskScore {
    /// The task.
    pub task: Task,
    /// Prompts asked.
    pub asked: usize,
    /// Prompts answered right.
    pub right: usize,
    /// Mean probability of what is right.
    pub probability: f64,
    /// Some of the prompts answered wrong, with what was said.
    pub mistakes: Vec<Mistake>,
}

impl TaskScore {
    /// Share of the prompts answered right, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.asked as f64
    }
}

/// A prompt answered wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// The prompt.
    pub prompt: String,
    /// What should have been said.
    pub expected: String,
    /// The most probable token.
    pub said: String,
}

/// Mistakes kept of a task.
const MISTAKES: usize = 5;

/// Asks `n` prompts of a task, the same for the same seed.
///
/// # Errors
/// Where the model's vocabulary lacks an answer as one token, or a prompt passes its context.
pub fn score(model: &TextModel, task: Task, seed: u64, n: usize) -> Result<TaskScore> {
    let mut score = TaskScore { task, asked: 0, right: 0, probability: 0.0, mistakes: vec![] };
    if task == Task::GreaterThan {
        for prompt in held_out_years(seed, n) {
            let years = (prompt.start + 1..100).map(|year| single(model, &format!("{year:02}")));
            let years = years.collect::<Result<Vec<u32>>>()?;
            let expected = format!("{:02} to 99", prompt.start + 1);
            score.add(model, &prompt.prompt, &[], expected, |rows| {
                let row = rows[0];
                (years.contains(&top(row)), years.iter().map(|&year| probability(row, year)).sum())
            })?;
        }
        return Ok(score.finish());
    }
    for prompt in held_out(task, seed, n) {
        let answer = model.tokens(&Text::Text(prompt.answer.clone()), Bos::Omit)?.ids;
        let wrong = match task {
            Task::Agreement => {
                prompt.wrong.iter().map(|wrong| single(model, wrong)).collect::<Result<Vec<u32>>>()?
            }
            _ => vec![],
        };
        score.add(model, &prompt.prompt, &answer, prompt.answer, |rows| {
            let all = || rows.iter().copied().zip(answer.iter().copied());
            let right = match task {
                Task::Agreement => wrong.iter().all(|&id| rows[0][answer[0] as usize] > rows[0][id as usize]),
                _ => all().all(|(row, id)| top(row) == id),
            };
            (right, all().map(|(row, id)| probability(row, id)).product())
        })?;
    }
    Ok(score.finish())
}

impl TaskScore {
    /// Asks one prompt; `judge` is given the logits that say each token of the answer, the tokens before it
    /// being right, and says whether they are right and how probable what is right is. One row of logits
    /// for an answer that is not of given tokens.
    fn add(
        &mut self,
        model: &TextModel,
        prompt: &str,
        answer: &[u32],
        expected: String,
        judge: impl FnOnce(&[&[f32]]) -> (bool, f64),
    ) -> Result<()> {
        let mut ids = model.tokens(&Text::Text(prompt.to_owned()), Bos::Prepend)?.ids;
        let first = ids.len() - 1;
        ids.extend(&answer[..answer.len().saturating_sub(1)]);
        let logits = Positions::At((first..ids.len()).collect());
        let run = model.model().run(&ids, &RunOptions { logits, ..Default::default() })?;
        let (right, probability, said) = with_rows(run.logits()?, |rows| {
            let rows: Vec<&[f32]> = rows.chunks(model.config().d_vocab).collect();
            let (right, probability) = judge(&rows);
            (right, probability, top(rows[0]))
        })?;
        self.asked += 1;
        self.right += usize::from(right);
        self.probability += probability;
        if !right && self.mistakes.len() < MISTAKES {
            let said = model.label(said);
            self.mistakes.push(Mistake { prompt: prompt.to_owned(), expected, said });
        }
        Ok(())
    }

    /// Sums become means.
    fn finish(self) -> TaskScore {
        TaskScore { probability: self.probability / self.asked.max(1) as f64, ..self }
    }
}

fn single(model: &TextModel, text: &str) -> Result<u32> {
    Ok(model.answer(&microtome::Answer::Text(text.to_owned()), "answer")?)
}

fn top(row: &[f32]) -> u32 {
    most_probable(row, 1)[0]
}

fn probability(row: &[f32], id: u32) -> f64 {
    (f64::from(row[id as usize]) - log_sum_exp(row)).exp()
}
