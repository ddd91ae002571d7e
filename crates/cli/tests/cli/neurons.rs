//! `microtome neurons`.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use microtome::corpus_scan::{CorpusScan, Neurons, ScanSettings, ScanWatch, neurons_named, scan};
use microtome::model::Processing;
use microtome::{Component, Method, Quantity};

use crate::bench::{Bench, CLEAN};

#[test]
fn a_neuron_is_shown_as_the_library_has_it() {
    let bench = Bench::new();
    let args = ["neurons", "show", "L1N17", CLEAN, "-t", " Mary", "-f", " John", "--tokens", "3"];
    let found = bench.run_record(&args);
    let expected = found.experiment.run_quietly(&bench.model(Processing::Folded)).unwrap();
    assert_eq!(expected.differences(&found, 1e-6), Vec::<String>::new());
    let report = found.results.neuron.as_ref().unwrap();
    assert_eq!((report.promoted.len(), report.activations.len()), (3, 1));
    let text = bench.run(&args);
    for part in ["Activation of L1N17", "logits per unit of activation", "set to 0", "logit_diff"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(bench.refusal(&["neurons", "show", "1.2", CLEAN]).contains("no neuron"));
}

#[test]
fn the_strongest_neurons_are_listed_by_name() {
    let bench = Bench::new();
    let args = [
        "neurons",
        "strongest",
        CLEAN,
        "-t",
        " Mary",
        "--by",
        "direct-attribution",
        "--top",
        "4",
        "--layers",
        "1",
    ];
    let found = bench.run_record(&args);
    let Method::StrongestNeurons(asked) = &found.experiment.method else { panic!("another method") };
    assert_eq!((&asked.layers[..], asked.top), (&[1][..], Some(4)));
    let table = found.table("direct_neurons", Quantity::Change).unwrap();
    assert!(table.axes[0].labels.iter().all(|name| name.starts_with("L1N")));
    assert!(bench.run(&args).contains(&table.axes[0].labels[0]));
}

const TEXT: &str =
    "a Mary and John went to the ball<|endoftext|>and John gave the ball to Mary and to the ball";

/// What the library finds in a file.
fn by_the_library(bench: &Bench, text: &str, neurons: &[&str], settings: &ScanSettings) -> CorpusScan {
    let model = bench.model(Processing::Folded);
    let named: Vec<Component> = neurons.iter().map(|name| neurons_named(name).unwrap()).collect();
    let neurons = Neurons::new(&named, model.config()).unwrap();
    let never = AtomicBool::new(false);
    let mut watch = ScanWatch { cancel: &never, progress: &mut |_| {}, save: None, limit: None };
    let mut found = scan(&model, &bench.path(text), &neurons, settings, None, &mut watch).unwrap();
    // As the command is told, from the folder it runs in.
    found.text = text.to_owned();
    found.model.model = "model".to_owned();
    found
}

fn read(bench: &Bench, name: &str) -> CorpusScan {
    CorpusScan::read(Path::new(&bench.path(name))).unwrap()
}

fn same(found: &CorpusScan, expected: &CorpusScan) {
    let about = |scan: &CorpusScan| (scan.tokens, scan.windows, scan.complete, scan.place.clone());
    assert_eq!((about(found), &found.features), (about(expected), &expected.features));
}

#[test]
fn a_scan_is_the_librarys_and_goes_on_from_its_file() {
    let bench = Bench::new();
    bench.write("text.txt", &TEXT.repeat(30));
    let args = ["neurons", "scan", "text.txt", "--neurons", "L1N3,L0", "--top", "3", "--window", "16"];
    let text = bench.run(&[&args[..], &["--out", "whole.json"]].concat());
    let settings = ScanSettings { top: 3, window: 16, ..Default::default() };
    let expected = by_the_library(&bench, "text.txt", &["L1N3", "L0"], &settings);
    same(&read(&bench, "whole.json"), &expected);
    assert!(expected.complete && expected.features.len() == 49);
    for part in ["density", "L1N3", "L0N0", ".. and 39 more; --list 49 shows all", "Mary"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    bench.run(&[&args[..], &["--out", "part.json", "--limit", "200"]].concat());
    assert!(!read(&bench, "part.json").complete);
    let refusal = bench.refusal(&[&args[..], &["--out", "part.json"]].concat());
    assert!(refusal.contains("--resume"), "{refusal}");
    let resumed = [&args[..], &["--out", "part.json", "--resume"]].concat();
    bench.run(&resumed);
    same(&read(&bench, "part.json"), &expected);
    assert_eq!(bench.files(), ["part.json", "text.txt", "whole.json"]);

    bench.write("text.txt", &TEXT.repeat(31));
    assert!(bench.refusal(&resumed).contains("another text"));
    assert!(bench.refusal(&[&args[..], &["--resume"]].concat()).contains("--out"));
    let absent = [&args[..], &["--out", "absent.json", "--resume"]].concat();
    assert!(bench.refusal(&absent).contains("absent.json"));
    assert!(bench.refusal(&["neurons", "scan", "text.txt", "--neurons", "L0H1"]).contains("no neuron"));
}

#[test]
fn promoted_tokens_are_listed_for_heads_mlps_and_neurons() {
    let bench = Bench::new();
    let components: Vec<Component> = ["L1H2", "m0", "L0N5"].map(|name| name.parse().unwrap()).to_vec();
    let found = bench.run_record(&["promotes", "L1H2,m0,L0N5", CLEAN, "--tokens", "3"]);
    let of: Vec<Component> = found.results.promotions.iter().map(|of| of.component).collect();
    assert_eq!(of, components);
    let text = bench.run(&["promotes", "L1H2,m0,L0N5", CLEAN, "--tokens", "3"]);
    for promotion in &found.results.promotions {
        assert_eq!(promotion.promoted.len(), 3);
        assert!(
            text.contains(&format!("{} at position {}", promotion.component, promotion.position)),
            "{text}"
        );
    }
    assert!(bench.refusal(&["promotes", "L9H1", CLEAN]).contains("L9H1 does not exist"));
    assert!(bench.refusal(&["promotes", "L1H2", CLEAN, "--csv"]).contains("has none"));
}
