//! The command on a checkpoint trained by nanoGPT itself, where it is there.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use microtome::{Quantity, Record};

/// The checkpoint's folder, or `None` after saying why not; in CI its absence is a failure.
fn shakespeare() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models/nanogpt-shakespeare");
    let dir = std::env::var_os("MICROTOME_SHAKESPEARE").map_or(default, PathBuf::from);
    if dir.exists() {
        return Some(dir);
    }
    assert!(std::env::var_os("CI").is_none(), "reference data is missing: {}", dir.display());
    println!("skipped: no reference data at {}", dir.display());
    None
}

fn run(dir: &Path, args: &[&str]) -> Record {
    let mut command = Command::new(env!("CARGO_BIN_EXE_microtome"));
    let output = command.arg(args[0]).arg("-m").arg(dir).args(&args[1..]).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn expected(dir: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(dir.join("expected.json")).unwrap()).unwrap()
}

#[test]
fn a_nanogpt_head_sweep_equals_torch_hooks() {
    let Some(dir) = shakespeare() else { return };
    let expected = expected(&dir);
    let (text, target) = (expected["text"].as_str().unwrap(), expected["target"].as_str().unwrap());
    let args = ["ablate", text, "-t", target, "--weights", "raw", "--at", "last", "--metric", "prob"];
    let record = run(&dir, &args);
    let drops: Vec<Vec<f64>> = serde_json::from_value(expected["delta_probs_last_pos_zero"].clone()).unwrap();
    let changes = &record.table("prob", Quantity::Change).unwrap().values;
    for (change, drop) in changes.iter().zip(drops.into_iter().flatten()) {
        // The reference is clean - ablated; 1e-5 is the rounding of an f32 softmax through 4 layers.
        assert!((change.unwrap() + drop).abs() < 1e-5, "{change:?} against -{drop}");
    }
}

#[test]
fn nanogpt_goes_on_with_the_characters_its_own_code_gives() {
    let Some(dir) = shakespeare() else { return };
    let expected = expected(&dir);
    let [text, greedy] = ["text", "greedy40"].map(|key| expected[key].as_str().unwrap());
    let record = run(&dir, &["generate", text, "--max", "40"]);
    let generated = record.results.generation.unwrap().control_text;
    // nanoGPT drops the oldest characters to go on past its context; here the text ends.
    assert!(generated.len() >= 20);
    assert!(greedy.starts_with(&format!("{text}{generated}")), "{generated:?} {greedy:?}");
}
