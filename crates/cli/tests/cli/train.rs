//! `microtome train`: killed, stopped, out of room, refused.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::Bench;

/// A run that takes a few seconds and makes a checkpoint every few steps.
const CONFIG: &str = r#"
out = "run"
[model]
n_layers = 1
n_heads = 2
d_model = 16
n_ctx = 16
[data]
text = "text.txt"
repeats = 0.2
[training]
steps = 60
batch = 3
warmup = 5
dropout = 0.1
[evaluation]
every = 10
batches = 2
samples = [{ prompt = "the", tokens = 5 }]
[checkpoints]
every = 7
"#;

fn bench() -> Bench {
    let bench = Bench::new();
    let sentence = |i: usize| format!("{} cats and {} dogs went by the sea. ", i % 7, i % 11);
    bench.write("text.txt", &(0..300).map(sentence).collect::<String>());
    bench.write("run.toml", CONFIG);
    bench
}

fn spawn(bench: &Bench, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_microtome"))
        .args(args)
        .current_dir(bench.dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until a run has written so many lines of losses.
fn wait_for_lines(child: &mut Child, losses: &Path, lines: usize) {
    let started = Instant::now();
    loop {
        let text = std::fs::read_to_string(losses).unwrap_or_default();
        if text.lines().count() >= lines {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "the run was over before line {lines}");
        assert!(started.elapsed() < Duration::from_secs(120), "no line {lines} after two minutes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn bytes(bench: &Bench, name: &str) -> Vec<u8> {
    std::fs::read(bench.path(name)).unwrap()
}

const RESULTS: [&str; 8] = [
    "losses.jsonl",
    "telemetry.jsonl",
    "samples.txt",
    "last/model.safetensors",
    "last/optimiser.safetensors",
    "last/config.json",
    "last/tokenizer.json",
    "best/model.safetensors",
];

#[test]
fn a_run_killed_again_and_again_ends_as_one_that_was_left_alone() {
    let bench = bench();
    bench.run(&["train", "run.toml", "--out", "whole"]);
    let losses = bench.path("run/losses.jsonl");
    // Before the first checkpoint, between two, and at moments around the writing of one.
    let mut done = 0;
    for (lines, wait) in [(3, 0), (9, 0), (9, 4), (16, 8), (24, 2), (31, 15), (40, 1), (47, 30), (56, 0)] {
        let mut child = spawn(&bench, &["train", "run.toml"]);
        // A resumed run first cuts its losses back to its checkpoint.
        wait_for_lines(&mut child, &losses, lines);
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        done += 1;
    }
    assert_eq!(done, 9);
    let text = bench.run(&["train", "run.toml", "--resume"]);
    assert!(text.contains("resuming after step"), "{text}");
    for name in RESULTS {
        let (whole, killed) =
            (bytes(&bench, &format!("whole/{name}")), bytes(&bench, &format!("run/{name}")));
        assert!(whole == killed, "{name} differs");
    }
    let left = std::fs::read_dir(bench.path("run")).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| !name.ends_with(".new") && !name.ends_with(".old")), "{names:?}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_makes_a_checkpoint_and_says_how_to_go_on() {
    let bench = bench();
    bench.run(&["train", "run.toml", "--out", "whole", "--quiet"]);
    let mut child = spawn(&bench, &["train", "run.toml"]);
    wait_for_lines(&mut child, &bench.path("run/losses.jsonl"), 12);
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{complaint}");
    assert!(complaint.starts_with("stopped after step "), "{complaint}");
    assert!(complaint.contains("the same command goes on"), "{complaint}");
    let state: serde_json::Value = serde_json::from_str(&bench.read("run/last/state.json")).unwrap();
    assert!(complaint.contains(&format!("step {};", state["step"])), "{complaint}");
    bench.run(&["train", "run.toml", "--quiet"]);
    assert_eq!(bytes(&bench, "run/losses.jsonl"), bytes(&bench, "whole/losses.jsonl"));
    assert_eq!(bytes(&bench, "run/last/model.safetensors"), bytes(&bench, "whole/last/model.safetensors"));
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_the_last_checkpoint_is_kept() {
    let bench = bench();
    bench.run(&["train", "run.toml", "--out", "whole", "--quiet"]);
    bench.run(&["train", "run.toml", "--steps", "20", "--quiet"]);
    let state = bench.read("run/last/state.json");
    // No file may grow past 16 KiB, which a model of this size does; the signal that comes with it is
    // ignored, so that writing fails as it does on a full disk.
    let limited =
        format!("ulimit -f 32; trap '' XFSZ; exec '{}' train run.toml", env!("CARGO_BIN_EXE_microtome"));
    let output = Command::new("sh").args(["-c", &limited]).current_dir(bench.dir()).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.starts_with("error: cannot write `run/"), "{complaint}");
    assert!(complaint.contains("The last checkpoint is kept: make room"), "{complaint}");
    assert_eq!(bench.read("run/last/state.json"), state);
    bench.run(&["train", "run.toml", "--quiet"]);
    let model = |dir: &str| bytes(&bench, &format!("{dir}/last/model.safetensors"));
    assert!(model("run") == model("whole"));
}

#[test]
fn a_run_prints_a_line_for_each_evaluation_and_leaves_a_model_that_commands_take() {
    let bench = bench();
    let text = bench.run(&["train", "run.toml", "--steps", "20"]);
    for words in
        ["parameters: 1 layers", "step      0  training", "step     20  training", "best induction head"]
    {
        assert!(text.contains(words), "expected `{words}` in:\n{text}");
    }
    assert!(text.contains("microtome info run/best"), "{text}");
    let info = bench.run(&["info", "run/best"]);
    assert!(info.contains("run/best (gpt2)"), "{info}");
    bench.run(&["generate", "the cat", "--model", "run/last", "--max", "3"]);
    assert_eq!(bench.run(&["train", "run.toml", "--steps", "20", "--quiet"]), "");
}

#[test]
fn the_example_is_a_configuration() {
    let bench = bench();
    let example = bench.run(&["train", "--example"]);
    bench.write("input.txt", &bench.read("text.txt"));
    bench.write("example.toml", &example);
    bench.write(
        "small.toml",
        &example.replace("d_model = 128", "d_model = 8").replace("d_mlp = 512", "d_mlp = 8"),
    );
    let complaint = bench.refusal(&["train", "example.toml", "--steps", "1", "--resume", "--fresh"]);
    assert!(complaint.contains("--fresh"), "{complaint}");
    bench.write(
        "small.toml",
        &bench.read("small.toml").replace("\"The\"", "\"cat\"").replace("batches = 20", "batches = 1"),
    );
    bench.run(&["train", "small.toml", "--steps", "1", "--quiet"]);
}

#[test]
fn what_cannot_be_trained_is_refused_before_anything_is_written() {
    let bench = bench();
    let refused = |config: &str, args: &[&str], words: &[&str]| {
        bench.write("bad.toml", config);
        let complaint = bench.refusal(&[&["train", "bad.toml"], args].concat());
        for word in words {
            assert!(complaint.contains(word), "expected `{word}` in: {complaint}");
        }
    };
    refused(&CONFIG.replace("warmup", "warm_up"), &[], &["line 14", "unknown field `warm_up`", "`warmup`"]);
    refused(&CONFIG.replace("n_heads = 2", "n_heads = 3"), &[], &["`model.n_heads` is 3", "divisor"]);
    refused(&CONFIG.replace("batch = 3", "batch = 0"), &[], &["`training.batch` is 0", "1 or more"]);
    refused(&CONFIG.replace("text.txt", "novel.txt"), &[], &["cannot read `novel.txt`"]);
    refused(CONFIG, &["--steps", "0"], &["`training.steps` is 0"]);
    refused(CONFIG, &["--resume"], &["no checkpoint to resume from"]);
    refused(CONFIG, &["--out", "text.txt"], &["`text.txt`"]);
    refused(CONFIG, &["--out", "model"], &["holds no run of the trainer", "--out"]);
    let complaint = bench.refusal(&["train", "none.toml"]);
    assert!(complaint.contains("cannot read `none.toml`"), "{complaint}");
    let complaint = bench.refusal(&["train"]);
    assert!(complaint.contains("CONFIG.toml"), "{complaint}");
}

#[test]
fn a_text_shorter_than_a_context_is_refused() {
    let bench = bench();
    bench.write("text.txt", "the end");
    let output = bench.command().args(["train", "run.toml"]).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("training part of `text.txt` has 6 tokens; a window takes 17"), "{complaint}");
}
