//! `microtome train induction` and `microtome train shakespeare`: what they print, what they refuse.

use crate::bench::Bench;

/// The complaint of a command that fails. A run that has begun leaves its folder behind.
fn fail(bench: &Bench, args: &[&str]) -> String {
    let output = bench.command().args(args).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && complaint.starts_with("error: "), "{args:?}: {complaint}");
    complaint
}

#[test]
fn an_induction_study_cut_short_says_that_no_head_formed() {
    let bench = Bench::new();
    let text = bench.run(&["train", "induction", "--out", "run", "--steps", "2", "--seed", "5"]);
    assert!(text.contains("step     2  validation "), "{text}");
    assert!(text.contains("2 layers of 2 heads, attention only"), "{text}");
    assert!(text.contains("NO    An induction head formed: "), "{text}");
    // What is said of a head that did not form is no finding.
    assert_eq!(text.matches("\nopen  ").count(), 3, "{text}");
    let report: serde_json::Value = serde_json::from_str(&bench.read("run/study.json")).unwrap();
    assert_eq!((&report["steps"], &report["seed"]), (&2.into(), &5.into()));
    for row in report["heads"].as_array().unwrap() {
        let number = |key: &str| format!("{:.3}", row[key].as_f64().unwrap());
        let line =
            text.lines().find(|line| line.starts_with(&format!("{}  ", row["head"].as_str().unwrap())));
        assert!(line.is_some(), "{row} {text}");
        let shown = |line: &str| {
            ["previous", "induction", "loss_without"].iter().all(|key| line.contains(&number(key)))
        };
        assert!(text.lines().any(shown), "{row} {text}");
    }
    for name in ["study.png", "study.svg", "heads.png", "last/model.safetensors"] {
        assert!(bench.path("run").join(name).is_file(), "{name}");
    }
    let quiet = bench.run(&["train", "induction", "-o", "run", "--steps", "2", "--seed", "5", "-q"]);
    assert!(!quiet.contains("validation "), "{quiet}");
    let other = fail(&bench, &["train", "induction", "--out", "run", "--steps", "2"]);
    assert!(other.contains("`seed` is 5, and here it is 1"), "{other}");
}

#[test]
fn a_text_study_prints_a_role_and_a_loss_change_for_every_head() {
    let bench = Bench::new();
    let sentence = |i: usize| format!("{} cats and {} dogs went by the sea. ", i % 7, i % 11);
    bench.write("text.txt", &(0..300).map(sentence).collect::<String>());
    let args = ["train", "shakespeare", "--text", "text.txt", "--out", "run", "--steps", "1", "--bpe", "270"];
    let text = bench.run(&args);
    let report: serde_json::Value = serde_json::from_str(&bench.read("run/study.json")).unwrap();
    let heads = report["heads"].as_array().unwrap();
    assert_eq!(heads.len(), 16);
    for row in heads {
        let start = format!("{}   {}", row["head"].as_str().unwrap(), "none");
        let change = format!("{:+.4}", row["change"].as_f64().unwrap());
        let line = text.lines().find(|line| line.starts_with(&start) && line.ends_with(&change));
        assert!(line.is_some(), "{start} {change}\n{text}");
    }
    let loss = format!("validation loss {:.4} nats", report["validation_loss"].as_f64().unwrap());
    assert!(text.contains(&loss), "{text}");
    assert!(bench.path("run/study.png").is_file());
    assert!(text.contains("learning 270 tokens"), "{text}");
    assert_eq!(report["model"]["d_vocab"], 270);
}

#[test]
fn texts_that_cannot_be_studied_are_said_so() {
    let bench = Bench::new();
    bench.write("empty.txt", "");
    bench.write("short.txt", "To be, or not to be.");
    for (name, complaint) in [
        ("none.txt", "cannot read `none.txt`"),
        ("empty.txt", "the training part of `empty.txt` has 0 tokens; a window takes 65"),
        ("short.txt", "the training part of `short.txt` has 18 tokens; a window takes 65"),
    ] {
        let said = fail(&bench, &["train", "shakespeare", "--text", name, "--out", "run"]);
        assert!(said.contains(complaint), "{name}: {said}");
    }
    let said = fail(&bench, &["train", "shakespeare"]);
    assert!(said.contains("--text"), "{said}");
}

#[test]
fn a_configuration_and_a_study_are_told_apart() {
    let bench = Bench::new();
    let said = fail(&bench, &["train", "induction", "run.toml"]);
    assert!(said.contains("unexpected argument 'run.toml'"), "{said}");
    // A file of that name can still be read, as a path.
    let said = fail(&bench, &["train", "./induction"]);
    assert!(said.contains("cannot read `./induction`"), "{said}");
    let said = fail(&bench, &["train"]);
    assert!(said.contains("CONFIG.toml"), "{said}");
}
