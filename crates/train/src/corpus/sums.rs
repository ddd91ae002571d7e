//! Small sums.
//!
//! "3 + 4 =" -> " 7", "Three plus four is" -> " seven": two numbers are brought together at the last
//! position and looked up. There are too few sums at this size to keep some back and ask for them, so
//! [`held_out`] asks for sums that training has seen; what it asks for is a table, not arithmetic.

use super::TestPrompt;
use super::draw::{Cast, Draw};
use super::stories;
use super::template::{Page, capitalised};
use super::words::NUMBERS;

/// Words between the summands, and before the sum, in figures.
const FIGURES: [(&str, &str, &str); 6] = [
    ("", " + ", " = "),
    ("", " + ", " = "),
    ("", " + ", " = "),
    ("", " plus ", " is "),
    ("What is ", " plus ", "? "),
    ("What is ", " + ", "? "),
];

const IN_WORDS: [(&str, &str, &str); 5] = [
    ("", " plus ", " is "),
    ("", " plus ", " is "),
    ("", " and ", " make "),
    ("", " plus ", " equals "),
    ("What is ", " plus ", "? "),
];

/// Two numbers from 0 to 9.
fn summands(draw: &mut Draw) -> (usize, usize) {
    (draw.below(10), draw.below(10))
}

/// The sum without its result, and the result.
fn question(figures: bool, (a, b): (usize, usize), draw: &mut Draw) -> (String, String) {
    if figures {
        let (before, plus, is) = draw.pick(&FIGURES);
        (format!("{before}{a}{plus}{b}{is}"), (a + b).to_string())
    } else {
        let (before, plus, is) = draw.pick(&IN_WORDS);
        let text = format!("{before}{}{plus}{}{is}", NUMBERS[a], NUMBERS[b]);
        // After a question, the answer is a sentence of its own.
        let sum = NUMBERS[a + b];
        let sum = if is == "? " { capitalised(sum) } else { sum.to_owned() };
        (capitalised(&text), sum)
    }
}

pub(super) fn document(draw: &mut Draw, cast: &mut Cast) -> String {
    let mut page = Page::default();
    if draw.percent(25) {
        page.add(&stories::connecting(draw, cast));
    }
    let separator = if draw.percent(35) { '\n' } else { ' ' };
    let figures = draw.percent(65);
    for _ in 0..draw.between(4, 9) {
        let figures = figures != draw.percent(10);
        let numbers = summands(draw);
        let (question, sum) = question(figures, numbers, draw);
        page.add_after(separator, &format!("{question}{sum}."));
    }
    page.finish()
}

pub(super) fn held_out(draw: &mut Draw, n: usize) -> Vec<TestPrompt> {
    (0..n)
        .map(|i| {
            let figures = i % 3 != 2;
            let (a, b) = summands(draw);
            let (other_a, other_b) = loop {
                let (c, d) = summands(draw);
                if c + d != a + b {
                    break (c, d);
                }
            };
            let mut same_words = draw.clone();
            let (prompt, sum) = question(figures, (a, b), draw);
            let (corrupt, other) = question(figures, (other_a, other_b), &mut same_words);
            TestPrompt {
                prompt: prompt.trim_end().to_owned(),
                answer: format!(" {sum}"),
                wrong: vec![format!(" {other}")],
                corrupt: Some(corrupt.trim_end().to_owned()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_right() {
        let mut draw = Draw::new(3, 0);
        for _ in 0..500 {
            let (a, b) = summands(&mut draw);
            let (text, sum) = question(true, (a, b), &mut draw);
            let numbers: Vec<usize> =
                text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
            assert_eq!(numbers.iter().sum::<usize>().to_string(), sum, "{text}");
        }
    }
}
