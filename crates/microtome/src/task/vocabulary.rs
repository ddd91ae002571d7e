//! Which words are one token of the model that is loaded.

use microtome_model::Tokenizer;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::text_model::TextModel;

/// A word that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Dropped {
    /// The word, as it stands in a prompt: with a space in front or without.
    pub word: String,
    /// The tokens it is.
    pub tokens: Vec<String>,
}

/// The words of a task that can be used, and those that cannot.
pub(super) struct Vocabulary<'a> {
    tokenizer: &'a Tokenizer,
    task: &'static str,
    /// Words left out so far.
    pub dropped: Vec<Dropped>,
}

impl<'a> Vocabulary<'a> {
    /// That of a model.
    ///
    /// # Errors
    /// [`Error::NoTokenizer`].
    pub fn new(model: &'a TextModel, task: &'static str) -> Result<Vocabulary<'a>> {
        let text = format!("the words of task `{task}`");
        let tokenizer = model.tokenizer().ok_or(Error::NoTokenizer { text })?;
        Ok(Vocabulary { tokenizer, task, dropped: vec![] })
    }

    /// Whether a text, as it stands, is one token; where not it is taken down.
    pub fn is_one(&mut self, text: &str) -> Result<bool> {
        let ids = self.tokenizer.encode(text)?;
        if ids.len() == 1 {
            return Ok(true);
        }
        let tokens = ids.iter().map(|&id| self.tokenizer.display(id)).collect();
        let dropped = Dropped { word: text.to_owned(), tokens };
        if !self.dropped.contains(&dropped) {
            self.dropped.push(dropped);
        }
        Ok(false)
    }

    /// The words that are one token after a space; at least `needed` of them.
    ///
    /// # Errors
    /// [`Error::TooFewWords`].
    pub fn after_space(
        &mut self,
        what: &'static str,
        words: &[&'static str],
        needed: usize,
    ) -> Result<Vec<&'static str>> {
        let mut kept = Vec::new();
        for &word in words {
            if self.is_one(&format!(" {word}"))? {
                kept.push(word);
            }
        }
        self.enough(what, kept, needed)
    }

    /// The list, where it is long enough.
    ///
    /// # Errors
    /// [`Error::TooFewWords`].
    pub fn enough<T>(&self, what: &'static str, kept: Vec<T>, needed: usize) -> Result<Vec<T>> {
        if kept.len() >= needed {
            return Ok(kept);
        }
        let example = self.dropped.last().map_or_else(String::new, |dropped| {
            format!("; `{}` is {} tokens here", dropped.word, dropped.tokens.len())
        });
        Err(Error::TooFewWords { task: self.task, what, kept: kept.len(), needed, example })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_several_tokens_are_left_out_and_too_few_are_an_error_that_shows_one() {
        let tokenizer = Tokenizer::gpt2();
        let mut vocabulary = Vocabulary { tokenizer: &tokenizer, task: "ioi", dropped: vec![] };
        let names = ["Mary", "Wilhelmina", "John"];
        assert_eq!(vocabulary.after_space("names", &names, 2).unwrap(), ["Mary", "John"]);
        assert_eq!(vocabulary.dropped.len(), 1);
        assert_eq!(vocabulary.dropped[0].word, " Wilhelmina");
        let message = vocabulary.after_space("names", &names, 3).unwrap_err().to_string();
        assert!(message.contains("at least 3 names") && message.contains("has 2"), "{message}");
        assert!(message.contains("` Wilhelmina` is"), "{message}");
        assert_eq!(vocabulary.dropped.len(), 1, "told once");
    }
}
