//! The model inside the program, and what is said about it.

use microtome::method::ablate::{Ablate, Targets};
use microtome::method::change::Replacement;
use microtome::model::{LoadOptions, Positions, Processing, demo};
use microtome::{Answer, Bos, Experiment, Method, Prompt, Text, TextModel};
use microtome_train::circuits::find_circuits;
use microtome_train::corpus::Task;
use microtome_train::tasks::score;

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
