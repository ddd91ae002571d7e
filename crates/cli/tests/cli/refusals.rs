//! What cannot be answered is refused: not with success, not with half an output, and with a line that
//! says what was wrong and what to do.

use crate::bench::{Bench, CLEAN, CORRUPT};

/// A refusal that says all of `words`.
fn refused(args: &[&str], words: &[&str]) {
    refused_in(&Bench::new(), args, words);
}

fn refused_in(bench: &Bench, args: &[&str], words: &[&str]) {
    let complaint = bench.refusal(args);
    for word in words {
        assert!(complaint.contains(word), "{args:?}: expected `{word}` in: {complaint}");
    }
}

#[test]
fn a_two_token_target_is_refused_with_its_pieces() {
    let pieces = ["` Marys` is 2 tokens (` Mary`, `s`)", "for example ` Mary`"];
    refused(&["ablate", CLEAN, "-t", " Marys", "--json=a.json"], &pieces);
}

#[test]
fn a_metric_that_needs_tokens_says_which() {
    refused(&["ablate", CLEAN, "--metric", "prob"], &["metric `prob` needs an answer", "--target"]);
    let both = ["ablate", CLEAN, "-t", " Mary", "--metric", "logit_diff"];
    refused(&both, &["metric `logit_diff` needs a wrong answer", "--foil"]);
}

#[test]
fn a_misspelt_name_is_refused_with_the_nearest() {
    refused(&["measure", CLEAN, "--metric", "entrpy"], &["`entrpy`", "did you mean `entropy`?"]);
    let hook = ["edit", CLEAN, "-e", "blocks.1.attn.hook_zz=zero"];
    refused(&hook, &["hook `blocks.1.attn.hook_zz` not found", "`blocks.1.attn.hook_z`"]);
    let site = ["patch", CLEAN, "-c", CORRUPT, "--site", "resid_prae"];
    refused(&site, &["site `resid_prae`", "`resid_pre`"]);
}

#[test]
fn a_part_that_does_not_exist_is_refused_with_the_limit() {
    refused(&["ablate", CLEAN, "--heads", "1.3"], &["L1H3 does not exist", "heads 0 to 2"]);
    refused(&["ablate", CLEAN, "--heads", "m7"], &["m7 does not exist", "layers 0 to 1"]);
    refused(&["ablate", CLEAN, "--heads", "L0N999"], &["L0N999", "neurons 0 to 47"]);
    refused(&["ablate", CLEAN, "--heads", "head3"], &["`head3` is no component", "8.11"]);
    let path = |from: &'static str, to: &'static str, words: &[&str]| {
        refused(&["path-patch", CLEAN, "-c", CORRUPT, "--from", from, "--to", to], words);
    };
    path("9.0", "logits", &["a9.h0 does not exist", "layers 0 to 1"]);
    let find = ["circuit", "find", CLEAN, "-c", CORRUPT, "-t", " Mary", "-f", " John"];
    let circuit = |more: &[&'static str], words: &[&str]| refused(&[&find[..], more].concat(), words);
    circuit(&["--by", "acdc"], &["--threshold 0.1"]);
    circuit(&["--threshold", "0.1"], &["--by acdc"]);
    circuit(&["--by", "acdc", "--threshold", "0"], &["a threshold is 0", "above 0"]);
    circuit(&["--size", "0"], &["a size is 0"]);
    circuit(&["--by", "acdc", "--threshold", "0.1", "--resume", "none.json"], &["cannot read `none.json`"]);
    let judge = ["circuit", "judge", CLEAN, "-c", CORRUPT, "-t", " Mary", "-f", " John"];
    refused(&judge, &["no circuit", "--circuit FILE", "--found RECORD", "--edges NAME=EDGES"]);
    let edges = |edges| [&judge[..], &["--edges", edges]].concat();
    refused(&edges("input->logits"), &["has no name", "--edges NAME=EDGES"]);
    refused(&edges("a=input->nowhere"), &["`nowhere` is no node", "a5.h1"]);
    path("heads", "1.0", &["`1.0` is no input", "L8H6.q"]);
    path("heads", "a7.h0<q>", &["a7.h0 does not exist"]);
    path("1.0", "0.1.q", &["a receiver above a sender is missing"]);
    refused(&["ablate", CLEAN, "--at", "99"], &["position 99 does not exist", "positions 0 to"]);
    refused(&["measure", CLEAN, "--read-at", "99"], &["position 99 does not exist"]);
}

#[test]
fn positions_and_layers_that_are_no_numbers_are_refused_with_what_was_expected() {
    refused(&["ablate", CLEAN, "--at", "-1"], &["`-1` names no positions", "last"]);
    refused(&["ablate", CLEAN, "--sweep", "neurons", "--layers", "0, x"], &["` x` is no layer"]);
    refused(&["edit", CLEAN, "-e", "blocks.0.attn.hook_pattern=cut:a-1"], &["`a`", "QUERY-KEY"]);
}

#[test]
fn files_of_a_circuit_that_cannot_be_are_refused_before_the_run() {
    let pair = |more: &[&str], words: &[&str]| {
        refused(&[&["edges", CLEAN, "-c", CORRUPT, "-t", " Mary"], more].concat(), words);
    };
    pair(&["--top", "9"], &["--top says how large", "--graph"]);
    pair(&["--graph", "g.svg", "--top", "0"], &["--top 0", "at least one"]);
    pair(&["--graph", "g", "--dot", "g"], &["--graph and --dot both write `g`"]);
    pair(&["--eap", "g.json", "--json=g.json"], &["--json and --eap both write `g.json`"]);
    pair(&["--dot", "-"], &["--dot writes a file"]);
    let bench = Bench::new();
    let pairs = format!(
        r#"{{"prompts": [{0}, {0}]}}"#,
        format!(r#"{{"clean": "{CLEAN}", "corrupt": "{CORRUPT}", "answers": [" Mary"]}}"#)
    );
    std::fs::write(bench.path("two.json"), pairs).unwrap();
    let file = bench.path("two.json");
    let asked = ["edges", "--pairs", file.to_str().unwrap(), "--attribution-graph", "g.json"];
    refused_in(&bench, &asked, &["of one prompt", "has 2"]);
}

#[test]
fn prompts_that_do_not_fit_are_refused() {
    refused(&["measure", "", "--no-bos"], &["the prompt has no tokens"]);
    refused(&["measure"], &["no prompt", "--pairs"]);
    refused(&["measure", &"a".repeat(100)], &["101 tokens", "at most 64"]);
    refused(&["measure", "1,2,99999", "--ids"], &["token id 99999 does not exist"]);
    refused(&["measure", "1,x", "--ids"], &["`x` is no token id"]);
    let lengths = ["patch", "a Mary gave", "-c", "a Mary gave the", "-t", " to"];
    refused(&lengths, &["same number of tokens", "4 and 5", "[ gave][ the]"]);
    refused(&["patch", CLEAN, "-t", " to"], &["the corrupt prompt is missing", "--corrupt"]);
}

#[test]
fn text_for_a_model_without_a_tokenizer_is_refused_with_how_to_give_ids() {
    let bench = Bench::new();
    std::fs::remove_file(bench.path("model/vocab.json")).unwrap();
    std::fs::remove_file(bench.path("model/merges.txt")).unwrap();
    refused_in(&bench, &["measure", CLEAN], &["no tokenizer", "84,55,23 and add --ids"]);
    let text = bench.run(&["ablate", "1,2,3", "--ids", "-t", "4"]);
    assert!(text.contains("[#1][#2][#3]"), "{text}");
}

#[test]
fn an_option_that_would_do_nothing_is_refused() {
    refused(&["ablate", CLEAN, "-f", " John"], &["--target"]);
    refused(&["ablate", CLEAN, "-c", CORRUPT], &["--with resample"]);
    refused(&["ablate", CLEAN, "--per-position"], &["--with mean"]);
    refused(&["ablate", CLEAN, "--layers", "1"], &["--sweep neurons"]);
    refused(&["generate", CLEAN, "--with", "mean"], &["--cut"]);
    refused(&["generate", CLEAN, "--csv"], &["--csv shows a table"]);
    refused(&["lens", CLEAN, "--rows", "contributions", "--norm", "final"], &["take frozen"]);
    refused(&["lens", CLEAN, "-t", " Mary", "--threshold", "2"], &["above 0 and at most 1"]);
    let through = ["patch", CLEAN, "-c", CORRUPT, "--site", "resid_pre", "--at", "3"];
    refused(&through, &["goes through all of them"]);
}

#[test]
fn outputs_that_cannot_be_written_are_refused_before_anything_runs() {
    refused(&["ablate", CLEAN, "--png", "nowhere/a.png", "--json=a.json"], &["cannot write `nowhere/a.png`"]);
    refused(&["ablate", CLEAN, "--record", "."], &["cannot write `.`", "folder"]);
    refused(&["ablate", CLEAN, "--csv=a", "--json=a"], &["--json and --csv both write `a`"]);
    refused(&["ablate", CLEAN, "--csv", "--json"], &["both print"]);
    refused(&["ablate", CLEAN, "--svg", "-"], &["--svg writes a file"]);
    refused(&["ablate", CLEAN, "--show", "loss", "--json=a.json"], &["`loss` is not measured", "--metric"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_leaves_the_table_on_the_screen() {
    let bench = Bench::new();
    let output = bench.command().args(["ablate", CLEAN, "--png", "/dev/full"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: cannot write `/dev/full`"));
    assert!(String::from_utf8(output.stdout).unwrap().contains("strongest"));
    assert!(bench.files().is_empty());
}

#[test]
fn files_that_are_none_are_refused_by_name() {
    let bench = Bench::new();
    bench.write("broken.json", "{\"prompts\": [{\"clan\": 1}]}");
    refused_in(&bench, &["run", "broken.json"], &["`broken.json` is no experiment"]);
    refused_in(&bench, &["replay", "broken.json"], &["`broken.json` is no record"]);
    refused_in(&bench, &["ablate", "--pairs", "broken.json"], &["`broken.json`", "clan"]);
    refused_in(&bench, &["run", "absent.json"], &["cannot read `absent.json`"]);
    let bench = Bench::new();
    bench.run(&["measure", CLEAN, "--record", "r.json"]);
    refused_in(&bench, &["run", "r.json"], &["is a record", "microtome replay r.json"]);
}

#[test]
fn a_model_that_cannot_be_loaded_is_refused_with_what_was_looked_for() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("empty")).unwrap();
    refused_in(&bench, &["info", "empty"], &["no model to load in `empty`", "model.safetensors", "ckpt.pt"]);
    refused_in(&bench, &["info", "./absent"], &["./absent", "not found"]);
    let weights = std::fs::read(bench.path("model/model.safetensors")).unwrap();
    std::fs::write(bench.path("model/model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    refused_in(&bench, &["info", "model"], &["model.safetensors` is truncated"]);
    refused_in(&bench, &["measure", CLEAN], &["model.safetensors` is truncated"]);
}

#[test]
fn offline_with_an_empty_cache_the_advice_is_to_connect_once_or_to_name_a_folder() {
    refused(&["info", "gpt2"], &["model `gpt2` is not in the cache", "HF_HUB_OFFLINE", "local directory"]);
}

#[test]
fn verify_on_another_model_says_what_the_figures_are_for() {
    refused(&["verify", "model"], &["the figures are for GPT-2 small"]);
}

#[test]
fn a_device_that_is_not_there_is_refused_with_what_to_do() {
    refused(&["measure", CLEAN, "--device", "gpu"], &["`gpu`", "auto, cpu, cuda, cuda:1 or metal"]);
    if cfg!(not(feature = "cuda")) {
        refused(&["measure", CLEAN, "--device", "cuda"], &["`cuda:0`", "--features cuda"]);
    }
    if cfg!(not(feature = "metal")) {
        refused(&["measure", CLEAN, "--device", "metal"], &["`metal`", "--features metal"]);
    }
    refused(
        &["train", "--example", "--device", "cuda"],
        &["training computes on the CPU only", "--device cuda:0"],
    );
}
