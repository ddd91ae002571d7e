//! What was said before comes again.
//!
//! "The cat sat on the mat. The dog sat on the rug. The cat sat on the" -> " mat". A previous-token head
//! writes into each position what stood before it; an induction head looks for the position whose
//! predecessor is the present token, and copies (Olsson et al. 2022, "In-context Learning and
//! Induction Heads", <https://arxiv.org/abs/2209.11895>).
//!
//! Four kinds of passages: random words or numbers, repeated; sentences, repeated; statements about
//! animals, of which some are repeated; lists of keys and values, looked up. Pairings are random in
//! each document, so that only the context tells what comes. An animal and a thing that are kept back
//! are never put in one statement.

use super::TestPrompt;
use super::draw::{Cast, Draw, kept_back};
use super::stories;
use super::template::{Page, about_tokens, capitalised};
use super::words::{ANIMALS, COLORS, NUMBERS, OBJECTS, SPOTS, SYLLABLES, THINGS};

pub(super) fn document(draw: &mut Draw, cast: &mut Cast) -> String {
    match draw.below(100) {
        0..20 => random_words(draw, cast),
        20..34 => random_numbers(draw),
        34..44 => passage(draw, cast),
        44..90 => statements(draw, cast),
        _ => lookups(draw, cast),
    }
}

/// Eight to thirty random words, again and again.
fn random_words(draw: &mut Draw, cast: &mut Cast) -> String {
    let capitals = draw.percent(10);
    let comma = draw.percent(20);
    let n = draw.between(8, if comma { 20 } else { 30 });
    let mut words: Vec<String> = Vec::with_capacity(n);
    for _ in 0..n {
        let word = match draw.below(20) {
            0..2 => cast.join(draw).text.to_owned(),
            2 => made_up(draw),
            3 if draw.percent(50) => draw.below(20).to_string(),
            3 => char::from(b'a' + draw.below(26) as u8).to_string(),
            _ => draw.word().to_owned(),
        };
        words.push(if capitals && draw.percent(50) { capitalised(&word) } else { word });
    }
    let passage = words.join(if comma { ", " } else { " " });
    repeated(&passage, if draw.percent(50) { ". " } else { " " }, draw)
}

/// Two or three syllables.
fn made_up(draw: &mut Draw) -> String {
    (0..draw.between(2, 3)).map(|_| draw.pick(&SYLLABLES)).collect()
}

/// Two-digit numbers, as in "47-82-19".
fn random_numbers(draw: &mut Draw) -> String {
    let passage: Vec<String> = (0..draw.between(6, 14)).map(|_| format!("{:02}", draw.below(100))).collect();
    repeated(&passage.join("-"), if draw.percent(50) { "-" } else { "\n" }, draw)
}

/// The passage twice, or as often as there is room.
fn repeated(passage: &str, separator: &str, draw: &mut Draw) -> String {
    let times = 90 / (about_tokens(passage) + 1);
    let times = if draw.percent(60) { 2 } else { times.clamp(2, 4) };
    let mut text = vec![passage; times].join(separator);
    if separator == ". " {
        text.push('.');
    }
    text
}

/// Two to four sentences of a story, twice.
fn passage(draw: &mut Draw, cast: &mut Cast) -> String {
    let who = cast.join(draw);
    let mut sentences = vec![stories::about(draw, who)];
    for _ in 0..draw.between(1, 3) {
        sentences.push(if draw.percent(50) { stories::next(draw, who) } else { stories::scene(draw) });
        if about_tokens(&sentences.join(" ")) > 30 {
            break;
        }
    }
    let passage = sentences.join(" ");
    let mut page = Page::default();
    page.add(&passage);
    if draw.percent(30) {
        page.add(&stories::scene(draw));
    }
    page.add_after(if draw.percent(20) { '\n' } else { ' ' }, &passage);
    page.finish()
}

/// An animal that did something somewhere.
#[derive(Clone, Copy)]
struct Statement {
    animal: &'static str,
    spot: &'static str,
    thing: &'static str,
}

impl Statement {
    fn text(self) -> String {
        format!("{} {}.", self.until_thing(), self.thing)
    }

    fn until_thing(self) -> String {
        format!("The {} {} the", self.animal, self.spot)
    }
}

/// Whether this animal and this thing are in no statement of training.
fn is_kept_back(animal: &str, thing: &str) -> bool {
    kept_back(&[animal, thing])
}

/// One statement for a story.
pub(super) fn statement(draw: &mut Draw) -> String {
    let spot = draw.pick(&SPOTS);
    draw_statements(draw, 1, spot, false).iter().map(|statement| statement.text()).collect()
}

/// Statements with different animals and different things, all at one kind of spot; `held_out` says on
/// which side of the split their pairings are.
fn draw_statements(draw: &mut Draw, n: usize, spot: &'static str, held_out: bool) -> Vec<Statement> {
    let mut statements: Vec<Statement> = Vec::with_capacity(n);
    while statements.len() < n {
        let (animal, thing) = (draw.pick(&ANIMALS), draw.pick(&THINGS));
        let new = statements.iter().all(|other| other.animal != animal && other.thing != thing);
        if new && is_kept_back(animal, thing) == held_out {
            statements.push(Statement { animal, spot, thing });
        }
    }
    statements
}

/// Several statements, and some of them once more.
fn statements(draw: &mut Draw, cast: &mut Cast) -> String {
    let mut page = Page::default();
    if draw.percent(20) {
        page.add(&stories::connecting(draw, cast));
    }
    let n = draw.between(2, 5);
    let spot = draw.pick(&SPOTS);
    let mut statements = draw_statements(draw, n, spot, false);
    // A spot of its own for each makes it easy to find; one for all makes the animal decide.
    if draw.percent(25) {
        for statement in &mut statements {
            statement.spot = draw.pick(&SPOTS);
        }
    } else if draw.percent(30) {
        for statement in &mut statements {
            statement.spot = "sat on";
        }
    }
    for statement in &statements {
        page.add(&statement.text());
    }
    if draw.percent(15) {
        page.add(&stories::scene(draw));
    }
    draw.shuffle(&mut statements);
    let again = draw.between(1, n);
    let question = draw.percent(15);
    for statement in &statements[..again] {
        if question {
            page.add(&format!(
                "Which animal {} the {}? The {}.",
                statement.spot, statement.thing, statement.animal
            ));
        } else {
            page.add(&statement.text());
        }
    }
    page.finish()
}

/// A list of keys and values, then some of the keys again.
fn lookups(draw: &mut Draw, cast: &mut Cast) -> String {
    let n = draw.between(3, 7);
    let mut keys: Vec<String> = Vec::new();
    let lists: [&[&str]; 4] = [&COLORS, &NUMBERS[1..13], &OBJECTS, &ANIMALS];
    let key_list = draw.pick(&lists);
    let names = draw.percent(35);
    while keys.len() < n {
        let key = if names { cast.join(draw).text.to_owned() } else { (draw.pick(key_list)).to_owned() };
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let value_list = draw.pick(&lists);
    let mut entries: Vec<String> = keys
        .iter()
        .map(|key| {
            let value = if draw.percent(70) { draw.pick(value_list) } else { draw.word() };
            format!("{key}: {value}")
        })
        .collect();
    let (separator, end) = draw.pick(&[("\n", ""), ("\n", ""), (", ", "."), ("; ", ".")]);
    let list = entries.join(separator);
    draw.shuffle(&mut entries);
    let again = entries[..draw.between(2, n)].join(separator);
    let between = if separator == "\n" { "\n" } else { " " };
    format!("{list}{end}{between}{again}{end}")
}

/// Two to four statements, the first words of one of them, and what it ended in; corrupt has the things
/// of that one and another swapped.
pub(super) fn held_out(draw: &mut Draw, n: usize) -> Vec<TestPrompt> {
    (0..n)
        .map(|_| {
            let spot = draw.pick(&SPOTS);
            let n_statements = draw.between(2, 4);
            let statements = draw_statements(draw, n_statements, spot, true);
            let asked = draw.below(n_statements);
            let other = (asked + 1 + draw.below(n_statements - 1)) % n_statements;
            let mut swapped = statements.clone();
            swapped[asked].thing = statements[other].thing;
            swapped[other].thing = statements[asked].thing;
            let prompt = |statements: &[Statement]| {
                let mut text: Vec<String> = statements.iter().map(|s| s.text()).collect();
                text.push(statements[asked].until_thing());
                text.join(" ")
            };
            TestPrompt {
                prompt: prompt(&statements),
                answer: format!(" {}", statements[asked].thing),
                wrong: statements
                    .iter()
                    .filter(|s| s.thing != statements[asked].thing)
                    .map(|s| format!(" {}", s.thing))
                    .collect(),
                corrupt: Some(prompt(&swapped)),
            }
        })
        .collect()
}
