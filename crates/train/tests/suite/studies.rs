//! The two studies: what they report is what the run's model does.

use microtome::Component;
use microtome_model::{Change, Edit, LoadOptions, Model, Processing, RunOptions, Site, load};
use microtome_train::study::induction::Verdict;
use microtome_train::study::{Ended, HeadRow, ROLE, Role, induction, shakespeare};
use microtome_train::{
    Data, Error, Observer, Part, Start, Telemetry, Texts, Vocabulary, edited_losses_by_position,
    losses_by_position,
};

use crate::toy;

fn whole<R>(ended: Ended<R>) -> R {
    match ended {
        Ended::Whole(report) => report,
        Ended::Stopped(step) => panic!("stopped at {step}"),
    }
}

fn last_model(out: &std::path::Path) -> Model {
    let loaded = load(&out.join("last").to_string_lossy(), &LoadOptions::default(), &mut ()).unwrap();
    Model::new(loaded.config, loaded.weights, Processing::Raw).unwrap()
}

/// The mean loss from position `from` on, one window at a time, without a head.
fn direct_loss(model: &Model, windows: &[Vec<u32>], from: usize, without: &[Component]) -> f64 {
    let edit = |head: &Component| match *head {
        Component::Head { layer, head } => Edit::new(Site::Z.at(layer), Change::Zero).units(vec![head]),
        _ => panic!("{head} is no head"),
    };
    let options = RunOptions { edits: without.iter().map(edit).collect(), ..RunOptions::default() };
    let mut losses = Vec::new();
    for window in windows {
        let run = model.run(&window[..window.len() - 1], &options).unwrap();
        let logits = run.logits().unwrap().to_vec2::<f32>().unwrap();
        for (row, &target) in logits.iter().zip(&window[1..]).skip(from) {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            losses.push(sum.ln() - f64::from(row[target as usize]));
        }
    }
    losses.iter().sum::<f64>() / losses.len() as f64
}

/// Scores, roles and losses of a table against the last telemetry and the model itself.
fn check_heads(heads: &[HeadRow], last: &Telemetry, loss: f64, direct: impl Fn(&[Component]) -> f64) {
    // Rows of several windows in one product are rounded otherwise than those of one.
    const ROUNDING: f64 = 1e-5;
    assert!((loss - direct(&[])).abs() < ROUNDING);
    for row in heads {
        let Component::Head { layer, head } = row.head else { panic!("{} is no head", row.head) };
        let scores = [last.previous[layer][head], last.duplicate[layer][head], last.induction[layer][head]];
        assert_eq!([row.previous, row.duplicate, row.induction], scores);
        let highest = scores.iter().copied().fold(0.0, f64::max);
        assert_eq!(row.role == Role::None, highest < ROLE, "{row:?}");
        let loss_without = direct(&[row.head]);
        assert!((row.loss_without - loss_without).abs() < ROUNDING, "{row:?}, directly {loss_without}");
        assert!((row.change - (row.loss_without - loss)).abs() < ROUNDING, "{row:?}");
    }
    assert!(heads.iter().any(|row| row.change.abs() > 10.0 * ROUNDING), "no head matters: {heads:?}");
}

/// A study short enough for a test: a head forms within 300 steps.
fn small_induction(dir: &std::path::Path) -> microtome_train::Config {
    let mut config = induction::config(&dir.join("run"), 1, 300);
    config.checkpoints.every = 1000;
    config
}

#[test]
fn a_small_induction_study_forms_a_head_and_its_numbers_agree() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_induction(dir.path());
    let report = whole(induction::run(&config, Start::Continue, &mut ()).unwrap());
    // Attention spread evenly gives less than a tenth of this context.
    assert!(report.score > 0.4, "{} {}", report.strongest, report.score);
    assert!(report.second_loss[1] < report.second_loss[0] / 2.0, "{:?}", report.second_loss);
    assert!(report.first_loss[1] > 3.0, "{:?}: random tokens cannot be known", report.first_loss);

    let (first, last) = (&report.timeline[0], report.timeline.last().unwrap());
    assert_eq!((first.step, last.step, report.steps), (0, 300, 300));
    assert_eq!(report.second_loss, [first.second_loss, last.second_loss]);
    assert_eq!(report.first_loss, [first.first_loss, last.first_loss]);
    let model = last_model(&config.out);
    let data = Data::random(64, None, 64, config.seed);
    let windows = data.fixed_repeats(32);
    // The loss on the sequence's first token said again is read at the last one of its first saying.
    let direct = |heads: &[Component]| direct_loss(&model, &windows, 31, heads);
    check_heads(&report.heads, last, report.second_loss[1], direct);

    let [before, after] = report.second_loss;
    for ablated in report.controls.iter().chain([&report.ablated]) {
        let loss = direct(&ablated.heads);
        assert!((ablated.loss - loss).abs() < 1e-5, "{ablated:?}, directly {loss}");
        assert!((ablated.undone - (ablated.loss - after) / (before - after)).abs() < 1e-12);
    }
    for row in &report.heads {
        let is_induction = row.induction >= report.score / 2.0;
        assert_eq!(report.ablated.heads.contains(&row.head), is_induction);
        let is_control = report.controls.iter().any(|control| control.heads == [row.head]);
        assert_eq!(is_control, !is_induction && row.role != Role::Previous, "{row:?}");
    }
    assert!(report.ablated.undone > 0.5, "{:?}", report.ablated);
    assert!(report.ablated.heads.contains(&report.strongest));

    let read = |name: &str| std::fs::read(config.out.join(name)).unwrap();
    let saved: induction::Report = serde_json::from_slice(&read("study.json")).unwrap();
    assert_eq!(saved, report);
    assert!(read("study.png").starts_with(b"\x89PNG") && read("study.svg").starts_with(b"<svg"));

    // Given again, the study finds the run finished and says the same.
    let again = whole(induction::run(&config, Start::Continue, &mut ()).unwrap());
    assert_eq!(induction::Report { elapsed_secs: report.elapsed_secs, ..again }, report);
    verdicts_follow_from_the_numbers(&report);
}

/// Each claim fails on numbers that are against it.
fn verdicts_follow_from_the_numbers(report: &induction::Report) {
    let mut formed = report.clone();
    formed.score = 0.81;
    let mut formation = report.formation.clone().unwrap();
    formation.share_of_fall = 0.51;
    formed.formation = Some(formation.clone());
    formed.ablated.undone = 0.51;
    formed.controls = vec![formed.ablated.clone()];
    formed.controls[0].undone = 0.25;
    assert_eq!(formed.verdicts(), [Verdict::Holds; 4], "{formation:?}");
    let against = |change: &dyn Fn(&mut induction::Report)| {
        let mut report = formed.clone();
        change(&mut report);
        report.verdicts()
    };
    let (open, fails) = (Verdict::Open, Verdict::Fails);
    assert_eq!(against(&|r| r.score = 0.8), [fails, open, open, open]);
    assert_eq!(against(&|r| r.formation = None)[1], fails);
    assert_eq!(against(&|r| r.formation.as_mut().unwrap().share_of_fall = 0.5)[1], fails);
    assert_eq!(against(&|r| r.formation.as_mut().unwrap().steepest = 900..910)[1], fails);
    assert_eq!(against(&|r| r.ablated.undone = 0.5)[2], fails);
    assert_eq!(against(&|r| r.controls[0].undone = 0.26)[3], fails);
    assert_eq!(against(&|r| r.controls.clear())[3], open);
}

fn small_shakespeare(dir: &std::path::Path) -> microtome_train::Config {
    let toy = toy::config(dir);
    let text = dir.join("text.txt");
    let mut config = shakespeare::config(&text, None, &dir.join("run"), 2, 60);
    (config.model.n_layers, config.model.n_heads) = (Some(2), Some(2));
    (config.model.d_model, config.model.n_ctx) = (Some(16), Some(16));
    (config.training.batch, config.training.learning_rate) = (4, 1e-2);
    config.training.warmup = 5;
    (config.evaluation.every, config.evaluation.batches) = (20, toy.evaluation.batches);
    config
}

#[test]
fn the_table_of_a_text_study_is_what_its_model_does_without_each_head() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_shakespeare(dir.path());
    let mut losses = Losses::default();
    let report = whole(shakespeare::run(&config, Start::Continue, &mut losses).unwrap());
    let steps: Vec<u64> = report.timeline.iter().map(|line| line.step).collect();
    assert_eq!((steps, report.steps), (vec![0, 20, 40, 60], 60));
    // The validation loss is that of the run's own last evaluation.
    assert_eq!(losses.0.last().unwrap(), &report.validation_loss);

    let config = config.resolved().unwrap();
    let texts = Texts::open(&config.data).unwrap().unwrap();
    let vocabulary = Vocabulary::read(&config.out.join("tokenizer.json")).unwrap();
    let data = Data::read(&texts, &vocabulary, &config.data, 16, config.seed).unwrap();
    let windows = data.fixed(Part::Validation, 8);
    assert_eq!(report.windows, [8, 16]);
    let model = last_model(&config.out);
    let direct = |heads: &[Component]| direct_loss(&model, &windows, 0, heads);
    check_heads(&report.heads, report.timeline.last().unwrap(), report.validation_loss, direct);
    let heads: Vec<String> = report.heads.iter().map(|row| row.head.to_string()).collect();
    assert_eq!(heads, ["L0H0", "L0H1", "L1H0", "L1H1"]);
    let changes: Vec<Option<f64>> = report.heads.iter().map(|row| Some(row.change)).collect();
    assert_eq!(report.heatmap().values, changes);
    report.heatmap().check().unwrap();

    let text = toy::text(400);
    let word = text.split_whitespace().next().unwrap();
    assert!(report.samples.len() == 3 && report.samples.iter().all(|sample| sample.starts_with(word)));
    let read = |name: &str| std::fs::read(config.out.join(name)).unwrap();
    let saved: shakespeare::Report = serde_json::from_slice(&read("study.json")).unwrap();
    assert_eq!(saved, report);
    assert!(read("study.png").starts_with(b"\x89PNG") && read("study.svg").starts_with(b"<svg"));
    shakespeare::run(&config, Start::Fresh, &mut Stop).unwrap();
    assert!(!config.out.join("study.json").exists(), "a run that is thrown away leaves no report");
}

/// Validation losses of a run.
#[derive(Default)]
struct Losses(Vec<f64>);

impl Observer for Losses {
    fn evaluation(&mut self, evaluation: &microtome_train::Evaluation) {
        self.0.push(evaluation.validation_loss);
    }
}

/// Stops a run at once.
struct Stop;

impl Observer for Stop {
    fn should_stop(&mut self) -> bool {
        true
    }
}

#[test]
fn a_stopped_study_says_where_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = small_shakespeare(dir.path());
    assert_eq!(shakespeare::run(&config, Start::Continue, &mut Stop).unwrap(), Ended::Stopped(0));
    assert!(!config.out.join("study.json").exists());
    let report = whole(shakespeare::run(&config, Start::Continue, &mut ()).unwrap());
    let mut elsewhere = config.clone();
    elsewhere.out = dir.path().join("elsewhere");
    let other = whole(shakespeare::run(&elsewhere, Start::Continue, &mut ()).unwrap());
    assert_eq!((report.heads, report.samples), (other.heads, other.samples));
}

#[test]
fn texts_that_cannot_be_studied_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = small_shakespeare(dir.path());
    let run = |config: &microtome_train::Config| {
        shakespeare::run(config, Start::Continue, &mut ()).expect_err("no text to study")
    };
    let text = dir.path().join("short.txt");
    config.data.text = Some(text.clone());
    assert!(matches!(run(&config), Error::Io { path, .. } if path == text));
    assert!(!config.out.exists());
    std::fs::write(&text, "").unwrap();
    assert!(matches!(run(&config), Error::TooShort { tokens: 0, .. }));
    std::fs::write(&text, "to be or not to b").unwrap();
    assert!(matches!(run(&config), Error::TooShort { .. }));
    config.evaluation.telemetry = false;
    assert!(matches!(run(&config), Error::Setting { key: "evaluation.telemetry", .. }));
    let mut induction = small_induction(dir.path());
    induction.data.vocab = None;
    let refused = induction::run(&induction, Start::Continue, &mut ()).expect_err("no random tokens");
    assert!(matches!(refused, Error::Setting { key: "data.vocab", .. }));
}

#[test]
fn an_edit_that_changes_nothing_leaves_every_loss_as_it_is() {
    let learner = toy::learner(&microtome_train::TrainingConfig::default());
    let windows = toy::windows(20, 4);
    let plain = losses_by_position(learner.model(), &windows).unwrap();
    let edited = |change: Change| {
        edited_losses_by_position(learner.model(), &windows, &[Edit::new(Site::Z.at(0), change)]).unwrap()
    };
    // Attention in one piece is rounded otherwise than step by step.
    let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(same(&plain, &edited(Change::Scale(1.0))));
    assert!(!same(&plain, &edited(Change::Zero)));
}
