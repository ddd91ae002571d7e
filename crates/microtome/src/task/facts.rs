//! "Paris is the capital of" -> " France".
//!
//! In the corrupt prompt stands a capital of as many tokens, whose country is the wrong answer. The capital may be several tokens,
//! the country is one. Meng et al. 2022, "Locating and Editing Factual Associations in GPT"; Geva et al. 2023.

use super::draw::Draw;
use super::vocabulary::{Dropped, Vocabulary};
use super::words::CAPITALS;
use crate::error::Result;
use crate::experiment::Prompt;
use crate::text_model::{Answer, Text, TextModel};

const TEMPLATES: [&str; 3] = ["{x} is the capital of", "The city of {x} is in", "{x} is the capital city of"];

struct Fact {
    country: &'static str,
    capital: &'static str,
    /// Tokens of the capital at the start of a text, and after a space.
    tokens: (usize, usize),
}

pub(super) struct Facts {
    facts: Vec<Fact>,
    pub dropped: Vec<Dropped>,
}

impl Facts {
    pub fn new(model: &TextModel) -> Result<Facts> {
        let mut vocabulary = Vocabulary::new(model, "facts")?;
        let mut facts: Vec<Fact> = Vec::new();
        if let Some(tokenizer) = model.tokenizer() {
            for (country, capital) in CAPITALS {
                if vocabulary.is_one(&format!(" {country}"))? {
                    let tokens =
                        (tokenizer.encode(capital)?.len(), tokenizer.encode(&format!(" {capital}"))?.len());
                    facts.push(Fact { country, capital, tokens });
                }
            }
        }
        let lengths: Vec<(usize, usize)> = facts.iter().map(|fact| fact.tokens).collect();
        // A capital is of use where another one can stand in its place.
        facts.retain(|fact| lengths.iter().filter(|tokens| **tokens == fact.tokens).count() > 1);
        let facts = vocabulary.enough("countries of one token whose capitals are equally long", facts, 2)?;
        Ok(Facts { facts, dropped: vocabulary.dropped })
    }

    pub fn pair(&self, draw: &mut Draw) -> Prompt {
        let template = *draw.pick(&TEMPLATES);
        let fact = draw.pick(&self.facts);
        let others: Vec<&Fact> = self
            .facts
            .iter()
            .filter(|other| other.tokens == fact.tokens && other.country != fact.country)
            .collect();
        let other = *draw.pick(&others);
        let say = |fact: &Fact| Text::Text(template.replace("{x}", fact.capital));
        Prompt {
            clean: say(fact),
            corrupt: Some(say(other)),
            answers: vec![Answer::Text(format!(" {}", fact.country))],
            wrong_answers: vec![Answer::Text(format!(" {}", other.country))],
        }
    }
}
