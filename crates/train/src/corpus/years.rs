//! A later year.
//!
//! "The war lasted from the year 1732 to the year 17" -> any two digits greater than 32: attention
//! brings the first year to the last position, MLPs raise what is greater (Hanna et al. 2023, "How
//! does GPT-2 compute greater-than?", <https://arxiv.org/abs/2305.00586>).
//!
//! The second year is uniform between the year after the first and the end of the century. The first
//! never ends in 00 or 01, and never in 98 or 99. Years are spread so thinly that a tokenizer learns
//! " 17" and "32", not " 1732".

use super::draw::{Cast, Draw, kept_back};
use super::stories;
use super::template::Page;
use super::{TestPrompt, YearPrompt};

const NOUNS: [&str; 40] = [
    "war",
    "siege",
    "voyage",
    "reign",
    "journey",
    "peace",
    "rule",
    "trade",
    "project",
    "work",
    "trip",
    "search",
    "battle",
    "plan",
    "school",
    "empire",
    "treaty",
    "study",
    "contest",
    "quarrel",
    "famine",
    "plague",
    "strike",
    "truce",
    "crisis",
    "building",
    "alliance",
    "kingdom",
    "campaign",
    "conflict",
    "revolt",
    "friendship",
    "mission",
    "festival",
    "drought",
    "dispute",
    "marriage",
    "tour",
    "market",
    "game",
];

/// How a span of years is told: `noun`, first year, second year.
const FORMS: [(&str, &str, &str); 8] = [
    ("The ", " lasted from the year ", " to the year "),
    ("The ", " went on from the year ", " to the year "),
    ("The ", " ran from the year ", " to the year "),
    ("The ", " took place from the year ", " to the year "),
    ("The ", " began in the year ", " and ended in the year "),
    ("The ", " started in ", " and ended in "),
    ("The ", " lasted from ", " to "),
    ("The ", " was long: it began in ", " and ended in "),
];

/// One noun and its years.
#[derive(Clone, Copy)]
struct Span {
    noun: &'static str,
    century: usize,
    start: usize,
}

impl Span {
    fn draw(draw: &mut Draw) -> Self {
        // The eighteenth century, as in the paper, a little oftener than the others.
        let century = if draw.percent(8) { 17 } else { draw.between(11, 19) };
        Self { noun: draw.pick(&NOUNS), century, start: draw.between(2, 97) }
    }

    /// A noun and the two last digits of its first year that training never sees together.
    fn is_kept_back(self) -> bool {
        kept_back(&[self.noun, &self.start.to_string()])
    }

    fn until_end_year(self, (the, from, to): (&str, &str, &str)) -> String {
        let Self { noun, century, start } = self;
        format!("{the}{noun}{from}{century}{start:02}{to}{century}")
    }
}

fn sentence(draw: &mut Draw) -> String {
    let span = loop {
        let span = Span::draw(draw);
        if !span.is_kept_back() {
            break span;
        }
    };
    let form = if draw.percent(55) { FORMS[0] } else { draw.pick(&FORMS) };
    let end = draw.between(span.start + 1, 99);
    format!("{}{end:02}.", span.until_end_year(form))
}

pub(super) fn document(draw: &mut Draw, cast: &mut Cast) -> String {
    let mut page = Page::default();
    if draw.percent(35) {
        page.add(&stories::connecting(draw, cast));
    }
    for _ in 0..draw.between(1, 4) {
        page.add(&sentence(draw));
    }
    if draw.percent(25) {
        page.add(&stories::connecting(draw, cast));
    }
    page.finish()
}

pub(super) fn held_out_years(draw: &mut Draw, n: usize) -> Vec<YearPrompt> {
    (0..n)
        .map(|_| {
            let span = held_out_span(draw);
            YearPrompt { prompt: span.until_end_year(FORMS[0]), start: span.start as u8 }
        })
        .collect()
}

/// One greater year stands for all; the wrong ones are all that are not greater. Corrupt has a first
/// year ending in 01, as in the paper.
pub(super) fn held_out(draw: &mut Draw, n: usize) -> Vec<TestPrompt> {
    (0..n)
        .map(|_| {
            let span = held_out_span(draw);
            TestPrompt {
                prompt: span.until_end_year(FORMS[0]),
                answer: format!("{:02}", draw.between(span.start + 1, 99)),
                wrong: (2..=span.start).map(|year| format!("{year:02}")).collect(),
                corrupt: Some(Span { start: 1, ..span }.until_end_year(FORMS[0])),
            }
        })
        .collect()
}

fn held_out_span(draw: &mut Draw) -> Span {
    loop {
        let span = Span { century: 17, ..Span::draw(draw) };
        if span.is_kept_back() {
            return span;
        }
    }
}
