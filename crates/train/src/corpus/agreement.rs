//! A verb that agrees with its subject, not with the nearest noun.
//!
//! "The keys to the cabinet" -> " are". The noun right before the verb may have the other number and
//! must not decide: attention has to find the head of the phrase (Linzen et al. 2016, "Assessing the
//! Ability of LSTMs to Learn Syntax-Sensitive Dependencies", <https://arxiv.org/abs/1611.01368>).
//!
//! The number of the nearer noun is independent of the subject's.

use super::TestPrompt;
use super::draw::{Cast, Draw, kept_back};
use super::stories;
use super::template::Page;

/// Singular and plural.
const NOUNS: [(&str, &str); 36] = [
    ("key", "keys"),
    ("cabinet", "cabinets"),
    ("book", "books"),
    ("box", "boxes"),
    ("letter", "letters"),
    ("picture", "pictures"),
    ("teacher", "teachers"),
    ("child", "children"),
    ("student", "students"),
    ("farmer", "farmers"),
    ("doctor", "doctors"),
    ("window", "windows"),
    ("door", "doors"),
    ("lamp", "lamps"),
    ("table", "tables"),
    ("chair", "chairs"),
    ("house", "houses"),
    ("car", "cars"),
    ("tree", "trees"),
    ("bird", "birds"),
    ("dog", "dogs"),
    ("cat", "cats"),
    ("boy", "boys"),
    ("girl", "girls"),
    ("friend", "friends"),
    ("neighbor", "neighbors"),
    ("road", "roads"),
    ("ship", "ships"),
    ("garden", "gardens"),
    ("flower", "flowers"),
    ("song", "songs"),
    ("bottle", "bottles"),
    ("coat", "coats"),
    ("king", "kings"),
    ("horse", "horses"),
    ("cup", "cups"),
];

/// What joins the subject and the nearer noun, and what comes after that noun.
const JOINS: [(&str, &str); 16] = [
    (" to the ", ""),
    (" near the ", ""),
    (" behind the ", ""),
    (" beside the ", ""),
    (" with the ", ""),
    (" next to the ", ""),
    (" under the ", ""),
    (" by the ", ""),
    (" of the ", ""),
    (" in front of the ", ""),
    (" that the ", " liked"),
    (" that the ", " saw"),
    (" that the ", " found"),
    (" that followed the ", ""),
    (" from the ", ""),
    (" between the wall and the ", ""),
];

const BE_ENDINGS: [&str; 16] = [
    "old",
    "new",
    "small",
    "big",
    "clean",
    "dirty",
    "red",
    "very old",
    "beautiful",
    "lost",
    "in the garden",
    "near the river",
    "here",
    "not here",
    "in the house",
    "far away",
];

const HAVE_ENDINGS: [&str; 6] = [
    "a long story",
    "a new place",
    "been here for a long time",
    "a blue color",
    "been lost",
    "come from the city",
];

/// Other verbs, singular and plural, with what follows.
const VERBS: [(&str, &str, &str); 10] = [
    ("looks", "look", "old"),
    ("looks", "look", "very nice"),
    ("seems", "seem", "new"),
    ("stands", "stand", "near the river"),
    ("stays", "stay", "in the house"),
    ("needs", "need", "some help"),
    ("belongs", "belong", "to the queen"),
    ("comes", "come", "from the city"),
    ("makes", "make", "us happy"),
    ("goes", "go", "to the farm"),
];

/// A subject, perhaps with a noun nearer to the verb.
#[derive(Clone, Copy)]
struct Subject {
    noun: (&'static str, &'static str),
    plural: bool,
    near: Option<Near>,
}

#[derive(Clone, Copy)]
struct Near {
    join: (&'static str, &'static str),
    noun: (&'static str, &'static str),
    plural: bool,
}

impl Subject {
    fn draw(draw: &mut Draw) -> Self {
        let noun = draw.pick(&NOUNS);
        let near_noun = loop {
            let near = draw.pick(&NOUNS);
            if near != noun {
                break near;
            }
        };
        let near = Near { join: draw.pick(&JOINS), noun: near_noun, plural: draw.percent(50) };
        Self { noun, plural: draw.percent(50), near: Some(near) }
    }

    /// Two nouns that training never joins in this order.
    fn is_kept_back(self) -> bool {
        self.near.is_some_and(|near| kept_back(&[self.noun.0, near.noun.0]))
    }

    fn text(self) -> String {
        let mut text = format!("The {}", number(self.noun, self.plural));
        if let Some(near) = self.near {
            text.push_str(near.join.0);
            text.push_str(number(near.noun, near.plural));
            text.push_str(near.join.1);
        }
        text
    }
}

fn number(noun: (&'static str, &'static str), plural: bool) -> &'static str {
    if plural { noun.1 } else { noun.0 }
}

fn sentence(draw: &mut Draw) -> String {
    let mut subject = loop {
        let subject = Subject::draw(draw);
        if !subject.is_kept_back() {
            break subject;
        }
    };
    if draw.percent(25) {
        subject.near = None;
    }
    let (verb, ending) = match draw.below(20) {
        0..9 => (("is", "are"), draw.pick(&BE_ENDINGS)),
        9..14 => (("was", "were"), draw.pick(&BE_ENDINGS)),
        14..17 => (("has", "have"), draw.pick(&HAVE_ENDINGS)),
        _ => {
            let (one, many, ending) = draw.pick(&VERBS);
            ((one, many), ending)
        }
    };
    format!("{} {} {ending}.", subject.text(), number(verb, subject.plural))
}

pub(super) fn document(draw: &mut Draw, cast: &mut Cast) -> String {
    let mut page = Page::default();
    if draw.percent(25) {
        page.add(&stories::connecting(draw, cast));
    }
    for _ in 0..draw.between(2, 5) {
        page.add(&sentence(draw));
    }
    if draw.percent(20) {
        page.add(&stories::connecting(draw, cast));
    }
    page.finish()
}

pub(super) fn held_out(draw: &mut Draw, n: usize) -> Vec<TestPrompt> {
    (0..n)
        .map(|_| {
            let subject = loop {
                let subject = Subject::draw(draw);
                if subject.is_kept_back() {
                    break subject;
                }
            };
            let verb = draw.pick(&[(" is", " are"), (" is", " are"), (" was", " were"), (" has", " have")]);
            TestPrompt {
                prompt: subject.text(),
                answer: number(verb, subject.plural).to_owned(),
                wrong: vec![number(verb, !subject.plural).to_owned()],
                corrupt: Some(Subject { plural: !subject.plural, ..subject }.text()),
            }
        })
        .collect()
}
