//! Who is given something.
//!
//! "When Mary and John went to the store, John gave a drink to" -> " Mary". To answer, a model has to
//! see which of two names was said again and name the other one: duplicate-token and induction heads
//! find the repeated name, S-inhibition heads take it out, name mover heads copy what is left (Wang et
//! al. 2022, "Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2
//! small", <https://arxiv.org/abs/2211.00593>).
//!
//! A sentence is an opener, which names two people, and an action, in which one of them is the subject
//! and the other receives. The subject is the first or the second name equally often. In one of
//! thirty sentences the subject is a third person, and either of the two receives: such sentences are
//! the corrupt prompts of the paper, and the model should not be surprised by them.

use super::TestPrompt;
use super::draw::{Cast, Draw, kept_back, pair_kept_back};
use super::stories;
use super::template::{Page, fill};
use super::words::Name;

/// The first half of a sentence, or a sentence of its own: who is there.
const OPENERS: [&str; 48] = [
    "When {A} and {B} went to the {place}, ",
    "When {A} and {B} came to the {place}, ",
    "When {A} and {B} were at the {place}, ",
    "When {A} and {B} got home from the {place}, ",
    "When {A} and {B} met at the {place}, ",
    "When {A} and {B} had lunch at the {place}, ",
    "After {A} and {B} went to the {place}, ",
    "After {A} and {B} had a long talk, ",
    "After {A} and {B} had lunch at the {place}, ",
    "After {A} and {B} left the {place}, ",
    "After {A} and {B} played in the {place}, ",
    "After the lunch, {A} and {B} went to the {place}. ",
    "Afterwards, {A} and {B} went to the {place}. ",
    "While {A} and {B} were working at the {place}, ",
    "While {A} and {B} were going to the {place}, ",
    "While {A} and {B} were waiting near the {place}, ",
    "While {A} and {B} were walking to the {place}, ",
    "Then, {A} and {B} went to the {place}. ",
    "Then, {A} and {B} had a lot of fun at the {place}. ",
    "Then, {A} and {B} were working at the {place}. ",
    "Then, {A} and {B} were thinking about going to the {place}. ",
    "Then, {A} and {B} had a long argument, and afterwards ",
    "Then, {A} and {B} had a long argument. Afterwards ",
    "Then, in the {time}, {A} and {B} went to the {place}. ",
    "As soon as {A} and {B} came to the {place}, ",
    "As soon as {A} and {B} were alone, ",
    "One day, {A} and {B} went to the {place}. ",
    "One day {A} and {B} met at the {place}, and ",
    "One {time}, {A} and {B} were at the {place}. ",
    "Yesterday, {A} and {B} walked to the {place}. ",
    "Yesterday {A} and {B} went to the {place}, and ",
    "Today {A} and {B} are at the {place}. ",
    "Before {A} and {B} left the {place}, ",
    "Because {A} and {B} were good friends, ",
    "Once {A} and {B} were back from the {place}, ",
    "In the {time}, {A} and {B} went to the {place}. ",
    "Last {time} {A} and {B} went to the {place}, and ",
    "At the {place}, {A} and {B} sat down, and ",
    "{A} and {B} went to the {place}. ",
    "{A} and {B} went to the {place}, and ",
    "{A} and {B} were at the {place}. ",
    "{A} and {B} had a long talk, and then ",
    "{A} and {B} are good friends. ",
    "{A} met {B} at the {place}, and ",
    "{A} was at the {place} with {B}. ",
    "{A} and {B} took the {way} to the {place}, and there ",
    "{A} saw {B} near the {place}, and ",
    "Friends {A} and {B} met at the {place}. ",
];

/// Openers with something in them that can be given.
const OPENERS_WITH_OBJECT: [&str; 12] = [
    "When {A} and {B} got {a object} at the {place}, ",
    "When {A} and {B} found {a object} in the {place}, ",
    "When {A} and {B} saw {a object} at the {place}, ",
    "After {A} and {B} bought {a object} at the {place}, ",
    "After {A} and {B} found {a object} near the {place}, ",
    "While {A} and {B} were looking at {a object}, ",
    "The {place} {A} and {B} went to had {a object}. ",
    "Friends {A} and {B} found {a object} at the {place}. ",
    "Then, {A} and {B} found {a object} at the {place}. ",
    "One day, {A} and {B} got {a object}. ",
    "{A} and {B} found {a object} in the {place}. ",
    "{A} and {B} had {a object}, and ",
];

/// The second half: `S` is the subject, `R` receives. The receiver comes once.
const ACTIONS: [&str; 39] = [
    "{S} gave {a object} to {R}.",
    "{S} gave {a object} to {R}.",
    "{S} gave {a object} to {R}.",
    "{S} gave {a object} to {R}.",
    "{S} gave the {object} to {R}.",
    "{S} {gave} {a object} to {R}.",
    "{S} {gave} {a object} to {R}.",
    "{S} {gave} the {object} to {R}.",
    "{S} gave {a color} {object} to {R}.",
    "{S} handed {a quality} {object} to {R}.",
    "{S} decided to give {a object} to {R}.",
    "{S} decided to give the {object} to {R}.",
    "{S} decided to {give} {a object} to {R}.",
    "{S} wanted to give {a object} to {R}.",
    "{S} wanted to {give} the {object} to {R}.",
    "{S} tried to {give} {a object} to {R}.",
    "{S} was happy to {give} {a object} to {R}.",
    "{S} {manner} {gave} {a object} to {R}.",
    "{S} gave some {food} to {R}.",
    "{S} offered some {food} to {R}.",
    "{S} gave {a object} at the {place} to {R}.",
    "{S} bought {a object} and gave it to {R}.",
    "{S} found {a object} and showed it to {R}.",
    "{S} took {a object} out of {S.his} bag and gave it to {R}.",
    "{S} said to {R}, \"It is time to go home.\"",
    "{S} said to {R}, \"I like the {place}.\"",
    "{S} said to {R} that it was time to go.",
    "{S} said goodbye to {R}.",
    "{S} told a story to {R}.",
    "{S} whispered something to {R}.",
    "{S} wrote a letter to {R}.",
    "{S} sang a song to {R}.",
    "{S} gave a kiss to {R}.",
    "{S} waved to {R}.",
    "{S} talked to {R} about the {place}.",
    "{S} gave {R} {a object}.",
    "{S} {gave} {R} {a object}.",
    "{S} told {R} a story.",
    "{S} asked {R} a question.",
];

/// Actions that come back to the opener's object.
const ACTIONS_WITH_IT: [&str; 10] = [
    "{S} gave it to {R}.",
    "{S} decided to give it to {R}.",
    "{S} decided to give the {=object} to {R}.",
    "{S} wanted to give it to {R}.",
    "{S} gave the {=object} to {R}.",
    "{S} {gave} it to {R}.",
    "{S} {gave} the {=object} to {R}.",
    "{S} showed the {=object} to {R}.",
    "{S} decided to {give} it to {R}.",
    "{S} was happy to give the {=object} to {R}.",
];

/// What may follow.
const AFTER: [&str; 20] = [
    "{R} thanked {S} and went home.",
    "{R} thanked {S} and smiled.",
    "{R} thanked {S} and {S.he} smiled.",
    "{R} was very happy.",
    "{R} was happy, and {S} was happy too.",
    "{R} said, \"Thank you, {S}.\"",
    "{R} smiled at {S}.",
    "{R} laughed, and so did {S}.",
    "Then {R} and {S} went home.",
    "Then {S} and {R} went back to the {place}.",
    "Then {S} went home, and {R} stayed at the {place}.",
    "{S} smiled at {R}.",
    "{S} said, \"This is for you, {R}.\"",
    "\"Thank you,\" said {R}.",
    "\"{S}, you are very kind,\" said {R}.",
    "{R} looked at {S} and said thank you.",
    "It was {a quality} day for {R} and {S}.",
    "{R} liked it very much.",
    "{R} put it on the {thing} and thanked {S}.",
    "In the evening {S} and {R} were tired but happy.",
];

/// Where a third person is.
const ELSEWHERE: [&str; 6] = [
    "{C} stayed at home.",
    "{C} was at the {place}.",
    "{C} did not come that day.",
    "{C} was {feeling} and went to bed.",
    "{C} had to work at the {place}.",
    "That day {C} was {doing} at home.",
];

/// An opener and an action that go together.
#[derive(Clone, Copy)]
struct Template {
    opener: &'static str,
    action: &'static str,
}

impl Template {
    fn draw(draw: &mut Draw) -> Self {
        if draw.percent(22) {
            let opener = draw.pick(&OPENERS_WITH_OBJECT);
            Self { opener, action: draw.pick(&ACTIONS_WITH_IT) }
        } else {
            let opener = draw.pick(&OPENERS);
            Self { opener, action: draw.pick(&ACTIONS) }
        }
    }

    /// A whole template that training never sees, though it sees its two halves. Gaps for a verb count
    /// as the verb "give", which they can be filled with.
    fn is_kept_back(self) -> bool {
        let action = self.action.replace("{gave}", "gave").replace("{give}", "give");
        kept_back(&[self.opener, &action])
    }

    fn draw_for_training(draw: &mut Draw) -> Self {
        loop {
            let template = Self::draw(draw);
            if !template.is_kept_back() {
                return template;
            }
        }
    }
}

/// The two names of an opener, and who is subject and who receives in the action.
#[derive(Clone, Copy)]
struct Roles {
    first: Name,
    second: Name,
    subject: Name,
    receiver: Name,
}

impl Roles {
    fn draw(draw: &mut Draw, first: Name, second: Name) -> Self {
        let (subject, receiver) = if draw.percent(50) { (first, second) } else { (second, first) };
        Self { first, second, subject, receiver }
    }

    fn people(self) -> [(char, Name); 4] {
        [('A', self.first), ('B', self.second), ('S', self.subject), ('R', self.receiver)]
    }
}

pub(super) fn document(draw: &mut Draw, cast: &mut Cast) -> String {
    let mut page = Page::default();
    let mut first = cast.join(draw);
    let mut second = cast.join(draw);
    match draw.below(20) {
        0..13 => {}
        13..17 => _ = page.add(&stories::scene(draw)),
        17..19 => {
            let who = if draw.percent(50) { first } else { second };
            page.add(&stories::about(draw, who));
        }
        _ => {
            let third = cast.join(draw);
            let template = draw.pick(&ELSEWHERE);
            page.add(&fill(template, draw, &[('C', third)]));
        }
    }
    for _ in 0..3 {
        let template = Template::draw_for_training(draw);
        let mut roles = Roles::draw(draw, first, second);
        if draw.percent(3) {
            roles.subject = cast.join(draw);
        }
        let sentence = fill(&[template.opener, template.action].concat(), draw, &roles.people());
        page.add(&sentence);
        if draw.percent(55) {
            let template = draw.pick(&AFTER);
            page.add(&fill(template, draw, &roles.people()));
        }
        if page.n_tokens() > 45 || draw.percent(35) {
            break;
        }
        if draw.percent(75) {
            first = cast.join(draw);
            second = cast.join(draw);
        } else if draw.percent(50) {
            std::mem::swap(&mut first, &mut second);
        }
    }
    if draw.percent(20) {
        page.add(&stories::scene(draw));
    }
    page.finish()
}

/// Half of the prompts have a pair of names that training never saw together, in a template it did see;
/// half have a template it never saw, with a pair it may have seen.
pub(super) fn held_out(draw: &mut Draw, n: usize) -> Vec<TestPrompt> {
    (0..n)
        .map(|i| {
            let new_pair = i % 2 == 0;
            let template = loop {
                let template = Template::draw(draw);
                if template.is_kept_back() != new_pair && template.action.contains(" to {R}") {
                    break template;
                }
            };
            let (first, second) = loop {
                let (first, second) = (draw.name(), draw.name());
                if first != second && pair_kept_back(first.text, second.text) == new_pair {
                    break (first, second);
                }
            };
            let third = loop {
                let third = draw.name();
                if third != first && third != second {
                    break third;
                }
            };
            prompt(template, Roles::draw(draw, first, second), third, draw)
        })
        .collect()
}

/// The template up to its receiver; corrupt has the third person as its subject.
fn prompt(template: Template, roles: Roles, third: Name, draw: &mut Draw) -> TestPrompt {
    let whole = [template.opener, template.action].concat();
    let before = whole.split(" {R}").next().unwrap_or_default();
    let mut same_words = draw.clone();
    TestPrompt {
        prompt: fill(before, draw, &roles.people()),
        answer: format!(" {}", roles.receiver.text),
        wrong: vec![format!(" {}", roles.subject.text)],
        corrupt: Some(fill(before, &mut same_words, &Roles { subject: third, ..roles }.people())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opener_names_two_and_an_action_ends_its_prompt_before_the_receiver() {
        for opener in OPENERS.iter().chain(&OPENERS_WITH_OBJECT) {
            assert_eq!(opener.matches("{A}").count(), 1, "{opener}");
            assert_eq!(opener.matches("{B}").count(), 1, "{opener}");
        }
        for action in ACTIONS.iter().chain(&ACTIONS_WITH_IT) {
            assert_eq!(action.matches("{R}").count(), 1, "{action}");
        }
    }

    #[test]
    fn the_best_known_templates_are_for_training_and_many_others_are_kept_back() {
        let known = [
            ("When {A} and {B} went to the {place}, ", "{S} gave {a object} to {R}."),
            ("When {A} and {B} got {a object} at the {place}, ", "{S} decided to give it to {R}."),
        ];
        for (opener, action) in known {
            assert!(!Template { opener, action }.is_kept_back(), "{opener}{action}");
        }
        let n = OPENERS
            .iter()
            .flat_map(|opener| ACTIONS.iter().map(|action| Template { opener, action }))
            .filter(|template| template.is_kept_back())
            .count();
        assert!(n >= 3, "{n} templates kept back");
    }

    #[test]
    fn both_orders_of_the_names_are_equally_frequent() {
        let mut draw = Draw::new(1, 1);
        let (a, b) = (crate::corpus::words::name(0), crate::corpus::words::name(60));
        let n = 20_000;
        let first = (0..n).filter(|_| Roles::draw(&mut draw, a, b).subject == a).count();
        assert!(first.abs_diff(n / 2) < n / 50, "{first} of {n}");
    }
}
