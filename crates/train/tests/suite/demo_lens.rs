//! The tuned lens inside the program: its card says of it what it does.

use std::path::Path;

use microtome::TextModel;
use microtome::model::{LoadOptions, Processing};
use microtome::tuned_lens::TunedLens;
use microtome_train::Reading;
use microtome_train::lens::{LensRecord, LensTraining, lens_fit};

/// The two numbers in a row of the card.
fn said(card: &str, row: &str) -> [f64; 2] {
    let line = card.lines().find(|line| line.starts_with(&format!("| {row} |")));
    let line = line.unwrap_or_else(|| panic!("no row `{row}` in the card"));
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    [2, 3].map(|i| cells[i].parse().unwrap_or_else(|_| panic!("`{row}`: `{}` is no number", cells[i])))
}

#[test]
fn the_card_of_the_tuned_lens_inside_the_program_says_what_it_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/tuned-lens");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (card, config) = (read("README.md"), LensTraining::read(&folder.join("train.toml")).unwrap());
    let record: LensRecord = serde_json::from_str(&read("record.json")).unwrap();
    let load = |processing| {
        TextModel::load(&config.model.name, processing, &LoadOptions::default(), &mut ()).unwrap()
    };
    let (model, lens) = (load(config.model.weights), TunedLens::demo().unwrap());
    // Whoever serves the model with raw weights has it too.
    lens.check(&model).unwrap();
    lens.check(&load(Processing::Raw)).unwrap();
    assert_eq!(lens.config().weight_hash.as_ref(), Some(&model.about().weight_hash));
    let config = config.resolved(&model).unwrap();
    let reading = Reading::open(&model, &config.data).unwrap();
    assert!(card.contains(reading.hash()), "the card is of another text");
    let windows = reading.measured(config.training.evaluate_windows).unwrap();
    let fit = lens_fit(&model, &lens, &windows, reading.first()).unwrap();
    let near = |what: &str, said: f64, found: f64| {
        // Four decimals of the card, two of the layers, and products summed in another order on another processor.
        let room = if what == "layers" { 0.02 } else { 1e-3 * (1.0 + found.abs()) };
        assert!((said - found).abs() < room, "{what}: the card says {said}, found {found}");
    };
    for (layer, found) in fit.layers.iter().zip(&fit.kl) {
        let said = said(&card, layer);
        near(layer, said[0], found[0]);
        near(layer, said[1], found[1]);
    }
    let settles = said(&card, "layers");
    near("layers", settles[0], fit.settles[0]);
    near("layers", settles[1], fit.settles[1]);

    // Training measured the same, by its own reading of the stream.
    let (before, after) = (record.state.logit_lens.unwrap(), record.state.evaluation.unwrap());
    assert_eq!((after.n_positions, after.kl.len() + 1), (fit.n_positions, fit.kl.len()));
    for (layer, (kl, fit)) in before.kl.iter().zip(&after.kl).zip(&fit.kl).enumerate() {
        near(&format!("training, layer {layer}, logit lens"), *kl.0, fit[0]);
        near(&format!("training, layer {layer}, tuned lens"), *kl.1, fit[1]);
        // What it is there for.
        assert!(kl.1 < kl.0, "layer {layer}");
    }
    assert!(settles[1] < settles[0]);
    let size = std::fs::metadata(folder.join("params.pt")).unwrap().len();
    assert!(size < 500 << 10, "{size} bytes");
}
