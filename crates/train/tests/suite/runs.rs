//! Runs from beginning to end, stopped, resumed, refused.

use std::path::Path;

use microtome_model::{LoadOptions, Loaded, Processing, load};
use microtome_train::{
    Config, Error, Evaluation, LossLine, Observer, Progress, Start, Telemetry, TokenizerConfig,
    losses_by_position, mean, train,
};

use crate::toy::config;

fn loaded(dir: &Path) -> Loaded {
    load(dir.to_str().unwrap(), &LoadOptions::default(), &mut ()).unwrap()
}

fn read(config: &Config, name: &str) -> String {
    std::fs::read_to_string(config.out.join(name)).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Asks to stop after so many updates.
struct StopAfter(u64);

impl Observer for StopAfter {
    fn update(&mut self, _: &Progress) {
        self.0 -= 1;
    }

    fn should_stop(&mut self) -> bool {
        self.0 == 0
    }
}

#[test]
fn a_run_leaves_losses_telemetry_pictures_and_two_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.evaluation.samples = vec![microtome_train::SampleConfig { prompt: "the ".to_owned(), tokens: 5 }];
    let summary = train(&config, Start::Continue, &mut ()).unwrap();
    assert!(!summary.stopped && summary.step == 12);
    let files = [
        ".lock",
        "best",
        "config.toml",
        "heads.png",
        "heads.svg",
        "last",
        "losses.jsonl",
        "losses.png",
        "losses.svg",
        "record.json",
        "samples.txt",
        "telemetry.jsonl",
        "tokenizer.json",
    ];
    assert_eq!(names(&config.out), files);
    let losses = read(&config, "losses.jsonl");
    let updates: Vec<LossLine> = losses.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let evaluations: Vec<Evaluation> =
        losses.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(updates.iter().map(|line| line.step).collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>());
    assert_eq!(updates[11].tokens, 12 * 4 * 16);
    assert_eq!(evaluations.iter().map(|line| line.step).collect::<Vec<_>>(), [0, 5, 10, 12]);
    assert!(evaluations[3].validation_loss < evaluations[0].validation_loss);
    let telemetry: Vec<Telemetry> =
        read(&config, "telemetry.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(telemetry.len(), 4);
    assert!(telemetry.iter().all(|line| line.previous.len() == 1 && line.induction[0].len() == 2));
    assert_eq!(read(&config, "samples.txt").matches("step ").count(), 4);
    assert!(read(&config, "heads.svg").contains("L0H1"));
}

#[test]
fn the_checkpoint_loads_as_the_model_that_was_trained() {
    let dir = tempfile::tempdir().unwrap();
    for (attention_only, norm, tied, bias) in [
        (false, true, true, true),
        (false, true, false, false),
        (true, true, true, true),
        (false, false, false, true),
        (true, false, true, false),
    ] {
        let mut config = config(dir.path());
        let model = &mut config.model;
        (model.attention_only, model.norm) = (Some(attention_only), Some(norm));
        (model.tied, model.bias) = (Some(tied), Some(bias));
        let summary = train(&config, Start::Fresh, &mut ()).unwrap();
        let checkpoint = loaded(&config.out.join("last"));
        assert_eq!(checkpoint.config, *summary.model.config());
        let family = if attention_only || !norm { "transformerlens" } else { "gpt2" };
        assert_eq!(checkpoint.source.family, family);
        assert_eq!(checkpoint.weight_hash, summary.record.weight_hash);
        let text = checkpoint.tokenizer.unwrap().encode("the cat").unwrap();
        assert_eq!(text, summary.tokenizer.unwrap().encode("the cat").unwrap());
        assert!(checkpoint.assumptions.is_empty(), "{:?}", checkpoint.assumptions);
        assert_eq!(names(&config.out.join("best")), ["config.json", "model.safetensors", "tokenizer.json"]);
    }
}

#[test]
fn a_run_stopped_anywhere_ends_as_one_that_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.training.dropout = 0.1;
    config.training.accumulate = 2;
    config.data.repeats = Some(0.25);
    let whole = train(&config, Start::Continue, &mut ()).unwrap();
    let files = ["losses.jsonl", "telemetry.jsonl", "losses.svg", "heads.svg"];
    let expected = files.map(|name| read(&config, name));
    config.out = dir.path().join("parts");
    for steps in [1, 4, 3] {
        assert!(train(&config, Start::Continue, &mut StopAfter(steps)).unwrap().stopped);
    }
    let end = train(&config, Start::Resume, &mut ()).unwrap();
    for (name, expected) in files.into_iter().zip(expected) {
        // Pictures are titled with the folder's name.
        assert_eq!(read(&config, name).replace("of parts", "of run"), expected, "{name}");
    }
    assert_eq!(end.record.weight_hash, whole.record.weight_hash);
    assert_eq!(end.best, whole.best);
    // Over is over: once more does nothing.
    let again = train(&config, Start::Continue, &mut ()).unwrap();
    assert_eq!((again.step, again.evaluation), (12, None));
    assert_eq!(again.record.weight_hash, whole.record.weight_hash);
}

#[test]
fn a_replacement_broken_off_at_any_moment_leaves_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    train(&config, Start::Continue, &mut StopAfter(6)).unwrap();
    let [last, new, old] = ["last", "last.new", "last.old"].map(|name| config.out.join(name));
    let resumed = || train(&config, Start::Resume, &mut StopAfter(1)).unwrap().step;
    // While the new one is written.
    std::fs::create_dir(&new).unwrap();
    std::fs::write(new.join("model.safetensors"), "half").unwrap();
    assert_eq!(resumed(), 7);
    // Between the two names.
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir(to).unwrap();
        for name in names(from) {
            std::fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    };
    copy(&last, &new);
    std::fs::rename(&last, &old).unwrap();
    assert_eq!(resumed(), 8);
    // Before the old one is gone.
    copy(&last, &old);
    std::fs::remove_file(old.join("model.safetensors")).unwrap();
    assert_eq!(resumed(), 9);
    assert!(!new.exists() && !old.exists());
}

#[test]
fn the_first_loss_from_a_checkpoint_is_that_of_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let first = train(&config, Start::Continue, &mut ()).unwrap();
    let checkpoint = config.out.join("last");
    config.model = Default::default();
    config.model.init_from = Some(checkpoint.to_str().unwrap().to_owned());
    config.out = dir.path().join("second");
    let second = train(&config, Start::Continue, &mut ()).unwrap();
    let line: Evaluation =
        serde_json::from_str(read(&config, "losses.jsonl").lines().next().unwrap()).unwrap();
    assert_eq!(line.step, 0);
    assert_eq!(line.validation_loss, first.evaluation.unwrap().validation_loss);
    assert!(second.evaluation.unwrap().validation_loss < line.validation_loss);
    // A shorter context is cut from it.
    config.model.n_ctx = Some(8);
    config.out = dir.path().join("third");
    assert_eq!(train(&config, Start::Continue, &mut ()).unwrap().model.config().n_ctx, 8);
    config.model.n_ctx = Some(32);
    config.out = dir.path().join("fourth");
    let error = train(&config, Start::Continue, &mut ()).unwrap_err().to_string();
    assert!(error.contains("`model.n_ctx` is 32") && error.contains("at most 16"), "{error}");
}

#[test]
fn a_model_that_grows_says_at_first_what_it_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.model.attention_only = Some(true);
    let first = train(&config, Start::Continue, &mut ()).unwrap();
    let (out, n_layers) = (config.out.clone(), first.model.config().n_layers);
    config.model = Default::default();
    config.model.init_from = Some(out.join("last").to_str().unwrap().to_owned());
    (config.model.n_layers, config.model.attention_only) = (Some(n_layers + 2), Some(false));
    config.model.init_std = Some(0.1);
    config.out = dir.path().join("second");
    let second = train(&config, Start::Continue, &mut ()).unwrap();
    let sizes = second.model.config();
    assert_eq!((sizes.n_layers, sizes.d_mlp()), (n_layers + 2, 4 * sizes.d_model));
    let line: Evaluation =
        serde_json::from_str(read(&config, "losses.jsonl").lines().next().unwrap()).unwrap();
    let before = first.evaluation.unwrap().validation_loss;
    assert!((line.validation_loss - before).abs() < 1e-6, "{before} {line:?}");
    assert!(second.evaluation.unwrap().validation_loss < before);
    // What was added has learnt to write.
    let block = second.model.weights().blocks.last().unwrap();
    for map in [&block.out, &block.mlp.as_ref().unwrap().output] {
        assert!(
            map.unpacked().unwrap().w.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() > 0.0
        );
    }
    for (n_layers, attention_only, words) in
        [(Some(1), None, "at least 3"), (None, Some(true), "false, or nothing")]
    {
        let mut config = config.clone();
        config.out = dir.path().join("third");
        config.model = Default::default();
        config.model.init_from = Some(dir.path().join("second/last").to_str().unwrap().to_owned());
        (config.model.n_layers, config.model.attention_only) = (n_layers, attention_only);
        let error = train(&config, Start::Continue, &mut ()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn repeated_random_tokens_need_no_text() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.data = Default::default();
    config.data.vocab = Some(20);
    config.model.attention_only = Some(true);
    let summary = train(&config, Start::Continue, &mut ()).unwrap();
    assert_eq!(summary.model.config().d_vocab, 20);
    assert!(loaded(&config.out.join("best")).tokenizer.is_none());
    train(&config, Start::Resume, &mut ()).unwrap();
}

#[test]
fn a_corpus_trains_with_byte_pairs_and_its_checkpoint_knows_its_bos() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.data.text = None;
    config.data.corpus = Some(microtome_train::CorpusConfig { seed: 1, documents: 300, favour: None });
    let bpe = microtome_train::BpeConfig { vocab: 270, min_frequency: 2 };
    config.data.tokenizer = Some(TokenizerConfig::Bpe { bpe });
    config.data.windows = microtome_train::Windows::Documents;
    config.model.n_ctx = Some(8);
    let summary = train(&config, Start::Continue, &mut ()).unwrap();
    let checkpoint = loaded(&config.out.join("best"));
    assert_eq!(checkpoint.config.d_vocab, 270);
    assert!(checkpoint.bos.is_some() && checkpoint.bos == summary.tokenizer.unwrap().bos());
}

#[test]
fn another_run_in_the_folder_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let first = config(dir.path());
    train(&first, Start::Continue, &mut StopAfter(2)).unwrap();
    let mut other = first.clone();
    other.training.learning_rate = 0.5;
    let error = train(&other, Start::Continue, &mut ()).unwrap_err().to_string();
    for word in ["`training.learning_rate` is 0.001", "here it is 0.5", "--fresh"] {
        assert!(error.contains(word), "{error}");
    }
    // More steps at the same rates are the same run.
    let mut longer = first.clone();
    longer.training.decay_steps = Some(12);
    longer.training.steps = 14;
    assert_eq!(train(&longer, Start::Continue, &mut ()).unwrap().step, 14);
    std::fs::write(dir.path().join("text.txt"), crate::toy::text(401)).unwrap();
    longer.training.steps = 15;
    let error = train(&longer, Start::Continue, &mut ()).unwrap_err();
    assert!(matches!(error, Error::TextChanged { .. }), "{error}");
    other.training.learning_rate = 1e-3;
    assert_eq!(train(&other, Start::Fresh, &mut ()).unwrap().step, 12);
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    std::fs::create_dir(&config.out).unwrap();
    std::fs::write(config.out.join("thesis.txt"), "years of work").unwrap();
    for start in [Start::Continue, Start::Resume, Start::Fresh] {
        let error = train(&config, start, &mut ()).unwrap_err();
        assert!(matches!(error, Error::NotARun { .. }), "{error}");
    }
    assert_eq!(names(&config.out), ["thesis.txt"]);
    // In a run's own folder only the run's files go.
    std::fs::remove_file(config.out.join("thesis.txt")).unwrap();
    train(&config, Start::Continue, &mut StopAfter(1)).unwrap();
    std::fs::write(config.out.join("thesis.txt"), "years of work").unwrap();
    train(&config, Start::Fresh, &mut StopAfter(1)).unwrap();
    assert!(config.out.join("thesis.txt").exists());
}

#[test]
fn resuming_needs_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let error = train(&config(dir.path()), Start::Resume, &mut ()).unwrap_err().to_string();
    assert!(error.contains("no checkpoint to resume from"), "{error}");
}

#[test]
fn settings_may_change_until_there_is_something_to_lose() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.model.n_ctx = Some(4000);
    assert!(matches!(train(&config, Start::Continue, &mut ()), Err(Error::TooShort { .. })));
    config.model.n_ctx = Some(16);
    train(&config, Start::Continue, &mut ()).unwrap();
    // The last checkpoint may be deleted, to save room; the run is still one.
    std::fs::remove_dir_all(config.out.join("last")).unwrap();
    config.model.n_ctx = Some(15);
    assert!(matches!(train(&config, Start::Continue, &mut ()), Err(Error::OtherRun { .. })));
}

#[test]
fn two_runs_do_not_write_to_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    /// Starts the run a second time from within it.
    struct Twice(Config, Option<Error>);
    impl Observer for Twice {
        fn should_stop(&mut self) -> bool {
            self.1 = train(&self.0, Start::Continue, &mut ()).err();
            true
        }
    }
    let mut twice = Twice(config.clone(), None);
    train(&config, Start::Continue, &mut twice).unwrap();
    assert!(matches!(twice.1, Some(Error::InUse { .. })), "{:?}", twice.1);
}

#[test]
fn a_run_that_diverges_says_so_and_keeps_its_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.training = microtome_train::TrainingConfig {
        learning_rate: 1e30,
        min_learning_rate: Some(1e30),
        warmup: 0,
        ..config.training
    };
    config.evaluation.every = 1000;
    config.checkpoints.every = 1;
    let error = train(&config, Start::Continue, &mut ()).unwrap_err();
    let Error::NotFinite { step, checkpoint, .. } = &error else { panic!("{error}") };
    let text = error.to_string();
    assert!(
        text.contains(&format!("at step {step}")) && text.contains("lower training.learning_rate"),
        "{text}"
    );
    if let Some(kept) = checkpoint {
        let state: serde_json::Value = serde_json::from_str(&read(&config, "last/state.json")).unwrap();
        assert_eq!(state["step"], *kept);
    }
}

#[test]
fn evaluating_all_of_the_validation_part_measures_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.evaluation.batches = microtome_train::Batches::All(microtome_train::All::All);
    let summary = train(&config, Start::Continue, &mut ()).unwrap();
    let ids = summary.tokenizer.unwrap().encode(&crate::toy::text(400)).unwrap();
    let part = &ids[summary.record.training_tokens..];
    let windows: Vec<Vec<u32>> = part.windows(17).step_by(16).map(<[u32]>::to_vec).collect();
    let expected = mean(&losses_by_position(&summary.model, &windows).unwrap());
    let found = summary.evaluation.unwrap().validation_loss;
    assert_eq!(found, expected);
    assert_eq!(summary.model.processing(), Processing::Raw);
}

#[test]
fn a_prompt_that_cannot_be_read_is_refused_before_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.evaluation.samples = vec![microtome_train::SampleConfig { prompt: "QQ".to_owned(), tokens: 5 }];
    assert!(train(&config, Start::Continue, &mut ()).is_err());
    assert!(!config.out.join("last").exists());
}
