//! Simple stories, and the sentences that join other tasks together.
//!
//! No circuit in particular: this is what the rest stands in, so that text the model writes reads as
//! plain English. People keep their names from sentence to sentence and get the right pronouns.

use super::draw::{Cast, Draw};
use super::facts;
use super::repeats;
use super::template::{Page, capitalised, fill};
use super::words::Name;

/// Nobody in them.
const SCENES: [&str; 44] = [
    "It was a {weather} day.",
    "It was a {weather} {time}.",
    "It was {a quality} day in {season}.",
    "The {nature} and the {nature} were beautiful.",
    "The sky was {color}.",
    "The sky was {color} and the wind was cold.",
    "The sun was shining over the {place}.",
    "The moon was {quality} and {color}.",
    "A {color} bird sang in the tree.",
    "The birds were singing in the {place}.",
    "There was {a quality} {object} on the {thing}.",
    "There was {a animal} in the {place}.",
    "There were {few} birds on the {thing}.",
    "There were many people at the {place}.",
    "There was nobody at the {place}.",
    "The {place} was {quality} and {quality}.",
    "The {place} was closed that day.",
    "The {place} was open all day.",
    "The {place} is not far from the {place}.",
    "Near the {place} there is {a quality} {place}.",
    "The {person} has {a animal}.",
    "The {person} has {few} children.",
    "The {person} was {feeling} that day.",
    "The {person} came to the {place} by {way}.",
    "The {person} lives in {a quality} house near the {place}.",
    "The {person} was {doing} near the {place}.",
    "The {way} was late again.",
    "The {animal} was {color}, and the {animal} was {color}.",
    "The {animal} was {feeling}.",
    "The {animal} likes {food} and {food}.",
    "The {animal} and the {animal} are good friends.",
    "{a animal} ran over the {thing}.",
    "The rain did not stop until the {time}.",
    "In summer the days are long and warm.",
    "In the {time} the {place} is very quiet.",
    "The {food} smelled good.",
    "The {food} was hot and the {food} was good.",
    "Everybody likes {food}.",
    "The {color} {object} was very {quality}.",
    "The {object} on the {thing} was {color}.",
    "Once upon a time there was {a quality} {place} near the sea.",
    "All the {objects} in the {place} were {color}.",
    "The leaves were {color} and {color}.",
    "Nobody knew what was in the {color} box.",
];

/// One person, by name.
const ABOUT: [&str; 40] = [
    "{A} was {feeling}.",
    "{A} was {feeling} and {feeling}.",
    "{A} was {feeling} that {time}.",
    "{A} was a good {person}.",
    "{A} likes {food} and {food}.",
    "{A} likes {doing}.",
    "{A} likes {doing} in the {place}.",
    "{A} loved the {nature}.",
    "{A} had {a quality} {object}.",
    "{A} had {a color} {object} and {a color} {object}.",
    "{A} had {few} {objects}.",
    "{A} had {a animal} and {a animal}.",
    "{A} had {a quality} {animal}.",
    "{A} lives near the {place}.",
    "{A} lives in {a quality} {place}.",
    "{A} works at the {place}.",
    "{A} worked at the {place} with {A.his} {relative}.",
    "{A} wanted {a object}.",
    "{A} wanted to go to the {place}.",
    "{A} went to the {place}.",
    "{A} went to the {place} to buy some {food}.",
    "{A} went to the {place} by {way}.",
    "{A} walked {manner} to the {place}.",
    "{A} woke up and looked at the {nature}.",
    "{A} sat on the {thing} and {rested}.",
    "{A} opened the door and saw {a animal}.",
    "{A} found {a object} near the {place}.",
    "{A} found {a quality} {object} under the {thing}.",
    "{A} bought {a object} at the {place}.",
    "{A} made some {food} in the kitchen.",
    "{A} was {doing} at the {place}.",
    "{A} was late for the {way}.",
    "{A} was looking for {A.his} {object}.",
    "{A} lost {A.his} {object} at the {place}.",
    "{A} put on {A.his} {color} coat.",
    "{A} read a book about {a animal}.",
    "{A} told a story about {a quality} {animal}.",
    "{A} never goes to the {place} in the {time}.",
    "Every {time} {A} goes to the {place}.",
    "One day {A} went to the {place}.",
];

/// The same person, by pronoun.
const NEXT: [&str; 40] = [
    "{A.He} was {feeling}.",
    "{A.He} was very {feeling}.",
    "{A.He} was {feeling} but not {feeling}.",
    "{A.He} looked at the {nature}.",
    "{A.He} looked at the {nature} and {did}.",
    "{A.He} {did} and {did}.",
    "{A.He} {did} {manner}.",
    "{A.He} sat down on the {thing}.",
    "{A.He} sat on the {thing} and ate some {food}.",
    "{A.He} ate some {food} and drank some {food}.",
    "{A.He} took {A.his} {object} and went to the {place}.",
    "{A.He} put {A.his} {object} on the {thing}.",
    "{A.He} put the {object} in {A.his} bag.",
    "{A.He} saw {a animal} on the {thing}.",
    "{A.He} saw {a color} {animal} and {a color} {animal}.",
    "{A.He} saw {few} {color} birds.",
    "{A.He} heard {a animal} behind the {thing}.",
    "{A.He} walked from the {place} to the {place}.",
    "{A.He} went back to the {place}.",
    "{A.He} went home by {way}.",
    "{A.He} wanted to see the {animal} again.",
    "{A.He} did not want to go home.",
    "{A.He} did not see the {animal}.",
    "{A.He} could not find {A.his} {object}.",
    "{A.He} asked the {person} for some {food}.",
    "{A.He} asked the {person} where the {place} was.",
    "{A.He} met the {person} near the {place}.",
    "{A.He} thought about the {object} all day.",
    "{A.He} had never been so {feeling}.",
    "{A.He} bought {few} {objects}.",
    "{A.He} bought {a object} for {A.his} {relative}.",
    "{A.His} {relative} was {feeling} too.",
    "{A.His} {relative} gave {A.him} some {food}.",
    "{A.His} {object} was {color} and {quality}.",
    "{A.His} {animal} was waiting by the {thing}.",
    "{A.His} {relative} has {a quality} {animal}.",
    "The {person} said hello to {A.him}.",
    "The {animal} looked at {A.him} and ran away.",
    "The {animal} came to {A.him} {manner}.",
    "It was cold, so {A.he} went inside.",
];

/// Two people.
const TOGETHER: [&str; 36] = [
    "{A} met {B} at the {place}.",
    "{A} saw {B} near the {place}.",
    "{A} called {B} in the {time}.",
    "{A} asked {B} to come to the {place}.",
    "{A} and {B} are friends.",
    "{A} and {B} went to the {place} together.",
    "{A} and {B} took the {way} to the {place}.",
    "{A} and {B} played all day.",
    "{A} and {B} sat on the {thing} and {rested}.",
    "{A} and {B} shared the {food}.",
    "{A} and {B} looked at the {nature} together.",
    "{A} showed {B} the {object}.",
    "{A} helped {B} find the {object}.",
    "{A} told {B} about the {animal}.",
    "{A} was {feeling}, but {B} was {feeling}.",
    "{B} was {feeling} too.",
    "{B} liked the {object} very much.",
    "{B} laughed, and {A} laughed too.",
    "{B} had {a color} {object}.",
    "\"Hello, {B},\" said {A}.",
    "\"Hello,\" said {B}.",
    "\"{B}, where is the {object}?\" asked {A}.",
    "\"{B}, do you like {food}?\" asked {A}.",
    "\"{B}, look at the {nature}!\" said {A}.",
    "\"{A}, I am {feeling},\" said {B}.",
    "\"Where is my {object}?\" asked {A}. \"It is on the {thing},\" said {B}.",
    "\"What is that?\" asked {A}. \"It is {a animal},\" said {B}.",
    "\"Are you {feeling}?\" asked {B}. \"Yes, I am,\" said {A}.",
    "\"Are you {feeling}?\" asked {B}. \"No, I am {feeling},\" said {A}.",
    "\"I like your {object},\" said {A}. \"Thank you,\" said {B}.",
    "\"Let us go to the {place},\" said {A}.",
    "\"I want to go home,\" said {B}.",
    "\"Look, there is {a color} {animal}!\" said {B}.",
    "\"Can I have some {food}?\" asked {B}. \"Yes,\" said {A}.",
    "\"My {animal} is {feeling},\" said {A}.",
    "\"It is a {weather} day,\" said {B}.",
];

const ENDINGS: [&str; 16] = [
    "Then {A} and {B} went home.",
    "In the evening {A} and {B} were tired but happy.",
    "It was the best day of the {time}.",
    "\"See you tomorrow,\" said {B}.",
    "\"Good night, {B},\" said {A}.",
    "{A} and {B} were friends for a long time.",
    "{A} thanked {B} and went to bed.",
    "At night {A} dreamed of the {animal}.",
    "At night {A} and {B} looked at the stars.",
    "They never saw the {animal} again.",
    "They all lived happily in the {place}.",
    "After that they went to the {place} every {time}.",
    "They ate {food} and {food} until it was dark.",
    "They were all very {feeling}.",
    "They danced and sang all night.",
    "And that was the end of the day.",
];

/// A sentence with nobody in it.
pub(super) fn scene(draw: &mut Draw) -> String {
    let template = draw.pick(&SCENES);
    capitalised(&fill(template, draw, &[]))
}

/// A sentence about one person.
pub(super) fn about(draw: &mut Draw, who: Name) -> String {
    let template = draw.pick(&ABOUT);
    fill(template, draw, &[('A', who)])
}

/// One sentence more about a person just named.
pub(super) fn next(draw: &mut Draw, who: Name) -> String {
    let template = draw.pick(&NEXT);
    fill(template, draw, &[('A', who)])
}

/// A sentence to stand before or after another task's: a scene, or something about somebody.
pub(super) fn connecting(draw: &mut Draw, cast: &mut Cast) -> String {
    if draw.percent(50) {
        scene(draw)
    } else {
        let who = cast.member(draw);
        about(draw, who)
    }
}

pub(super) fn document(draw: &mut Draw, cast: &mut Cast) -> String {
    let mut page = Page::default();
    let a = cast.join(draw);
    let b = cast.join(draw);
    let length = draw.between(35, 80);
    let lines = draw.percent(15);
    if draw.percent(35) {
        page.add(&scene(draw));
    }
    page.add(&about(draw, a));
    if draw.percent(60) {
        page.add(&next(draw, a));
    }
    let mut met = false;
    while page.n_tokens() < length {
        let people = [('A', a), ('B', b)];
        let separator = if lines && met { '\n' } else { ' ' };
        let sentence = match draw.below(20) {
            0..2 => scene(draw),
            2..5 if !met => next(draw, a),
            2..5 => {
                let who = if draw.percent(50) { a } else { b };
                about(draw, who)
            }
            5 => repeats::statement(draw),
            6 => facts::visit(draw, a),
            7..11 if met => {
                let who = if draw.percent(50) { a } else { b };
                [about(draw, who), next(draw, who)].join(" ")
            }
            _ => {
                // The first sentence with both makes clear who the second one is.
                let known = if met { TOGETHER.len() } else { 14 };
                met = true;
                let i = draw.below(known);
                fill(TOGETHER[i], draw, &people)
            }
        };
        if !page.add_after(separator, &sentence) {
            break;
        }
    }
    if met && draw.percent(50) {
        let template = draw.pick(&ENDINGS);
        page.add(&fill(template, draw, &[('A', a), ('B', b)]));
    }
    page.finish()
}
