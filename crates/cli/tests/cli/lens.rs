//! `microtome lens --tuned`: two lenses in one record, one table by layer, one picture.

use microtome::method::logit_lens::{LENSES, LogitLens};
use microtome::model::{LoadOptions, Precision, Processing};
use microtome::tuned_lens::TunedLens;
use microtome::{Answer, Bos, Experiment, Method, Prompt, Quantity, Text, TextModel};

use crate::bench::{Bench, CLEAN};

const FACT: &str = "Paris is the capital of";

/// What the command asks of the demo model, answered by the library.
fn expected(weights: Processing) -> microtome::Record {
    let model = TextModel::load("demo", weights, &LoadOptions::default(), &mut ()).unwrap();
    let model = model.with_tuned_lens("demo", TunedLens::demo().unwrap()).unwrap();
    let experiment = Experiment {
        model: "demo".to_owned(),
        weights,
        precision: Precision::F32,
        bos: Bos::Prepend,
        prompts: vec![Prompt {
            clean: Text::Text(FACT.to_owned()),
            corrupt: None,
            answers: vec![Answer::Text(" France".to_owned())],
            wrong_answers: vec![],
        }],
        method: Method::LogitLens(LogitLens { tuned: Some("demo".to_owned()), ..LogitLens::default() }),
        metrics: vec![],
        read_at: None,
        seed: 0,
    };
    experiment.run_quietly(&model).unwrap()
}

/// Numbers as the command prints them, to compare with.
fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

#[test]
fn a_tuned_lens_stands_beside_the_logit_lens_in_the_table_the_record_and_the_pictures() {
    let bench = Bench::new();
    let ask = ["lens", FACT, "-m", "demo", "-t", " France", "--tuned", "demo", "--show", "kl"];
    for weights in [Processing::Folded, Processing::Raw] {
        let expected = expected(weights);
        let ask = [&ask[..], &["--weights", weights.name()]].concat();
        let found = bench.run_record(&ask);
        assert_eq!(found.experiment, expected.experiment);
        assert_eq!(expected.differences(&found, 1e-5), Vec::<String>::new());

        let [curves, grid] = ["kl.svg", "grid.svg"].map(|name| bench.path(name).display().to_string());
        let text = bench.run(&[&ask[..], &["--curves", &curves, "--svg", &grid]].concat());
        let kl = expected.table("kl", Quantity::Value).unwrap();
        let (layers, n) = (&kl.axes[1].labels, kl.axes[2].labels.len());
        let mut lines = text.lines().skip_while(|line| !line.starts_with("kl, nats"));
        let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(header.join(" "), format!("kl, nats {} {}", LENSES[0], LENSES[1]));
        for ((row, layer), line) in layers.iter().enumerate().zip(lines) {
            let cells: Vec<&str> = line.split_whitespace().collect();
            assert_eq!((cells.len(), cells[0]), (3, &layer[..]), "{line}");
            for lens in 0..2 {
                let value = kl.values[(lens * layers.len() + row) * n + n - 1].unwrap();
                assert!((number(cells[1 + lens]) - value).abs() < 1e-3 * (1.0 + value.abs()), "{line}");
            }
        }
        for lens in LENSES {
            assert!(text.contains(&format!("next token as each layer has it, at the last position, {lens}")));
        }
        let settles = expected.table("top1_settles", Quantity::Value).unwrap();
        let ends: Vec<f64> = settles.values.chunks(n).map(|row| row[n - 1].unwrap()).collect();
        let said = format!("at the last position: {} (logit lens), {} (tuned lens)", ends[0], ends[1]);
        assert!(text.contains(&said), "{said}\n{text}");
        assert!(text.contains("through the translator of its layer, of the tuned lens demo"));

        let [curves, grid] = [curves, grid].map(|file| std::fs::read_to_string(file).unwrap());
        assert!(LENSES.iter().all(|lens| curves.contains(&format!(">{lens}</text>"))));
        assert!(curves.contains("stroke-dasharray=\"6 4\""));
        assert!(layers.iter().all(|layer| grid.contains(&format!("tuned lens {layer}"))));
    }
}

#[test]
fn the_demo_models_tuned_lens_reads_no_other_model() {
    let bench = Bench::new();
    let complaint = bench.refusal(&["lens", CLEAN, "--tuned", "demo"]);
    for words in ["`demo` does not fit this model", "6 layers, 128 wide", "--tuned"] {
        assert!(complaint.contains(words), "{complaint}");
    }
    let complaint = bench.refusal(&["lens", CLEAN, "--tuned", "nowhere"]);
    assert!(complaint.contains("nowhere/config.json") && complaint.contains("`demo`"), "{complaint}");
}
