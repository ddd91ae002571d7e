use std::collections::{HashMap, HashSet};

use super::draw::{kept_back, pair_kept_back};
use super::template::{LENGTHS, about_tokens};
use super::words::{ANIMALS, FEELINGS, FEMALE, MALE, THINGS};
use super::*;

const SEED: u64 = 2;

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

#[test]
fn a_seed_and_a_number_make_a_document() {
    let forwards: Vec<_> = documents(SEED, 50).collect();
    let backwards: Vec<_> = (0..50).rev().map(|index| document(SEED, index)).collect();
    assert!(forwards.iter().eq(backwards.iter().rev()));
    assert_ne!(forwards, documents(SEED + 1, 50).collect::<Vec<_>>());
}

#[test]
fn tasks_have_their_shares() {
    let n = 20_000;
    for (task, share) in SHARES {
        let found = documents(SEED, n).filter(|document| document.task == task).count();
        let expected = n as usize * share / 100;
        // Three standard deviations of the largest share are 0.9 % of all documents.
        assert!(found.abs_diff(expected) < n as usize / 100, "{task:?}: {found} of {n}");
    }
    assert_eq!(SHARES.iter().map(|(_, share)| share).sum::<usize>(), 100);
    assert_eq!(SHARES.map(|(task, _)| task), Task::ALL);
}

#[test]
fn names_of_tasks_are_the_same_in_files() {
    for task in Task::ALL {
        assert_eq!(serde_json::to_value(task).expect("a task is a string"), task.name());
    }
}

#[test]
fn documents_are_clean_and_neither_short_nor_long() {
    for document in documents(SEED, 20_000) {
        let text = &document.text;
        let allowed = |c: char| c.is_ascii_alphanumeric() || " \n.,?!'\":;+=-".contains(c);
        assert!(text.chars().all(allowed), "{text}");
        assert!(!text.contains("  ") && !text.contains(" \n") && !text.contains("\n "), "{text}");
        assert_eq!(text.trim(), text);
        // A sentence may come on top where a document was too short.
        let n = about_tokens(text);
        assert!(LENGTHS.contains(&n), "{n}: {text}");
    }
}

#[test]
fn names_that_are_kept_apart_never_meet() {
    let names: HashSet<&str> = FEMALE.into_iter().chain(MALE).collect();
    for document in documents(SEED, 20_000) {
        let mut there: Vec<&str> = words(&document.text).filter(|word| names.contains(word)).collect();
        there.sort_unstable();
        there.dedup();
        for (i, a) in there.iter().enumerate() {
            for b in &there[i + 1..] {
                assert!(!pair_kept_back(a, b), "{a} and {b} in {}", document.text);
            }
        }
    }
}

#[test]
fn statements_years_and_feelings_that_are_kept_back_are_never_said() {
    let (animals, things) = (HashSet::from(ANIMALS), HashSet::from(THINGS));
    let names: HashSet<&str> = FEMALE.into_iter().chain(MALE).collect();
    for document in documents(SEED, 20_000) {
        for sentence in document.text.split(['.', '\n', '?']) {
            let words: Vec<&str> = words(sentence).collect();
            if let ["The", animal, .., "the", thing] = words[..]
                && words.len() <= 6
                && animals.contains(animal)
                && things.contains(thing)
                && super::words::SPOTS.contains(&words[2..words.len() - 2].join(" ").as_str())
            {
                assert!(!kept_back(&[animal, thing]), "{sentence}");
            }
            if document.task == Task::Pronouns {
                let is_feeling = |word: &str| FEELINGS.contains(&word);
                for (name, feeling) in words.iter().filter(|word| names.contains(**word)).flat_map(|name| {
                    words.iter().filter(|word| is_feeling(word)).map(move |feeling| (name, feeling))
                }) {
                    assert!(!kept_back(&[name, feeling]), "{sentence}");
                }
            }
        }
    }
}

#[test]
fn later_years_are_later_and_held_out_nouns_and_years_never_meet() {
    let is_year = |word: &&str| word.len() == 4 && word.bytes().all(|b| b.is_ascii_digit());
    let mut n = 0;
    for document in documents(SEED, 20_000).filter(|document| document.task == Task::GreaterThan) {
        for sentence in document.text.split(['.', '\n']) {
            let years: Vec<&str> = words(sentence).filter(is_year).collect();
            let [start, end] = years[..] else { continue };
            n += 1;
            assert!(start < end && start[..2] == end[..2], "{sentence}");
            assert!((2..=97).contains(&start[2..].parse::<u8>().expect("two digits")), "{sentence}");
            let noun = words(sentence).nth(1).expect("a noun");
            assert!(!kept_back(&[noun, start[2..].trim_start_matches('0')]), "{sentence}");
        }
    }
    assert!(n > 1000, "{n} spans");
}

#[test]
fn a_favoured_task_gets_a_third_and_its_share_of_the_rest() {
    let n = 6_000;
    let found = |task: Task| {
        (0..n).filter(|&index| favouring(Some(Task::Sums), SEED, index).task == task).count() as f64
            / n as f64
    };
    // 4 % of two thirds and a third; the standard error is 0.6 %.
    assert!((found(Task::Sums) - 0.36).abs() < 0.025, "{}", found(Task::Sums));
    assert!((found(Task::IndirectObject) - 0.16).abs() < 0.02, "{}", found(Task::IndirectObject));
}

#[test]
fn prompts_that_are_held_out_are_in_no_document() {
    let text: Vec<String> = documents(SEED, 20_000).map(|document| document.text).collect();
    let text = text.join("\n");
    for task in Task::ALL {
        // Sums and facts are asked again, in the latter case after words of their own.
        if matches!(task, Task::Sums | Task::Facts) {
            continue;
        }
        for TestPrompt { prompt, .. } in held_out(task, SEED, 100) {
            assert!(!text.contains(&prompt), "{prompt}");
        }
    }
}

#[test]
fn held_out_prompts_end_right_before_an_answer_that_corrupt_changes() {
    for task in Task::ALL {
        let prompts = held_out(task, SEED, 200);
        assert_eq!(prompts.len(), if task == Task::Stories { 0 } else { 200 });
        assert_eq!(prompts, held_out(task, SEED, 200));
        for TestPrompt { prompt, answer, wrong, corrupt } in prompts {
            assert_eq!(prompt.trim(), prompt);
            assert!(!wrong.is_empty() && !wrong.contains(&answer), "{prompt}: {answer}, {wrong:?}");
            assert_eq!(answer.starts_with(' '), task != Task::GreaterThan, "{answer}");
            assert!(!answer.trim().contains(' '), "{answer}");
            assert_ne!(corrupt.as_ref(), Some(&prompt));
            if matches!(task, Task::IndirectObject | Task::Repeats) {
                assert!(prompt.contains(&*answer) || prompt.starts_with(answer.trim()), "{prompt}:{answer}");
                assert!(wrong.iter().all(|word| prompt.contains(word.trim())), "{prompt}: {wrong:?}");
            }
            if task == Task::IndirectObject {
                assert_eq!(prompt.matches(wrong[0].trim()).count(), 2, "{prompt}:{answer}");
                assert_eq!(words(&prompt).filter(|word| *word == answer.trim()).count(), 1, "{prompt}");
            }
        }
    }
}

#[test]
fn held_out_years_are_of_the_eighteenth_century() {
    for YearPrompt { prompt, start } in held_out_years(SEED, 100) {
        assert!(prompt.ends_with(" to the year 17"), "{prompt}");
        assert!(prompt.contains(&format!("from the year 17{start:02} ")), "{prompt}");
    }
}

#[test]
fn well_known_prompts_are_within_the_words_of_the_corpus() {
    let mut known: HashMap<String, usize> = HashMap::new();
    for document in documents(SEED, 20_000) {
        for word in words(&document.text) {
            *known.entry(word.to_owned()).or_default() += 1;
        }
    }
    // What is rarer is made up, or has a capital letter in a random sequence.
    known.retain(|_, n| *n > 15);
    for prompt in [
        "When Mary and John went to the store, John gave a drink to Mary",
        "The cat sat on the mat. The dog sat on the rug.",
        "Who wrote Pride and Prejudice? Jane Austen",
        "Paris is the capital of France",
        "The keys to the cabinet are",
    ] {
        for word in words(prompt) {
            assert!(known.contains_key(word), "{word}");
        }
    }
    assert!(known.len() < 1800, "{} words", known.len());
}
