//! He or she.
//!
//! "Mary was tired, so" -> " she". The gender of a name is a direction in its embedding that a few
//! heads move to where the pronoun comes (Mathwin et al. 2023, "Identifying a Preliminary Circuit for
//! Predicting Gendered Pronouns in GPT-2 Small").
//!
//! A name and a feeling that are kept back never meet in one sentence of training.

use super::TestPrompt;
use super::draw::{Cast, Draw, kept_back};
use super::stories;
use super::template::{Page, fill};
use super::words::{FEELINGS, Name};

/// Up to the pronoun, with a feeling, and after it.
const FORMS: [(&str, &str); 15] = [
    ("{A} was {F}, so", "went home."),
    ("{A} was {F}, so", "went to bed."),
    ("{A} was {F}, so", "sat down on the {thing}."),
    ("{A} was {F}, so", "called a friend."),
    ("{A} was very {F}, and", "went to the {place}."),
    ("{A} was {F} because", "could not find the {object}."),
    ("{A} was {F} because", "had lost {A.his} {object}."),
    ("{A} was {F} when", "came home from the {place}."),
    ("{A} said that", "was {F}."),
    ("{A} was not {F}, but", "went home early."),
    ("When {A} was {F},", "went to the {place}."),
    ("Because {A} was {F},", "did not come to the {place}."),
    ("{A} felt {F} after", "came back from the {place}."),
    ("{A} was so {F} that", "{did} all day."),
    ("{A} is {F} today, and", "wants to go home."),
];

/// Other pronouns, and other words before them.
const MORE: [&str; 18] = [
    "{A} said that {A.he} was {doing}.",
    "{A} said that {A.he} liked the {place}.",
    "{A} thinks that {A.he} can see the {animal}.",
    "{A} took {A.his} {object} and went home.",
    "{A} put {A.his} {object} on the {thing}.",
    "{A} lost {A.his} {object}, and the {person} helped {A.him}.",
    "{A} looked at {A.himself} and smiled.",
    "{A} made {A.himself} some {food}.",
    "{A} went to the {place}, where {A.he} met {A.his} {relative}.",
    "{A} opened the door, and {A.he} saw {a animal}.",
    "{A} has {a animal}, and it loves {A.him}.",
    "{A} wrote to {A.his} {relative}, but {A.he} sent no letter.",
    "The {person} asked {A} what {A.he} wanted.",
    "The {person} saw {A} and gave {A.him} {a object}.",
    "After {A} came home, {A.he} made some {food}.",
    "While {A} was {doing}, {A.he} heard {a animal}.",
    "I know {A}, and I like {A.him}.",
    "If {A} is at the {place}, {A.he} will see the {animal}.",
];

fn sentence(draw: &mut Draw, who: Name) -> String {
    let people = [('A', who)];
    if draw.percent(40) {
        let template = draw.pick(&MORE);
        return fill(template, draw, &people);
    }
    let (before, after) = draw.pick(&FORMS);
    let feeling = loop {
        let feeling = draw.pick(&FEELINGS);
        if !kept_back(&[who.text, feeling]) {
            break feeling;
        }
    };
    let template = [before, after].join(" {A.he} ").replace("{F}", feeling);
    fill(&template, draw, &people)
}

pub(super) fn document(draw: &mut Draw, cast: &mut Cast) -> String {
    let mut page = Page::default();
    if draw.percent(25) {
        page.add(&stories::scene(draw));
    }
    for _ in 0..draw.between(1, 4) {
        let who = cast.join(draw);
        page.add(&sentence(draw, who));
        if draw.percent(35) {
            page.add(&stories::next(draw, who));
        }
    }
    page.finish()
}

pub(super) fn held_out(draw: &mut Draw, n: usize) -> Vec<TestPrompt> {
    (0..n)
        .map(|_| {
            let (before, who, feeling) = loop {
                let ((before, _), who, feeling) = (draw.pick(&FORMS), draw.name(), draw.pick(&FEELINGS));
                if kept_back(&[who.text, feeling]) && before.find("{F}").is_some() {
                    break (before, who, feeling);
                }
            };
            let other = loop {
                let other = draw.name();
                if other.gender != who.gender {
                    break other;
                }
            };
            let before = before.replace("{F}", feeling);
            let pronoun = |name: Name| format!(" {}", name.pronoun("he").unwrap_or_default());
            TestPrompt {
                prompt: fill(&before, draw, &[('A', who)]),
                answer: pronoun(who),
                wrong: vec![pronoun(other)],
                corrupt: Some(fill(&before, draw, &[('A', other)])),
            }
        })
        .collect()
}
