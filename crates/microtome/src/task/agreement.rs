//! "The keys to the cabinet" -> " are", not " is".
//!
//! The noun right before the verb has the subject's number or the other one, equally often, so it cannot decide. In the
//! corrupt prompt the subject alone has the other number, for which the wrong verb is right. Both forms of a noun are one
//! token. Linzen, Dupoux and Goldberg 2016.

use super::draw::Draw;
use super::vocabulary::{Dropped, Vocabulary};
use super::words::{JOINS, NOUNS};
use crate::error::Result;
use crate::experiment::Prompt;
use crate::text_model::{Answer, Text, TextModel};

/// One and many.
type Forms = (&'static str, &'static str);

const VERBS: [Forms; 3] = [("is", "are"), ("was", "were"), ("has", "have")];

pub(super) struct Agreement {
    nouns: Vec<Forms>,
    verbs: Vec<Forms>,
    pub dropped: Vec<Dropped>,
}

impl Agreement {
    pub fn new(model: &TextModel) -> Result<Agreement> {
        let mut vocabulary = Vocabulary::new(model, "agreement")?;
        let mut both = |what: &'static str, forms: &[Forms], needed: usize| -> Result<Vec<Forms>> {
            let mut kept = Vec::new();
            for &(one, many) in forms {
                // Both are looked at, so that both are told of where they are dropped.
                let (one_is, many_is) =
                    (vocabulary.is_one(&format!(" {one}"))?, vocabulary.is_one(&format!(" {many}"))?);
                if one_is && many_is {
                    kept.push((one, many));
                }
            }
            vocabulary.enough(what, kept, needed)
        };
        let nouns = both("nouns with both numbers", &NOUNS, 2)?;
        let verbs = both("verbs with both numbers", &VERBS, 1)?;
        Ok(Agreement { nouns, verbs, dropped: vocabulary.dropped })
    }

    pub fn pair(&self, draw: &mut Draw) -> Prompt {
        let nouns = draw.distinct(&self.nouns, 2);
        let (join, verb) = (*draw.pick(&JOINS), *draw.pick(&self.verbs));
        let (many, near_many) = (draw.below(2) == 1, draw.below(2) == 1);
        let form = |(one, several): Forms, many: bool| if many { several } else { one };
        let say = |many: bool| {
            Text::Text(format!("The {}{join}{}", form(nouns[0], many), form(nouns[1], near_many)))
        };
        let answer = |many: bool| vec![Answer::Text(format!(" {}", form(verb, many)))];
        Prompt {
            clean: say(many),
            corrupt: Some(say(!many)),
            answers: answer(many),
            wrong_answers: answer(!many),
        }
    }
}
