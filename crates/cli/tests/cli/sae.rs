//! `microtome sae`.

use microtome::corpus_scan::CorpusScan;
use microtome::model::{Device, Processing, Tensor, to_safetensors};
use microtome::sae::{Sae, SaeChoice};
use microtome::{Method, Quantity, TextModel};
use serde_json::{Value, json};

use crate::bench::{Bench, CLEAN, CORRUPT, D_MODEL};

/// Features of the autoencoder of the tests.
pub const D_SAE: usize = 30;

/// Writes an autoencoder of the bench's model in SAELens's format.
pub fn write_sae(bench: &Bench, name: &str, hook: &str) {
    let config = json!({"architecture": "jumprelu", "d_in": D_MODEL, "d_sae": D_SAE, "metadata": {"hook_name": hook,
        "neuronpedia_id": "tiny/1-res", "context_size": 64, "model_from_pretrained_kwargs":
        {"center_writing_weights": true}}});
    write(bench, name, &config, ("threshold", wave(5.0, &[D_SAE]).abs().unwrap()));
}

/// Writes a transcoder of the bench's second MLP.
fn write_transcoder(bench: &Bench, name: &str) {
    let config = json!({"architecture": "skip_transcoder", "d_in": D_MODEL, "d_out": D_MODEL, "d_sae": D_SAE,
        "metadata": {"hook_name": "blocks.1.ln2.hook_normalized", "hook_name_out": "blocks.1.hook_mlp_out",
        "model_from_pretrained_kwargs": {"fold_ln": true, "center_writing_weights": true}}});
    write(bench, name, &config, ("W_skip", wave(6.0, &[D_MODEL, D_MODEL])));
}

/// Writes a folder with a configuration, the tensors all architectures have, and one that this one has.
fn write(bench: &Bench, name: &str, config: &Value, own: (&str, Tensor)) {
    let folder = bench.path(name);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("cfg.json"), config.to_string()).unwrap();
    let tensors = [
        ("W_enc", wave(1.0, &[D_MODEL, D_SAE])),
        ("b_enc", wave(2.0, &[D_SAE])),
        ("W_dec", wave(3.0, &[D_SAE, D_MODEL])),
        ("b_dec", wave(4.0, &[D_MODEL])),
        own,
    ];
    let tensors: Vec<_> = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
    std::fs::write(folder.join("sae_weights.safetensors"), to_safetensors(&tensors).unwrap()).unwrap();
}

fn wave(seed: f64, shape: &[usize]) -> Tensor {
    let values = (0..shape.iter().product::<usize>())
        .map(|i| ((i as f64 * 0.737 + seed).sin() * (i as f64 * 0.131 + seed).cos()) as f32);
    Tensor::from_vec(values.collect(), shape, &Device::Cpu).unwrap()
}

/// The bench with an autoencoder in `sae/`.
pub fn bench() -> Bench {
    let bench = Bench::new();
    write_sae(&bench, "sae", "blocks.1.hook_resid_pre");
    bench
}

#[test]
fn an_autoencoder_says_what_it_is() {
    let bench = bench();
    let text = bench.run(&["sae", "info", "sae"]);
    for part in ["jumprelu", "blocks.1.hook_resid_pre", "30 features of 12 numbers", "folded", "64 tokens"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let found: Value = serde_json::from_str(&bench.run(&["sae", "info", "sae", "--json"])).unwrap();
    assert_eq!(found["neuronpedia"], "https://www.neuronpedia.org/tiny/1-res");
    assert_eq!(found["hash"], Sae::load(&bench.path("sae")).unwrap().hash());
}

#[test]
fn features_are_shown_as_the_library_has_them() {
    let bench = bench();
    let args = [
        "sae", "features", CLEAN, "--sae", "sae", "-t", " Mary", "-f", " John", "--top", "3", "--watch", "7",
    ];
    let found = bench.run_record(&args);
    let expected = found.experiment.run_quietly(&model(&bench)).unwrap();
    assert_eq!(expected.differences(&found, 1e-6), Vec::<String>::new());
    let Method::Features(asked) = &found.experiment.method else { panic!("another method") };
    assert_eq!((asked.top, &asked.watch[..]), (Some(3), &[7][..]));
    let report = found.results.features.as_ref().unwrap();
    assert!(report.prompts[0].positions[1].top.len() <= 3);
    assert!(found.table("logit_diff", Quantity::Change).is_some());
    let text = bench.run(&args);
    for part in
        ["L0", "explained variance", "loss recovered", "strongest features", "feature 7", "reconstruction"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    // A record with an autoencoder in it is asked again.
    bench.run(&["sae", "features", CLEAN, "--sae", "sae", "--record", "record.json"]);
    assert!(bench.run(&["replay", "record.json"]).contains("all numbers agree"));
    bench.run(&["sae", "features", CLEAN, "--sae", "sae", "--no-losses", "--at", "2.."]);
}

/// The model of the bench with its autoencoder open, as experiments name it.
fn model(bench: &Bench) -> TextModel {
    let sae = Sae::load(&bench.path("sae")).unwrap().named(SaeChoice::from("sae"));
    bench.model(Processing::Folded).with_sae(sae).unwrap()
}

#[test]
fn every_question_about_features_is_answered_as_the_library_answers_it() {
    let bench = bench();
    let about = ["--sae", "sae", "-t", " Mary", "-f", " John"];
    let pair = ["--corrupt", CORRUPT, "--change", "patch"];
    let asked: [(&str, &[&str], &[&str]); 9] = [
        ("ablate", &["--features", "3,7"], &["set to 0", "logit_diff"]),
        ("sweep", &["--most", "5"], &["feature", "what the features do not explain stays"]),
        ("sweep", &["--change", "scale=-1", "--drop-error", "--at", "3.."], &["is dropped"]),
        ("sweep", &[&pair[..], &["--by-position", "--direction", "noise"]].concat(), &["corrupt"]),
        ("edit", &["--feature", "3=2.5,7*=0.5,9+=1"], &["feature 7: multiplied by 0.5"]),
        ("attribute", &["--check", "4"], &["estimated", "correlation"]),
        ("attribute", &["--direct"], &["frozen"]),
        ("attribute", &[&pair[..], &["--by-position", "--top", "6"]].concat(), &["W_dec"]),
        ("features", &["--top", "2"], &["L0"]),
    ];
    for (command, more, parts) in asked {
        let args = [&["sae", command, CLEAN][..], &about, more].concat();
        let found = bench.run_record(&args);
        let expected = found.experiment.run_quietly(&model(&bench)).unwrap();
        assert_eq!(expected.differences(&found, 1e-6), Vec::<String>::new(), "{args:?}");
        let text = bench.run(&args);
        for part in parts {
            assert!(text.contains(part), "{args:?}: {part}: {text}");
        }
    }
    let text = bench.run(&["sae", "feature", "7", "--sae", "sae", "--nearest", "3"]);
    for part in ["logits per unit of activation", "nearest features", "neuronpedia.org/tiny/1-res/7"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let steered = ["steer", CLEAN, "--sae", "sae", "--feature", "7", "--strength", "2", "-t", " Mary"];
    let found = bench.run_record(&steered);
    let Method::Steering(asked) = &found.experiment.method else { panic!("another method") };
    assert_eq!(asked.layer, 1);
    let text = bench.run(&["generate", CLEAN, "--sae", "sae", "--feature", "7=5", "--max", "3"]);
    assert!(text.contains("feature 7: set to 5"), "{text}");
}

#[test]
fn a_transcoder_says_where_it_reads_and_writes_and_is_asked_as_an_autoencoder_is() {
    let bench = Bench::new();
    write_transcoder(&bench, "sae");
    let text = bench.run(&["sae", "info", "sae"]);
    let (reads, writes) = ("blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out");
    let line = |name: &str, value: &str| format!("{name:12} {value}");
    for part in [
        line("kind", "skip_transcoder"),
        line("reads at", reads),
        line("writes at", writes),
        line("sizes", "30 features of 12 numbers that write 12"),
        line("weights", "folded"),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let found: Value = serde_json::from_str(&bench.run(&["sae", "info", "sae", "--json"])).unwrap();
    assert_eq!((&found["hook"], &found["hook_out"]), (&json!(reads), &json!(writes)));
    let about = ["--sae", "sae", "-t", " Mary", "-f", " John"];
    let asked: [(&str, &[&str], &str); 5] = [
        (
            "features",
            &["--top", "2"],
            "30 features at blocks.1.ln2.hook_normalized, written at blocks.1.hook_mlp_out",
        ),
        ("sweep", &["--most", "5", "--drop-error"], "is dropped"),
        ("edit", &["--feature", "3=2.5,7*=0.5"], "feature 7: multiplied by 0.5"),
        ("attribute", &["--check", "4"], "correlation"),
        ("attribute", &["--direct"], "frozen"),
    ];
    for (command, more, part) in asked {
        let args = [&["sae", command, CLEAN][..], &about, more].concat();
        let found = bench.run_record(&args);
        let expected = found.experiment.run_quietly(&model(&bench)).unwrap();
        assert_eq!(expected.differences(&found, 1e-6), Vec::<String>::new(), "{args:?}");
        let text = bench.run(&args);
        assert!(text.contains(part), "{args:?}: {part}: {text}");
    }
    let text = bench.run(&["generate", CLEAN, "--sae", "sae", "--feature", "7=5", "--max", "3"]);
    assert!(text.contains("feature 7: set to 5") && text.contains("written at"), "{text}");
    bench.run(&["steer", CLEAN, "--sae", "sae", "--feature", "7", "--strength", "2", "--layer", "1"]);
    bench.run(&["sae", "feature", "7", "--sae", "sae"]);
    let wrong = bench.refusal(&["sae", "features", CLEAN, "--sae", "sae", "--weights", "raw"]);
    assert!(wrong.contains(writes) && wrong.contains("load the model with folded weights"), "{wrong}");
}

#[test]
fn a_scan_of_features_is_saved_gone_on_with_and_read_by_the_feature() {
    let bench = bench();
    let text = [CLEAN, CORRUPT].map(|text| text.repeat(20)).concat();
    bench.write("text.txt", &text);
    let scan = |more: &[&str]| {
        let args = ["sae", "scan", "text.txt", "--sae", "sae", "--window", "16", "--batch", "2"];
        bench.command().args([&args[..], more].concat()).output().unwrap()
    };
    assert!(scan(&["--out", "whole.json"]).status.success());
    assert!(scan(&["--out", "parts.json", "--limit", "100"]).status.success());
    assert!(scan(&["--out", "parts.json", "--resume"]).status.success());
    assert_eq!(bench.read("whole.json"), bench.read("parts.json"));
    let whole: CorpusScan = serde_json::from_str(&bench.read("whole.json")).unwrap();
    assert_eq!((whole.features.len(), whole.sae.as_ref().unwrap().d_sae), (D_SAE, D_SAE));
    // The largest activation over the text is that of its passage, read on its own.
    let best = whole.features.iter().max_by(|a, b| a.max.total_cmp(&b.max)).unwrap();
    assert_eq!(f64::from(best.passages[0].activation), best.max);
    let shown = bench.run(&["sae", "feature", &best.feature, "--sae", "sae", "--scan", "whole.json"]);
    assert!(shown.contains("% of tokens") && shown.contains('['), "{shown}");

    write_sae(&bench, "other", "blocks.0.hook_resid_pre");
    let args = [
        "sae",
        "scan",
        "text.txt",
        "--sae",
        "other",
        "--window",
        "16",
        "--batch",
        "2",
        "--out",
        "whole.json",
    ];
    let refused = bench.command().args([&args[..], &["--resume"]].concat()).output().unwrap();
    // The same tensors at another hook: the activations are others.
    assert!(!refused.status.success(), "another autoencoder goes on with a scan");
    let neurons =
        ["neurons", "scan", "text.txt", "--neurons", "L1N3", "--out", "neurons.json", "--window", "16"];
    bench.run(&neurons);
    let wrong = bench.refusal(&["sae", "feature", "7", "--sae", "sae", "--scan", "neurons.json"]);
    assert!(wrong.contains("of neurons"), "{wrong}");
}

#[test]
fn a_piped_text_a_file_and_a_text_in_an_experiment_give_the_same_numbers() {
    let bench = bench();
    let text = [CLEAN, CORRUPT].map(|text| text.repeat(9)).join("<|endoftext|>");
    bench.write("text.txt", &text);
    let flags = ["--sae", "sae", "--features", "12,7", "--top", "3", "--context", "4"];
    let scan = |file: &str, out: &str| {
        let args = [&["sae", "scan", file][..], &flags, &["--out", out]].concat();
        let output = bench.command().args(args).write_stdin(text.clone()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        CorpusScan::read(&bench.path(out)).unwrap()
    };
    let (file, piped) = (scan("text.txt", "file.json"), scan("-", "piped.json"));
    assert_eq!(
        (&file.features, file.tokens, file.text_bytes),
        (&piped.features, piped.tokens, piped.text_bytes)
    );
    assert!(file.features.iter().any(|summary| !summary.passages.is_empty()), "no test otherwise");
    let asked = json!({"model": "model", "prompts": [], "method": {"text_scan": {"text": text, "sae": "sae",
        "features": [12, 7], "top": 3, "context": 4}}});
    bench.write("asked.json", &asked.to_string());
    let record = bench.run_record(&["run", "asked.json"]);
    let found = record.results.text_scan.as_ref().unwrap();
    assert_eq!((&found.features, found.tokens), (&file.features, file.tokens));
    assert_eq!(found.sae.as_ref().unwrap().hash, file.sae.unwrap().hash);
}

#[test]
fn wrong_autoencoders_are_refused_with_the_reason() {
    let bench = bench();
    let refused = |args: &[&str]| bench.refusal(&[&["sae", "features", CLEAN][..], args].concat());
    assert!(refused(&[]).contains("`demo`"));
    assert!(refused(&["--sae", "missing"]).contains("names no sparse autoencoder"));
    assert!(refused(&["--sae", "./missing"]).contains("cfg.json"));
    assert!(refused(&["--sae", "sae", "--weights", "raw"]).contains("load the model with folded weights"));
    assert!(refused(&["--sae", "sae", "--watch", "30"]).contains("feature 30 does not exist"));
    assert!(refused(&["--sae", "gpt2-small-res-jb/blocks.1.hook_resid_pre"]).contains("HF_HUB_OFFLINE"));
    assert!(refused(&["--sae", "gpt2-small-res-jb/blocks.1"]).contains("blocks.1.hook_resid_pre"));
    write_sae(&bench, "far", "blocks.2.hook_resid_pre");
    assert!(refused(&["--sae", "far"]).contains("layer 2"));
    let bad = |args: &[&str]| bench.refusal(&[&["sae"][..], args, &["--sae", "sae"]].concat());
    assert!(bad(&["sweep", CLEAN, "--corrupt", CORRUPT]).contains("--change patch"));
    assert!(bad(&["sweep", CLEAN, "--change", "halve"]).contains("scale=2"));
    assert!(bad(&["edit", CLEAN, "--feature", "7"]).contains("305=8"));
    assert!(bad(&["ablate", CLEAN, "--features", "30"]).contains("feature 30"));
    write_sae(&bench, "wide", "blocks.1.mlp.hook_post");
    assert!(refused(&["--sae", "wide"]).contains("reads 12 numbers"));
}
