//! Tasks: what is made for a vocabulary fits it, and says what it claims to say.

use microtome::model::{Config, LoadOptions, Model, Processing, Tokenizer, Weights};
use microtome::task::{Lengths, Made, Make, TASKS, check};
use microtome::{Answer, Bos, Error, Prompt, Text, TextModel, pairs_as_csv, pairs_as_json, read_pairs};

use crate::laws::toy;

fn demo() -> TextModel {
    TextModel::load("demo", Processing::Folded, &LoadOptions::default(), &mut ()).unwrap()
}

/// GPT-2's vocabulary without its weights, which no task looks at.
fn gpt2_vocabulary() -> TextModel {
    let config = Config {
        n_layers: 1,
        n_heads: 1,
        d_model: 2,
        d_head: 2,
        d_vocab: 50257,
        n_ctx: 64,
        mlp: None,
        norm: None,
    };
    let weights = Weights::random(&config, 0, 1.0).unwrap();
    let model = Model::new(config, weights, Processing::Raw).unwrap();
    TextModel::from_model("vocabulary", model).unwrap().with_tokenizer(Tokenizer::gpt2())
}

fn make(task: &str, count: usize, seed: u64) -> Make {
    Make { task: task.to_owned(), count, corruption: None, lengths: Lengths::Any, seed }
}

fn made(task: &str, model: &TextModel) -> Made {
    make(task, 30, 1).run(model, Bos::Prepend).unwrap()
}

fn text(text: &Text) -> &str {
    match text {
        Text::Text(text) => text,
        Text::Ids(ids) => panic!("{ids:?} is no text"),
    }
}

fn answer(answers: &[Answer]) -> &str {
    match answers {
        [Answer::Text(text)] => text.trim(),
        other => panic!("{other:?} is not one text"),
    }
}

#[test]
fn every_task_makes_aligned_pairs_with_answers_of_one_token_for_both_vocabularies() {
    for model in [demo(), gpt2_vocabulary()] {
        for task in TASKS {
            let Made { prompts, dropped } = made(task.name, &model);
            assert_eq!(prompts.len(), 30, "{}", task.name);
            for prompt in &prompts {
                let clean = model.tokens(&prompt.clean, Bos::Prepend).unwrap();
                let corrupt = model.tokens(prompt.corrupt.as_ref().unwrap(), Bos::Prepend).unwrap();
                assert_eq!(clean.ids.len(), corrupt.ids.len(), "{}: {:?}", task.name, clean.labels);
                assert_ne!(clean.ids, corrupt.ids, "{}: a pair differs", task.name);
                let ids = |answers: &[Answer]| -> Vec<u32> {
                    answers.iter().map(|answer| model.answer(answer, "target").unwrap()).collect()
                };
                let (right, wrong) = (ids(&prompt.answers), ids(&prompt.wrong_answers));
                assert!(!right.is_empty() && !wrong.is_empty());
                assert!(right.iter().all(|id| !wrong.contains(id)), "{}: no token is both", task.name);
            }
            for dropped in dropped {
                let ids = model.tokenizer().unwrap().encode(&dropped.word).unwrap();
                assert!(ids.len() > 1 && ids.len() == dropped.tokens.len(), "{dropped:?}");
            }
        }
    }
}

#[test]
fn the_demo_model_has_every_word_and_gpt2_tells_which_it_has_not() {
    let demo = demo();
    assert!(TASKS.iter().all(|task| made(task.name, &demo).dropped.is_empty()));
    let dropped = made("facts", &gpt2_vocabulary()).dropped;
    assert!(dropped.iter().all(|dropped| dropped.word.starts_with(' ')), "{dropped:?}");
}

#[test]
fn the_same_seed_makes_the_same_pairs_and_another_seed_others() {
    let demo = demo();
    for task in TASKS {
        let of = |seed| make(task.name, 10, seed).run(&demo, Bos::Prepend).unwrap().prompts;
        assert_eq!(of(3), of(3), "{}", task.name);
        assert_ne!(of(3), of(4), "{}", task.name);
    }
    let more = make("ioi", 20, 3).run(&demo, Bos::Prepend).unwrap().prompts;
    assert_eq!(more[..10], make("ioi", 10, 3).run(&demo, Bos::Prepend).unwrap().prompts);
}

#[test]
fn indirect_objects_come_first_and_second_in_turn_and_each_corruption_changes_what_it_says() {
    let demo = demo();
    for corruption in ["abc", "third", "swapped"] {
        let make = Make { corruption: Some(corruption.to_owned()), ..make("ioi", 12, 5) };
        for (index, prompt) in make.run(&demo, Bos::Prepend).unwrap().prompts.iter().enumerate() {
            let (object, subject) = (answer(&prompt.answers), answer(&prompt.wrong_answers));
            let (clean, corrupt) = (text(&prompt.clean), text(prompt.corrupt.as_ref().unwrap()));
            // By words: one name may begin another.
            let places = |text: &str, name: &str| -> Vec<usize> {
                let words = text.split(|c: char| !c.is_alphabetic()).enumerate();
                words.filter(|(_, word)| *word == name).map(|(place, _)| place).collect()
            };
            let count = |text: &str, name: &str| places(text, name).len();
            assert_eq!((count(clean, object), count(clean, subject)), (1, 2), "{clean}");
            let object_first = places(clean, object)[0] < places(clean, subject)[0];
            assert_eq!(object_first, index % 2 == 0, "ABBA and BABA in turn: {clean}");
            let expected = match corruption {
                "third" => (1, 1),
                "swapped" => (2, 1),
                _ => (0, 0),
            };
            assert_eq!(
                (count(corrupt, object), count(corrupt, subject)),
                expected,
                "{corruption}: {corrupt}"
            );
        }
    }
}

#[test]
fn later_years_are_right_and_all_others_wrong() {
    let demo = demo();
    for prompt in made("greater-than", &demo).prompts {
        let clean = text(&prompt.clean);
        let start: usize = clean.split(" 17").nth(1).unwrap()[..2].parse().unwrap();
        let years = |answers: &[Answer]| -> Vec<usize> {
            answers
                .iter()
                .map(|answer| match answer {
                    Answer::Text(text) => text.parse().unwrap(),
                    Answer::Id(id) => panic!("{id} is no year"),
                })
                .collect()
        };
        assert_eq!(years(&prompt.answers), (start + 1..100).collect::<Vec<_>>(), "{clean}");
        assert_eq!(years(&prompt.wrong_answers), (0..=start).collect::<Vec<_>>(), "{clean}");
        assert!(text(prompt.corrupt.as_ref().unwrap()).contains(" 1701 "));
    }
}

#[test]
fn induction_needs_no_words() {
    let toy = toy();
    let made = made("induction", &toy);
    let Text::Ids(clean) = &made.prompts[0].clean else { panic!("token ids") };
    // 23 tokens hold two passages of 10 within a context of 20.
    assert_eq!(clean.len(), 19);
    assert_eq!(clean[..9], clean[10..]);
    assert_eq!(made.prompts[0].answers, [Answer::Id(clean[9])]);
    let none = make("ioi", 5, 1).run(&toy, Bos::Prepend);
    assert!(matches!(none, Err(Error::NoTokenizer { .. })));
}

#[test]
fn prompts_of_one_length_are_made_where_asked_for() {
    let demo = demo();
    for task in TASKS {
        let make = Make { lengths: Lengths::Same, ..make(task.name, 20, 2) };
        let prompts = make.run(&demo, Bos::Prepend).unwrap().prompts;
        let length = |prompt: &Prompt| demo.tokens(&prompt.clean, Bos::Prepend).unwrap().ids.len();
        assert!(prompts.iter().all(|prompt| length(prompt) == length(&prompts[0])), "{}", task.name);
    }
}

#[test]
fn files_of_either_kind_ask_the_same_of_a_model() {
    let demo = demo();
    let home = tempfile::tempdir().unwrap();
    let prompts = make("greater-than", 5, 1).run(&demo, Bos::Prepend).unwrap().prompts;
    let read = |name: &str, text: String| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_pairs(&path).unwrap()
    };
    assert_eq!(read("pairs.json", pairs_as_json(&prompts)), prompts);
    let from_csv = read("pairs.csv", pairs_as_csv(&prompts, &demo).unwrap());
    let asked = |prompt: &Prompt| {
        let ids = |answers: &[Answer]| -> Vec<u32> {
            answers.iter().map(|answer| demo.answer(answer, "target").unwrap()).collect()
        };
        let clean = prompt.clean.clone();
        (clean, prompt.corrupt.clone(), ids(&prompt.answers), ids(&prompt.wrong_answers))
    };
    assert_eq!(from_csv.iter().map(asked).collect::<Vec<_>>(), prompts.iter().map(asked).collect::<Vec<_>>());
    let ids = made("induction", &demo).prompts;
    let message = pairs_as_csv(&ids, &demo).unwrap_err().to_string();
    assert!(message.contains("prompt 1") && message.contains("JSON"), "{message}");
}

#[test]
fn pairs_of_ones_own_that_cannot_be_asked_about_are_told_with_the_reason() {
    let demo = demo();
    let good = make("ioi", 1, 1).run(&demo, Bos::Prepend).unwrap().prompts.remove(0);
    let longer = Prompt { corrupt: Some(Text::Text("Mary gave".to_owned())), ..good.clone() };
    let two_tokens = Prompt { answers: vec![Answer::Text(" Marys".to_owned())], ..good.clone() };
    let no_wrong = Prompt { wrong_answers: vec![], ..good.clone() };
    let alone = Prompt { corrupt: None, ..good.clone() };
    let (kept, refused) = check(vec![longer, good.clone(), two_tokens, no_wrong, alone], &demo, Bos::Prepend);
    assert_eq!(kept, [good]);
    let reasons = ["same number of tokens", "` Marys` is", "a wrong answer is missing", "the corrupt prompt"];
    let numbers: Vec<usize> = refused.iter().map(|pair| pair.number).collect();
    assert_eq!(numbers, [1, 3, 4, 5]);
    for (pair, reason) in refused.iter().zip(reasons) {
        assert!(pair.reason.contains(reason), "{}", pair.reason);
    }
}

#[test]
fn what_does_not_exist_is_refused_with_what_does() {
    let demo = demo();
    let message = |make: Make| make.run(&demo, Bos::Prepend).unwrap_err().to_string();
    assert!(message(make("io", 5, 1)).contains("did you mean `ioi`?"));
    let other = Make { corruption: Some("acb".to_owned()), ..make("ioi", 5, 1) };
    assert!(message(other).contains("abc, third, swapped"));
    assert!(message(make("ioi", 0, 1)).contains("1 to 10000"));
}
