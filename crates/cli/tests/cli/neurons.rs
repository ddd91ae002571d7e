//! `microtome neurons`.

use microtome::model::Processing;
use microtome::{Method, Quantity};

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
