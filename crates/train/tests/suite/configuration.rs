//! TOML to a run.

use std::path::Path;

use microtome_train::{Batches, BpeConfig, Config, TokenizerConfig};

fn parse(text: &str) -> Result<Config, String> {
    let config = Config::parse(text, Path::new("run.toml")).map_err(|e| e.to_string())?;
    config.resolved().map_err(|e| e.to_string())
}

fn refused(text: &str, words: &[&str]) {
    let message = parse(text).unwrap_err();
    for word in words {
        assert!(message.contains(word), "expected `{word}` in: {message}");
    }
}

#[test]
fn the_example_says_the_defaults() {
    let mut example = parse(Config::EXAMPLE).unwrap();
    let default = parse("data.text = \"input.txt\"").unwrap();
    assert_eq!(example.evaluation.samples.len(), 1);
    example.evaluation.samples.clear();
    assert_eq!(example, default);
}

#[test]
fn what_is_written_reads_back_the_same() {
    for text in [
        Config::EXAMPLE,
        "data.vocab = 50",
        "[data]\ncorpus = { seed = 7, documents = 100 }\ntokenizer = { bpe = { vocab = 300 } }\n\
         [evaluation]\nbatches = \"all\"",
    ] {
        let config = parse(text).unwrap();
        let written = toml_text(&config);
        assert_eq!(parse(&written).unwrap(), config, "{written}");
    }
}

fn toml_text(config: &Config) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    config.write(&path).unwrap();
    std::fs::read_to_string(&path).unwrap()
}

#[test]
fn every_form_of_a_value_is_read() {
    let config = parse(
        "[data]\ntext = \"a\"\ntokenizer = { bpe = { vocab = 3000, min_frequency = 200 } }\n\
         [evaluation]\nbatches = 3\n[model]\nattention_only = true",
    )
    .unwrap();
    let bpe = BpeConfig { vocab: 3000, min_frequency: 200 };
    assert_eq!(config.data.tokenizer, Some(TokenizerConfig::Bpe { bpe }));
    assert_eq!(config.evaluation.batches, Batches::Count(3));
    assert_eq!((config.model.d_mlp, config.model.attention_only), (None, Some(true)));
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_what_there_is() {
    refused("seed = 1\n[training]\nstepps = 5", &["run.toml", "line 3", "stepps", "`steps`"]);
    refused("[modell]", &["line 1", "modell", "`model`"]);
    refused("[data]\ntokenizer = { bpe = { vocab = 300, size = 2 } }", &["line 2", "characters"]);
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_its_line() {
    refused("[training]\nsteps = -1", &["line 2", "-1"]);
    refused("[training]\nbatch = \"many\"", &["line 2", "expected a whole number"]);
    refused("[model]\nnorm = 1", &["line 2", "true or false"]);
    refused("[model]\nactivation = \"gelu2\"", &["line 2", "gelu_new"]);
    refused("[evaluation]\nbatches = \"some\"", &["line 2", "\"all\""]);
    refused("[data]\nwindows = \"docs\"", &["line 2", "documents"]);
    refused("seed = 1\nseed = 2", &["line 2", "duplicate key"]);
}

#[test]
fn a_value_that_does_not_fit_is_refused_with_what_would() {
    let with = |text: &str| format!("data.text = \"a\"\n{text}");
    for (text, words) in [
        ("training.steps = 0", ["`training.steps` is 0", "1 or more"]),
        ("training.batch = 0", ["`training.batch` is 0", "1 or more"]),
        ("model.n_layers = 0", ["`model.n_layers` is 0", "1 or more"]),
        ("model.n_heads = 5", ["`model.n_heads` is 5", "divisor of `model.d_model`, which is 128"]),
        ("model.n_ctx = 1", ["`model.n_ctx` is 1", "2 or more"]),
        ("training.learning_rate = 0.0", ["`training.learning_rate` is 0", "above 0"]),
        ("training.learning_rate = nan", ["`training.learning_rate` is NaN", "above 0"]),
        ("training.min_learning_rate = 1.0", ["`training.min_learning_rate` is 1", "at most"]),
        ("training.beta2 = 1.0", ["`training.beta2` is 1", "below 1"]),
        ("training.dropout = 1.0", ["`training.dropout` is 1", "below 1"]),
        ("evaluation.every = 0", ["`evaluation.every` is 0", "1 or more"]),
        ("checkpoints.every = 0", ["`checkpoints.every` is 0", "1 or more"]),
        ("data.validation = 1.0", ["`data.validation` is 1", "below 1"]),
        ("data.repeats = 1.5", ["`data.repeats` is 1.5", "from 0 to 1"]),
        ("data.vocab = 50", ["`data.vocab` is 50", "nothing"]),
        ("data.corpus = { seed = 1, documents = 9 }", ["`data.text`", "not both"]),
        ("data.tokenizer = { bpe = { vocab = 100 } }", ["vocab` is 100", "257 or more"]),
        ("model = { attention_only = true, d_mlp = 4 }", ["`model.d_mlp` is 4", "attention_only"]),
    ] {
        refused(&with(text), &words);
    }
    refused("seed = 3", &["`data` is empty", "data.text"]);
    refused("data.vocab = 9\nevaluation.batches = \"all\"", &["`evaluation.batches` is \"all\"", "a number"]);
    refused("data.vocab = 9\ndata.repeats = 0.5", &["`data.repeats` is 0.5", "1 where there is no text"]);
}
