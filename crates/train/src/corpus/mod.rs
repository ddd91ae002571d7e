//! English-like text with circuits worth finding.
//!
//! A model of a few million parameters cannot learn English, but it can learn to do in simple English
//! what larger models are famous for: name the one who is given something, remember a capital, repeat
//! what it has read. This module writes the text for that, from a seed. Each [`Task`] has its own file,
//! which names the circuit it invites and the paper the circuit is known from.
//!
//! Some combinations are kept back from all documents (see [`held_out`]), so that it can be measured
//! whether a model has learnt the rule or the examples.
//!
//! The words are few, about 1,200, and each comes often, so that a byte-level BPE of 3,000 tokens has
//! each as one token, with and without a space before it where both happen.
//!
//! ```
//! use microtome_train::corpus::{document, documents};
//!
//! let first: Vec<_> = documents(7, 3).collect();
//! assert_eq!(first[2], document(7, 2));
//! ```

mod agreement;
mod draw;
mod facts;
mod indirect_object;
mod pronouns;
mod repeats;
mod stories;
mod sums;
mod template;
#[cfg(test)]
mod tests;
mod words;
mod years;

use serde::{Deserialize, Serialize};

use draw::{Cast, Draw};

/// What a document is mainly there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Who is given something, of two people.
    IndirectObject,
    /// Capitals, languages, sights and authors.
    Facts,
    /// Passages that come again.
    Repeats,
    /// A year after another year.
    GreaterThan,
    /// The number of a verb.
    Agreement,
    /// Sums of two digits.
    Sums,
    /// He or she.
    Pronouns,
    /// Simple stories.
    Stories,
}

/// How many documents of a hundred are of each task.
const SHARES: [(Task, usize); 8] = [
    (Task::IndirectObject, 24),
    (Task::Facts, 16),
    (Task::Repeats, 20),
    (Task::GreaterThan, 6),
    (Task::Agreement, 8),
    (Task::Sums, 4),
    (Task::Pronouns, 6),
    (Task::Stories, 16),
];

impl Task {
    /// Every task, in the order of the table of shares.
    pub const ALL: [Self; 8] = [
        Self::IndirectObject,
        Self::Facts,
        Self::Repeats,
        Self::GreaterThan,
        Self::Agreement,
        Self::Sums,
        Self::Pronouns,
        Self::Stories,
    ];

    /// The name it has in files: `indirect_object`, `facts`, ...
    pub fn name(self) -> &'static str {
        match self {
            Self::IndirectObject => "indirect_object",
            Self::Facts => "facts",
            Self::Repeats => "repeats",
            Self::GreaterThan => "greater_than",
            Self::Agreement => "agreement",
            Self::Sums => "sums",
            Self::Pronouns => "pronouns",
            Self::Stories => "stories",
        }
    }

    fn draw(draw: &mut Draw) -> Self {
        let mut i = draw.below(100);
        for (task, share) in SHARES {
            if i < share {
                return task;
            }
            i -= share;
        }
        Self::Stories
    }
}

/// One piece of text, with nothing left out or carried over at its ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// What it is mainly there for; other tasks may come up in it.
    pub task: Task,
    /// 15 to 90 words, numbers and marks.
    pub text: String,
}

/// A prompt whose answer is one token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestPrompt {
    /// Text that ends right before the answer, without the space between them.
    pub prompt: String,
    /// The answer, with the space before it where there is one.
    pub answer: String,
    /// Answers of the same sort that are wrong.
    pub wrong: Vec<String>,
    /// The same prompt with what decides about the answer changed.
    pub corrupt: Option<String>,
}

/// A prompt that ends in a century, to be continued with two digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct YearPrompt {
    /// Such as "The war lasted from the year 1732 to the year 17".
    pub prompt: String,
    /// The last two digits of the first year: any greater ones are right.
    pub start: u8,
}

/// Document number `index` of the corpus of this seed: the same whatever came before.
pub fn document(seed: u64, index: u64) -> Document {
    favouring(None, seed, index)
}

/// The same with every third document given to one task, which has its share of the others too.
pub fn favouring(task: Option<Task>, seed: u64, index: u64) -> Document {
    let mut draw = Draw::new(seed, index);
    let mut cast = Cast::default();
    let task = match task {
        Some(task) if draw.below(3) == 0 => task,
        _ => Task::draw(&mut draw),
    };
    let write = match task {
        Task::IndirectObject => indirect_object::document,
        Task::Facts => facts::document,
        Task::Repeats => repeats::document,
        Task::GreaterThan => years::document,
        Task::Agreement => agreement::document,
        Task::Sums => sums::document,
        Task::Pronouns => pronouns::document,
        Task::Stories => stories::document,
    };
    let mut text = write(&mut draw, &mut cast);
    while template::about_tokens(&text) < *template::LENGTHS.start() {
        let separator = if text.contains('\n') { '\n' } else { ' ' };
        text.push(separator);
        text.push_str(&stories::scene(&mut draw));
    }
    Document { task, text }
}

/// Documents `0..n` of the corpus of this seed, in order.
pub fn documents(seed: u64, n: u64) -> impl Iterator<Item = Document> {
    (0..n).map(move |index| document(seed, index))
}

/// Prompts of a task that [`document`] never writes, whatever its seed.
///
/// - Indirect objects: half with two names that no document has together, half with a template that no
///   document has. Corrupt has a third name in place of the one said twice.
/// - Facts: facts of the corpus in each of its wordings, half of them after a sentence that stands before
///   no fact in it. Corrupt asks the same of another subject.
/// - Repeats: statements with pairs of nouns that are in no statement of the corpus. Corrupt has two of
///   the nouns swapped.
/// - Greater-than: a noun with a year it never has; see also [`held_out_years`]. Corrupt starts in 01.
/// - Agreement: two nouns that are never joined. Corrupt has a subject of the other number.
/// - Sums: too few to keep any back, so these are sums of the corpus. Corrupt is another sum.
/// - Pronouns: a name with a feeling that no document has together before a pronoun. Corrupt has a name of the other gender.
/// - Stories: none, as nothing in them has one answer.
pub fn held_out(task: Task, seed: u64, n: usize) -> Vec<TestPrompt> {
    let mut draw = held_out_draw(task, seed);
    match task {
        Task::IndirectObject => indirect_object::held_out(&mut draw, n),
        Task::Facts => facts::held_out(&mut draw, n),
        Task::Repeats => repeats::held_out(&mut draw, n),
        Task::GreaterThan => years::held_out(&mut draw, n),
        Task::Agreement => agreement::held_out(&mut draw, n),
        Task::Sums => sums::held_out(&mut draw, n),
        Task::Pronouns => pronouns::held_out(&mut draw, n),
        Task::Stories => Vec::new(),
    }
}

/// Spans of years that [`document`] never writes, up to the century of the second year; the metric is
/// the probability of all greater years against all others.
pub fn held_out_years(seed: u64, n: usize) -> Vec<YearPrompt> {
    years::held_out_years(&mut held_out_draw(Task::GreaterThan, seed), n)
}

/// A stream that no document has.
fn held_out_draw(task: Task, seed: u64) -> Draw {
    Draw::new(seed, u64::MAX - task as u64)
}
