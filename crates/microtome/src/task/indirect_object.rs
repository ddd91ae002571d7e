//! "When Mary and John went to the store, John gave a drink to" -> " Mary".
//!
//! Two people, one named again as the subject of the second clause; the other receives. ABBA names the one who receives
//! first, BABA second; they alternate. Wang et al. 2022, "Interpretability in the Wild", section 2. Corrupt prompts keep the
//! template, the place and the object: `abc` has three other names (the paper's p_ABC), `third` another name in place of
//! the repeated one alone, `swapped` the other of the two names there.

use super::draw::Draw;
use super::vocabulary::{Dropped, Vocabulary};
use super::words::{NAMES, OBJECTS, PLACES};
use crate::error::Result;
use crate::experiment::Prompt;
use crate::text_model::{Answer, Text, TextModel};

/// `A` and `B` are named first, `S` is the one that is named again.
const TEMPLATES: [&str; 8] = [
    "When {A} and {B} went to the {place}, {S} gave a {object} to",
    "Then, {A} and {B} went to the {place}. {S} gave a {object} to",
    "After {A} and {B} went to the {place}, {S} gave a {object} to",
    "When {A} and {B} were at the {place}, {S} gave the {object} to",
    "While {A} and {B} were working at the {place}, {S} gave a {object} to",
    "Then, {A} and {B} were working at the {place}. {S} decided to give a {object} to",
    "Afterwards, {A} and {B} went to the {place}. {S} gave a {object} to",
    "Then, {A} and {B} had a long argument. Afterwards {S} said to",
];

pub(super) struct IndirectObject {
    names: Vec<&'static str>,
    places: Vec<&'static str>,
    objects: Vec<&'static str>,
    corruption: &'static str,
    pub dropped: Vec<Dropped>,
}

impl IndirectObject {
    pub fn new(model: &TextModel, corruption: &'static str) -> Result<IndirectObject> {
        let mut vocabulary = Vocabulary::new(model, "ioi")?;
        let names = vocabulary.after_space("names", &NAMES, 5)?;
        let places = vocabulary.after_space("places", &PLACES, 1)?;
        let objects = vocabulary.after_space("objects", &OBJECTS, 1)?;
        Ok(IndirectObject { names, places, objects, corruption, dropped: vocabulary.dropped })
    }

    pub fn pair(&self, index: usize, draw: &mut Draw) -> Prompt {
        let template = *draw.pick(&TEMPLATES);
        let names = draw.distinct(&self.names, 5);
        let (object, subject) = (names[0], names[1]);
        let (place, thing) = (*draw.pick(&self.places), *draw.pick(&self.objects));
        let say = |[first, second, again]: [&str; 3]| {
            let text = template.replace("{A}", first).replace("{B}", second).replace("{S}", again);
            Text::Text(text.replace("{place}", place).replace("{object}", thing))
        };
        // ABBA, BABA, ABBA ..
        let order = |receives: &'static str, gives: &'static str, again: &'static str| match index % 2 {
            0 => [receives, gives, again],
            _ => [gives, receives, again],
        };
        let corrupt = match self.corruption {
            "third" => order(object, subject, names[2]),
            "swapped" => order(object, subject, object),
            _ => [names[2], names[3], names[4]],
        };
        Prompt {
            clean: say(order(object, subject, subject)),
            corrupt: Some(say(corrupt)),
            answers: vec![Answer::Text(format!(" {object}"))],
            wrong_answers: vec![Answer::Text(format!(" {subject}"))],
        }
    }
}
