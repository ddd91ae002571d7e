//! The model inside the program, and what is said about it.

use microtome::examples::EXAMPLES;
use microtome::method::ablate::{Ablate, Targets};
use microtome::method::change::Replacement;
use microtome::model::{LoadOptions, Positions, Precision, Processing, demo};
use microtome::{Answer, Bos, Experiment, Method, Prompt, Text, TextModel};
use microtome_train::circuits::find_circuits;
use microtome_train::corpus::{Task, favouring};
use microtome_train::tasks::score;
use microtome_train::{Data, RepeatLoss};

fn model() -> TextModel {
    TextModel::load(demo::NAME, Processing::Folded, &LoadOptions::default(), &mut ()).unwrap()
}

#[test]
fn what_the_card_says_of_a_cut_is_what_an_experiment_measures() {
    let model = model();
    let circuits = find_circuits(&model, 11, 20).unwrap();
    let text = |text: &str| Answer::Text(text.to_owned());
    let prompts = microtome_train::corpus::held_out(Task::IndirectObject, 11, 20);
    let experiment = Experiment {
        model: demo::NAME.to_owned(),
        weights: Processing::Folded,
        precision: Precision::F32,
        bos: Bos::Prepend,
        prompts: prompts
            .iter()
            .map(|test| Prompt {
                clean: Text::Text(test.prompt.clone()),
                corrupt: None,
                answers: vec![text(&test.answer)],
                wrong_answers: vec![text(&test.wrong[0])],
            })
            .collect(),
        method: Method::Ablate(Ablate {
            clamp: None,
            targets: Targets::Together(circuits.without.heads.clone()),
            with: Replacement::Zero,
            at: Positions::All,
        }),
        metrics: vec!["logit_diff".parse().unwrap()],
        read_at: None,
        seed: 0,
    };
    let record = experiment.run_quietly(&model).unwrap();
    let mean = |run: usize| {
        let of = |report: &microtome::PromptReport| report.runs[run].metrics[0].value;
        record.results.prompts.iter().map(of).sum::<f64>() / prompts.len() as f64
    };
    assert!((mean(0) - circuits.without.before).abs() < 1e-3, "{} {}", mean(0), circuits.without.before);
    assert!((mean(1) - circuits.without.after).abs() < 1e-3, "{} {}", mean(1), circuits.without.after);
}

#[test]
fn scores_of_tasks_repeat_with_their_seed_and_count_what_was_asked() {
    let model = model();
    for task in Task::ALL.into_iter().filter(|task| *task != Task::Stories) {
        let first = score(&model, task, 3, 12).unwrap();
        assert_eq!(first, score(&model, task, 3, 12).unwrap());
        assert_eq!(first.asked, 12);
        assert!(first.probability > 0.0 && first.probability < 1.0);
        let missed = first.asked - first.right;
        assert_eq!(first.mistakes.len(), missed.min(5), "{task:?}");
    }
}

#[test]
fn it_does_what_its_corpus_teaches_on_prompts_that_are_not_in_it() {
    let model = model();
    for (task, least) in [
        (Task::IndirectObject, 0.97),
        (Task::Facts, 0.97),
        (Task::GreaterThan, 0.90),
        (Task::Agreement, 0.95),
    ] {
        let score = score(&model, task, 5, 300).unwrap();
        assert!(score.accuracy() >= least, "{task:?}: {} of {}", score.right, score.asked);
    }
    let sizes = model.config();
    let data = Data::random(sizes.d_vocab, model.bos(), sizes.n_ctx, 5);
    let repeats = RepeatLoss::measure(model.model(), &data).unwrap();
    assert!(repeats.second < repeats.first / 3.0, "{repeats:?}");
}

#[test]
fn it_completes_every_example() {
    let model = model();
    let clean = EXAMPLES.iter().map(|example| (example.prompt, example.target));
    let corrupt = EXAMPLES.iter().filter_map(|example| Some((example.corrupt?, example.foil?)));
    for (prompt, answer) in clean.chain(corrupt).chain([("In which city is Red Square?", " Moscow")]) {
        let ids = model.tokens(&Text::Text(prompt.to_owned()), Bos::Prepend).unwrap().ids;
        let run = model.model().run(&ids, &Default::default()).unwrap();
        let logits = run.logits().unwrap().to_vec2::<f32>().unwrap();
        let top = microtome::metric::most_probable(logits.last().unwrap(), 1)[0];
        assert_eq!(model.text(&[top]), answer, "{prompt}");
    }
}

#[test]
fn heads_in_it_play_the_known_parts() {
    let circuits = find_circuits(&model(), 5, 60).unwrap();
    let best = circuits.scores.induction.iter().flatten().copied().fold(0.0, f64::max);
    assert!(best > 0.5, "{best}");
    let without = &circuits.without;
    assert!(without.before > 3.0 && without.after < without.before / 2.0, "{without:?}");
}

/// A generator that writes otherwise would leave the model and its card without the text they speak of.
#[test]
fn its_corpus_is_still_the_one_it_read() {
    let hash = |favour: Option<Task>| {
        let mut hasher = blake3::Hasher::new();
        for index in 0..3_000 {
            hasher.update(favouring(favour, 7, index).text.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    };
    assert_eq!(hash(None)[..16], *"276021a7668fff5b");
    assert_eq!(hash(Some(Task::IndirectObject))[..16], *"c3613ede362fe893");
}
