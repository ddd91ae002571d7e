//! Sentences with gaps, and the page they are put on.
//!
//! A gap is written in braces:
//! - `{place}`: a word of that list; `{a place}`: with "a" or "an" before it; `{=place}`: the word that
//!   list gave last, so that a sentence can come back to it;
//! - `{A}`: the person with that letter; `{A.he}`, `{A.his}`, `{A.him}`, `{A.He}`: their pronoun.

use super::draw::Draw;
use super::words::{self, Name};

/// The template with every gap filled.
pub(super) fn fill(template: &str, draw: &mut Draw, people: &[(char, Name)]) -> String {
    let mut text = String::with_capacity(template.len() + 32);
    let mut last: Vec<(&str, &str)> = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let (gap, after) = after.split_once('}').unwrap_or((after, ""));
        rest = after;
        if let Some(word) = person(gap, people) {
            text.push_str(word);
            continue;
        }
        let (slot, article) = gap.strip_prefix("a ").map_or((gap, false), |slot| (slot, true));
        let word = match slot.strip_prefix('=') {
            Some(slot) => last.iter().rev().find(|(list, _)| *list == slot).map_or(slot, |(_, word)| word),
            None => words::list(slot).map_or(slot, |list| unused(list, &last, draw)),
        };
        last.push((slot.trim_start_matches('='), word));
        if article {
            text.push_str(article_of(word));
            text.push(' ');
        }
        text.push_str(word);
    }
    text.push_str(rest);
    text
}

/// A word of the list that was not drawn before, if a few tries find one.
fn unused(list: &[&'static str], last: &[(&str, &str)], draw: &mut Draw) -> &'static str {
    let mut word = draw.pick(list);
    for _ in 0..4 {
        if last.iter().all(|(_, used)| *used != word) {
            break;
        }
        word = draw.pick(list);
    }
    word
}

fn person(gap: &str, people: &[(char, Name)]) -> Option<&'static str> {
    let mut chars = gap.chars();
    let letter = chars.next()?;
    let (_, name) = people.iter().find(|(c, _)| *c == letter)?;
    match chars.as_str() {
        "" => Some(name.text),
        rest => name.pronoun(rest.strip_prefix('.')?),
    }
}

/// "a" or "an".
pub(super) fn article_of(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
}

/// The text with a capital letter at its start.
pub(super) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// About how many tokens a text has: its words, numbers and marks.
pub(super) fn about_tokens(text: &str) -> usize {
    let mut n = 0;
    let mut in_word = false;
    for c in text.chars() {
        let letter = c.is_ascii_alphanumeric();
        n += usize::from((letter && !in_word) || (!letter && c != ' '));
        in_word = letter;
    }
    n
}

/// Fewest and most tokens of a document, as [`about_tokens`] counts them.
pub(super) const LENGTHS: std::ops::RangeInclusive<usize> = 15..=90;

/// A document being written: sentences in order, none of which makes it too long.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// Adds a sentence after a space; says whether there was room for it.
    pub fn add(&mut self, sentence: &str) -> bool {
        self.add_after(' ', sentence)
    }

    /// Adds a sentence after `separator`; says whether there was room for it.
    pub fn add_after(&mut self, separator: char, sentence: &str) -> bool {
        if about_tokens(&self.text) + about_tokens(sentence) + usize::from(separator == '\n') > *LENGTHS.end()
        {
            return false;
        }
        if !self.text.is_empty() {
            self.text.push(separator);
        }
        self.text.push_str(sentence);
        true
    }

    pub fn n_tokens(&self) -> usize {
        about_tokens(&self.text)
    }

    pub fn finish(self) -> String {
        self.text
    }
}
