//! The training of autoencoders from beginning to end, stopped, resumed, refused.

use std::path::Path;

use microtome::TextModel;
use microtome::sae::Sae;
use microtome_model::{Config as Sizes, Model, Positions, Processing, RunOptions, Tokenizer, Weights};
use microtome_train::sae::{Kind, SaeEvaluation, SaeLine, SaeObserver, SaeTraining, train_sae};
use microtome_train::{Documents, Error, Part, Reading, ReadingConfig, Start, Vocabulary};

use crate::toy::{sizes, text};

/// A model of random weights that reads the toy text, with a mark between documents.
fn model(seed: u64, n_layers: usize) -> TextModel {
    let json = Vocabulary::characters([text(40)].into_iter(), Documents::Apart);
    let tokenizer = Tokenizer::parse_json(Path::new("tokenizer.json"), json.as_bytes()).unwrap();
    let config = Sizes { n_layers, n_ctx: 16, d_vocab: tokenizer.vocab_size(), ..sizes() };
    let model =
        Model::new(config.clone(), Weights::random(&config, seed, 0.3).unwrap(), Processing::Folded).unwrap();
    TextModel::from_model("toy", model).unwrap().with_tokenizer(tokenizer)
}

/// A run of a few updates in `dir`, on a text of two documents that is written there.
fn config(dir: &Path, architecture: Kind) -> SaeTraining {
    let documents = format!("{}<|endoftext|>{}", text(60), text(90));
    std::fs::write(dir.join("text.txt"), documents).unwrap();
    let mut config = SaeTraining { out: dir.join("run"), ..SaeTraining::default() };
    config.sae.hook = "blocks.1.hook_resid_pre".to_owned();
    config.sae.architecture = architecture;
    config.sae.features = Some(24);
    if architecture == Kind::Topk {
        config.sae.k = Some(4);
    }
    config.data.text = Some(dir.join("text.txt"));
    config.data.context = Some(12);
    config.data.validation = 0.2;
    let training = &mut config.training;
    (training.tokens, training.batch, training.buffer) = (40 * 64, 64, 300);
    (training.warmup, training.learning_rate) = (3, 5e-3);
    training.dead_after = Some(256);
    if architecture == Kind::Standard {
        (training.l1, training.resample_every) = (Some(0.5), Some(6));
    }
    config.evaluation.every = 15;
    config.evaluation.windows = 8;
    config.checkpoints.every = 8;
    config
}

/// Asks to stop after so many updates.
struct StopAfter(u64);

impl SaeObserver for StopAfter {
    fn update(&mut self, _: &SaeLine, _: u64, _: usize) {
        self.0 -= 1;
    }

    fn should_stop(&mut self) -> bool {
        self.0 == 0
    }
}

const KINDS: [Kind; 2] = [Kind::Standard, Kind::Topk];

fn bytes(config: &SaeTraining, name: &str) -> Vec<u8> {
    std::fs::read(config.out.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn a_run_stopped_anywhere_ends_as_one_that_was_not() {
    let model = model(1, 2);
    for architecture in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path(), architecture);
        let whole = train_sae(&model, &config, Start::Continue, &mut ()).unwrap();
        assert!(!whole.stopped && whole.record.step == 40);
        let files =
            ["losses.jsonl", "last/sae_weights.safetensors", "last/cfg.json", "last/training.safetensors"];
        let expected = files.map(|name| bytes(&config, name));
        let picture = String::from_utf8(bytes(&config, "curves.svg")).unwrap();
        config.out = dir.path().join("parts");
        // In the first buffer, at its end, at a checkpoint, after a resampling.
        for steps in [1, 3, 4, 11] {
            assert!(train_sae(&model, &config, Start::Continue, &mut StopAfter(steps)).unwrap().stopped);
        }
        let end = train_sae(&model, &config, Start::Resume, &mut ()).unwrap();
        for (name, expected) in files.into_iter().zip(expected) {
            assert!(bytes(&config, name) == expected, "{architecture:?}: {name} differs");
        }
        let other = String::from_utf8(bytes(&config, "curves.svg")).unwrap();
        assert_eq!(other.replace("of parts", "of run"), picture);
        assert_eq!(end.record.evaluation, whole.record.evaluation);
        // Over is over: once more does nothing.
        let again = train_sae(&model, &config, Start::Continue, &mut ()).unwrap();
        assert_eq!((again.record.step, again.record.evaluation), (40, whole.record.evaluation));
        // Another seed is another run.
        config.seed = 2;
        config.out = dir.path().join("other");
        train_sae(&model, &config, Start::Continue, &mut ()).unwrap();
        assert!(
            bytes(&config, "losses.jsonl") != std::fs::read(dir.path().join("run/losses.jsonl")).unwrap()
        );
    }
}

#[test]
fn a_run_leaves_an_autoencoder_that_loads_and_lines_that_say_what_it_does() {
    let model = model(1, 2);
    for architecture in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), architecture);
        let summary = train_sae(&model, &config, Start::Continue, &mut ()).unwrap();
        let sae = Sae::load(&config.out.join("last")).unwrap();
        sae.check(&model).unwrap();
        assert_eq!(sae.config(), summary.sae.unwrap().config());
        for row in sae.decoder().to_vec2::<f32>().unwrap() {
            let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
            assert!((norm - 1.0).abs() < 1e-5, "{norm}");
        }
        let lines = String::from_utf8(bytes(&config, "losses.jsonl")).unwrap();
        let updates: Vec<SaeLine> =
            lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let found: Vec<SaeEvaluation> =
            lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(updates.iter().map(|line| line.step).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
        assert_eq!(found.iter().map(|line| line.step).collect::<Vec<_>>(), [15, 30, 40]);
        assert!(updates[39].mse < 0.9 * updates[0].mse, "{} {}", updates[0].mse, updates[39].mse);
        // The last evaluation is the saved autoencoder's quality on those windows.
        let reading = Reading::open(&model, &config.data).unwrap();
        let at = Positions::From(reading.first());
        let quality = sae.quality(&model, &reading.measured(8).unwrap(), &at).unwrap();
        let last = found[2];
        assert_eq!((last.l0, last.mse, last.loss_spliced), (quality.l0, quality.mse, quality.losses.spliced));
        assert_eq!(last.recovered_from_mean, quality.losses.recovered_from_mean());
        match architecture {
            Kind::Topk => assert!(updates.iter().all(|line| line.l0 <= 4.0 && line.resampled == 0)),
            Kind::Standard => assert!(updates.iter().all(|line| line.aux == 0.0)),
        }
        assert!(!config.out.join("last/optimiser.safetensors").exists());
    }
}

#[test]
fn half_precision_is_what_the_full_one_rounds_to() {
    let model = model(1, 2);
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), Kind::Topk);
    let full = train_sae(&model, &config, Start::Continue, &mut ()).unwrap().sae.unwrap();
    (config.out, config.checkpoints.dtype) = (dir.path().join("half"), "float16".to_owned());
    train_sae(&model, &config, Start::Continue, &mut ()).unwrap();
    let half = Sae::load(&config.out.join("last")).unwrap();
    let far = (full.decoder() - half.decoder()).unwrap().abs().unwrap().max_all().unwrap();
    let far = far.to_scalar::<f32>().unwrap();
    assert!(far > 0.0 && far < 6e-4, "{far}");
    assert!(bytes(&config, "last/cfg.json").windows(7).any(|part| part == b"float16"));
}

#[test]
fn a_reading_holds_every_token_of_every_document_once() {
    let model = model(1, 2);
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), Kind::Topk);
    let data = ReadingConfig { context: Some(12), ..config.data };
    let reading = Reading::open(&model, &data).unwrap();
    let bos = model.bos().unwrap();
    let parts = [Part::Training, Part::Validation];
    let windows: Vec<Vec<u32>> = parts
        .iter()
        .flat_map(|&part| (0..reading.windows(part)).map(move |i| (part, i)))
        .map(|(part, i)| reading.window(part, i))
        .collect();
    assert!(windows.iter().all(|window| window[0] == bos && (2..=12).contains(&window.len())));
    let read: Vec<u32> = windows.iter().flat_map(|window| &window[1..]).copied().collect();
    let text = std::fs::read_to_string(dir.path().join("text.txt")).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    let documents: Vec<Vec<u32>> =
        text.split("<|endoftext|>").map(|part| tokenizer.encode(part).unwrap()).collect();
    assert_eq!(read, documents.concat());
    assert_eq!(windows.len(), documents.iter().map(|tokens| tokens.len().div_ceil(11)).sum::<usize>());
    let [training, validation] = parts.map(|part| reading.tokens(part));
    assert_eq!(training + validation, read.len());
    assert_eq!(reading.windows(Part::Validation), (windows.len() as f64 * 0.2).round() as usize);
    // Without BOS a window holds one token more.
    let plain = Reading::open(&model, &ReadingConfig { bos: false, ..data }).unwrap();
    assert_eq!((plain.first(), plain.window(Part::Training, 0)), (0, documents[0][..12].to_vec()));
}

#[test]
fn what_cannot_be_trained_is_refused_before_anything_is_written() {
    let model = model(1, 2);
    let dir = tempfile::tempdir().unwrap();
    let refused = |architecture: Kind, change: &dyn Fn(&mut SaeTraining), words: &[&str]| {
        let mut config = config(dir.path(), architecture);
        change(&mut config);
        let message = train_sae(&model, &config, Start::Continue, &mut ()).unwrap_err().to_string();
        for word in words {
            assert!(message.contains(word), "expected `{word}` in: {message}");
        }
        assert!(!config.out.exists());
    };
    let topk = Kind::Topk;
    refused(topk, &|c| c.sae.hook.clear(), &["`sae.hook` is not given", "blocks.3.hook_resid_pre"]);
    refused(topk, &|c| c.sae.hook = "blocks.1.hook_resid_per".into(), &["hook_resid_pre"]);
    refused(topk, &|c| c.sae.hook = "blocks.7.hook_resid_pre".into(), &["7"]);
    refused(topk, &|c| c.sae.hook = "blocks.1.attn.hook_pattern".into(), &["positions first"]);
    refused(topk, &|c| c.sae.k = Some(25), &["`sae.k` is 25", "from 1 to `sae.features`, which is 24"]);
    refused(topk, &|c| c.training.l1 = Some(1.0), &["`training.l1`", "`sae.architecture` is topk"]);
    refused(Kind::Standard, &|c| c.sae.k = Some(3), &["`sae.k`", "`sae.architecture` is standard"]);
    refused(topk, &|c| c.training.buffer = 10, &["`training.buffer` is 10", "at least `training.batch`"]);
    refused(topk, &|c| c.training.tokens = 10, &["`training.tokens` is 10"]);
    refused(topk, &|c| c.training.learning_rate = 0.0, &["`training.learning_rate` is 0"]);
    refused(topk, &|c| c.data.context = Some(17), &["`data.context` is 17", "from 2 to 16"]);
    refused(topk, &|c| c.data.text = None, &["`data.text` or `data.corpus`"]);
    refused(topk, &|c| c.data.text = Some("none.txt".into()), &["cannot read `none.txt`"]);
    refused(topk, &|c| c.checkpoints.dtype = "int8".into(), &["`checkpoints.dtype` is \"int8\""]);
    std::fs::write(dir.path().join("short.txt"), "the cat").unwrap();
    refused(topk, &|c| c.data.text = Some(dir.path().join("short.txt")), &["makes 1 window(s)", "more text"]);
}

#[test]
fn a_run_goes_on_only_with_its_own_settings_text_and_model() {
    let first = model(1, 2);
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), Kind::Topk);
    train_sae(&first, &config, Start::Continue, &mut StopAfter(9)).unwrap();
    let go = |model: &TextModel, config: &SaeTraining| {
        train_sae(model, config, Start::Continue, &mut ()).unwrap_err()
    };
    let error = go(&model(2, 2), &config);
    assert!(matches!(error, Error::ModelChanged { .. }), "{error}");
    config.sae.k = Some(5);
    let error = go(&first, &config);
    assert!(error.to_string().contains("`sae.k` is 4, and here it is 5"), "{error}");
    config.sae.k = Some(4);
    std::fs::write(dir.path().join("text.txt"), text(150)).unwrap();
    let error = go(&first, &config);
    assert!(matches!(error, Error::TextChanged { .. }), "{error}");
    config.out = dir.path().join("none");
    let error = train_sae(&first, &config, Start::Resume, &mut ()).unwrap_err();
    assert!(matches!(error, Error::NothingToResume { .. }), "{error}");
}

#[test]
fn activations_with_heads_are_flattened() {
    let model = model(1, 2);
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), Kind::Topk);
    config.sae.hook = "blocks.0.attn.hook_z".to_owned();
    train_sae(&model, &config, Start::Continue, &mut ()).unwrap();
    let sae = Sae::load(&config.out.join("last")).unwrap();
    let options = RunOptions { reads: vec![sae.hook()], ..RunOptions::default() };
    let run = model.model().run(&[1, 2, 3], &options).unwrap();
    assert_eq!(sae.encode(run.cache.get(sae.hook()).unwrap()).unwrap().features().dims(), [3, 24]);
}
