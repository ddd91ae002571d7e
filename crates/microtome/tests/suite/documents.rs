//! The documents name everything there is, and their examples are what the code reads and writes.

use std::path::{Path, PathBuf};

use microtome::corpus_scan::CorpusScan;
use microtome::metric::METRICS;
use microtome::model::Site;
use microtome::sae::SaeConfig;
use microtome::{Experiment, Record, read_pairs};

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The fenced examples of `docs/formats.md` of one kind: `json record`.
fn examples(kind: &str) -> Vec<String> {
    let text = document("formats.md");
    let opening = format!("\n```{kind}\n");
    let found: Vec<String> =
        text.split(&opening).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect();
    assert!(!found.is_empty(), "no example of `{kind}`");
    found
}

#[test]
fn the_glossary_defines_every_metric_in_its_own_words() {
    let glossary = document("glossary.md").replace("\\|", "|");
    for metric in METRICS {
        let row = format!("| `{}` | {} |", metric.name(), metric.unit());
        let line = glossary.lines().find(|line| line.starts_with(&row));
        assert!(
            line.is_some_and(|line| line.ends_with(&format!("| {} |", metric.describe()))),
            "docs/glossary.md needs a row `{row} .. | {} |`",
            metric.describe()
        );
    }
}

#[test]
fn the_glossary_lists_every_hook_point_in_firing_order() {
    let glossary = document("glossary.md");
    let mut rest = &glossary[..];
    for site in Site::all() {
        let hook = site.at(0).to_string().replace("blocks.0", "blocks.L");
        let axes: Vec<String> = site.axes().iter().map(|axis| format!("{axis:?}")).collect();
        let axes = axes.join(", ").replace("One", "1").to_lowercase();
        let row = format!("\n| `{}` | `{hook}` | `[{}]` |", site.short_name(), with_underscores(&axes));
        let at = rest.find(&row).unwrap_or_else(|| panic!("docs/glossary.md needs the row {row}"));
        rest = &rest[at + 1..];
    }
}

/// `dmodel` as the glossary writes it: `d_model`.
fn with_underscores(axes: &str) -> String {
    ["head", "model", "mlp", "vocab"]
        .iter()
        .fold(axes.to_owned(), |axes, name| axes.replace(&format!("d{name}"), &format!("d_{name}")))
}

#[test]
fn experiments_in_the_documents_read_and_write_back_the_same() {
    for text in examples("json experiment") {
        let written: serde_json::Value = serde_json::from_str(&text).unwrap();
        let read: Experiment = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
    }
}

#[test]
fn the_record_in_the_documents_reads_and_writes_back_the_same() {
    for text in examples("json record") {
        let written: serde_json::Value = serde_json::from_str(&text).unwrap();
        let read: Record = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        assert!(read.is_complete());
    }
}

#[test]
fn the_autoencoder_in_the_documents_is_read_and_written_back_the_same() {
    for text in examples("json sae") {
        let written: serde_json::Value = serde_json::from_str(&text).unwrap();
        let read = SaeConfig::parse(&text, "formats.md").unwrap();
        let again = read.to_json("float32");
        for (key, value) in written.as_object().unwrap().iter().filter(|(key, _)| *key != "metadata") {
            assert_eq!(&again[key], value, "{key}");
        }
        for (key, value) in written["metadata"].as_object().unwrap() {
            assert_eq!(&again["metadata"][key], value, "{key}");
        }
    }
}

#[test]
fn the_scan_in_the_documents_reads_and_writes_back_the_same() {
    for text in examples("json scan") {
        let written: serde_json::Value = serde_json::from_str(&text).unwrap();
        let read: CorpusScan = serde_json::from_str(&text).unwrap();
        // As text: a `Value` would have activations in more digits than they have.
        let again: serde_json::Value = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(again, written);
        assert!(read.complete);
    }
}

#[test]
fn files_of_prompts_in_the_documents_can_be_read() {
    let home = tempfile::tempdir().unwrap();
    for kind in ["json", "csv"] {
        for text in examples(&format!("{kind} prompts")) {
            let path: PathBuf = home.path().join(format!("prompts.{kind}"));
            std::fs::write(&path, text).unwrap();
            let prompts = read_pairs(&path).unwrap();
            assert_eq!(prompts.len(), 2);
            assert!(prompts.iter().all(|prompt| !prompt.answers.is_empty()));
        }
    }
}
