//! "The war lasted from the year 1732 to the year 17" -> any two digits above 32.
//!
//! Right answers are all that are above, wrong ones all that are not, so that `prob_diff` is the paper's probability
//! difference. In the corrupt prompt the first year ends in 01, after which every ending but 00 and 01 is right. First
//! years end in 02 to 98, the last but one. A year is used where the vocabulary cuts it into the century and the two digits,
//! and these two digits alone are a token. Hanna, Liu and Variengien 2023, "How does GPT-2 compute greater-than?".

use super::draw::Draw;
use super::vocabulary::{Dropped, Vocabulary};
use super::words::SPANS;
use crate::error::Result;
use crate::experiment::Prompt;
use crate::text_model::{Answer, Text, TextModel};

/// The century of the paper.
const CENTURY: usize = 17;

pub(super) struct GreaterThan {
    nouns: Vec<&'static str>,
    /// Endings that are one token, in order.
    endings: Vec<usize>,
    /// Endings a first year may have.
    starts: Vec<usize>,
    pub dropped: Vec<Dropped>,
}

impl GreaterThan {
    pub fn new(model: &TextModel) -> Result<GreaterThan> {
        let mut vocabulary = Vocabulary::new(model, "greater-than")?;
        let nouns = vocabulary.after_space("nouns", &SPANS, 1)?;
        let mut endings = Vec::new();
        for ending in 0..100 {
            if vocabulary.is_one(&format!("{ending:02}"))? {
                endings.push(ending);
            }
        }
        let endings = vocabulary.enough("two-digit endings of years", endings, 2)?;
        let mut starts = Vec::new();
        if let Some(tokenizer) = model.tokenizer() {
            for &ending in endings.iter().filter(|ending| (2..=98).contains(*ending)) {
                let whole = tokenizer.encode(&format!(" {CENTURY}{ending:02}"))?;
                let mut apart = tokenizer.encode(&format!(" {CENTURY}"))?;
                apart.extend(tokenizer.encode(&format!("{ending:02}"))?);
                // With endings on both sides there is a right and a wrong answer.
                let both = endings.iter().any(|other| *other > ending);
                if whole == apart && both {
                    starts.push(ending);
                }
            }
        }
        let starts = vocabulary.enough("years cut into century and two digits", starts, 2)?;
        Ok(GreaterThan { nouns, endings, starts, dropped: vocabulary.dropped })
    }

    pub fn pair(&self, draw: &mut Draw) -> Prompt {
        let (noun, start) = (*draw.pick(&self.nouns), *draw.pick(&self.starts));
        let say = |from: usize| {
            Text::Text(format!("The {noun} lasted from the year {CENTURY}{from:02} to the year {CENTURY}"))
        };
        let answers = |wanted: &dyn Fn(usize) -> bool| {
            let kept = self.endings.iter().filter(|ending| wanted(**ending));
            kept.map(|ending| Answer::Text(format!("{ending:02}"))).collect()
        };
        Prompt {
            clean: say(start),
            corrupt: Some(say(1)),
            answers: answers(&|ending| ending > start),
            wrong_answers: answers(&|ending| ending <= start),
        }
    }
}
